"""The probe: watches what a process, a container or a server that speaks Prometheus takes, and sends it to Kafka.

It runs beside models, so it is small: nothing here imports scikit-learn, Faust or the ledger.
"""
