import hypothesis

from tests.servers import kafka_broker, redis_server

__all__ = ["kafka_broker", "redis_server"]

# How long an example takes says nothing on a machine that does other things too.
hypothesis.settings.register_profile("quintet", deadline=None)
hypothesis.settings.load_profile("quintet")
