"""What travels on the wire: events, topics, reasons and the codec."""
