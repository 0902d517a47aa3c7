"""The event log as a port: one promise, a local and a Kafka adapter."""
