"""What recall is worth, by index and size of the catalogue."""
