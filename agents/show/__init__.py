"""What `latelabel show` shows: read from the last reports, drawn as text."""
