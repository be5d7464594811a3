"""How a score falls with age, exactly as an inner product: one decay a file."""
