"""Rewards to weights: pretraining, the policy-gradient learner, its checkpoint and its loop."""
