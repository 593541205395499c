"""Files of predictions and labels into Kafka, in the order of event time."""
