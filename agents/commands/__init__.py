"""One module per command of `latelabel`."""
