"""Rules, their life cycle, and what makes an alert one and the same."""
