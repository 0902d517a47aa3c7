from tests.servers import kafka_broker, redis_server

__all__ = ["kafka_broker", "redis_server"]
