"""What several test files need: one place each. ``from helpers.driving import drive``."""
