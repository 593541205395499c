"""What models report of their internal state: counted, summed up, compared."""
