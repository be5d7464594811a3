"""Off-policy estimates against the truth that the simulator knows."""
