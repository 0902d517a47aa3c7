"""Events to rewards: the specification and the attribution are pure, the aggregator loops."""
