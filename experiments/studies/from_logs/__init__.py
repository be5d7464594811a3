"""Learning from the log of somebody else's slates: correction, estimators, estimated propensities."""
