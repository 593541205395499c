"""Chaos on real services: traffic, workers under a supervisor, faults, and a recount that trusts none of them.

models      what is monitored, for the configuration and for the recount
traffic     a paced producer of everything that may come: late, early, twice, corrected, never, poison
supervisor  keeps workers alive, as production would
progress    how far the ledger has come, and how long it took to come back
faults      what is done to workers, broker and store
topic_log   whole topics, read back from Kafka
recount     the right answer, from the topics alone; imports nothing of what it judges
verdict     the answers of the command line and of the reports, compared with it
arena       one run, from the empty topic to the verdict
"""
