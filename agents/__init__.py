"""The imperative shell: Faust, Kafka, Redis and the command line. Decides nothing."""
