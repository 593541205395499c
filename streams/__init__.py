"""The pure core: join rules, windows, metrics and reports. No I/O, no clock, no framework."""
