"""Small logs to read."""
