"""Confusion matrices, classification metrics and their intervals."""
