"""Closed loops without the wire: the ring's own policy, rewards and learner on simulated worlds."""
