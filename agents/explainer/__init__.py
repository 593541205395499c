"""Explains predictions: reads them back from Kafka, asks the model in a process of its own, publishes why."""
