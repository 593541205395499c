"""What a rule may conclude from a window: exactly once it is final, at any time while it fills."""
