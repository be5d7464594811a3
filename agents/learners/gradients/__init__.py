"""Learners of a policy: REINFORCE with its estimators, the covariance gradient of a reward model, and their parts."""
