"""What stale vectors, stale models and slates drawn ahead cost."""
