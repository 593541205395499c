"""What one labelled prediction adds to its window: small integers under short names, to be added and taken back."""
