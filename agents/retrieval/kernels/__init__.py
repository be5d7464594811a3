"""Scores of vectors in slots: exact inner products, in blocks, ordered, by id."""
