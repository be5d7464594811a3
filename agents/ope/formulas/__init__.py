"""The estimators themselves: pure functions of weights and rewards, float64."""
