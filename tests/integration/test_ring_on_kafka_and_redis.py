"""The whole ring on a genuine Kafka broker and Redis: killed, cut off, and started without them."""

import signal
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import ring_checks
from tests.rings import Ring, Shown, demo, open_shop, read_report, until
from tests.servers import KafkaBroker, RedisServer, new_kafka_broker

BANNERS = 800
CLICK = {
    "type": "click",
    "user_id": "u1",
    "product_id": "p1",
    "occurred_at": "2026-01-01T00:00:00Z",
}


def ring_on(folder: Path, broker: KafkaBroker, server: RedisServer, **settings: str) -> Ring:
    return Ring(
        folder,
        streams="kafka",
        kafka_bootstrap_servers=broker.bootstrap_servers,
        kafka_topic_prefix=f"{uuid.uuid4().hex[:8]}.",
        history="redis",
        redis_url=server.url,
        **settings,
    )


@pytest.fixture
def redis_emptied(redis_server: RedisServer) -> RedisServer:
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return redis_server


def test_promise_2_the_demo_on_kafka_and_redis_survives_the_aggregators_kill_9(
    tmp_path: Path, kafka_broker: KafkaBroker, redis_emptied: RedisServer
) -> None:
    ring = ring_on(
        tmp_path, kafka_broker, redis_emptied, batch_banners="64", attribution_window_seconds="30"
    )
    path = tmp_path / "report.json"
    try:
        ring.start(*demo(banners=BANNERS, report=path, rate=50.0))
        with closing(ring.log()) as log:
            with closing(Shown(log)) as shown:
                shown.reach(BANNERS // 2)
                ring.restarted("aggregate", killed=ring.kill("aggregate"))
            status = ring.wait(200)
            told = ring_checks.read(log)
            report: dict[str, Any] = dict(read_report(path))

            assert status == 0, ring.said
            rewards = {"expected": BANNERS, "lost": 0, "waiting": 0, "doubled": 0}
            assert report["rewards"] == rewards
            assert len(told.banners) == BANNERS
            assert report["versions_served"] > 2
            ring_checks.check_every_impression_is_rewarded_once(told)
            ring_checks.check_rewards_are_what_the_events_earned(told, window_seconds=30)
            ring_checks.check_accepted_events_are_in_the_log(told, report["traffic"])
            ring_checks.check_the_report_says_what_the_topics_say(told, report)
            assert ring_checks.check_log_probs(told, log, ring.registry()) > BANNERS // 2
        assert any(banner.history for banner in told.banners.values())
    finally:
        ring.end()


class OwnServers:
    """A broker and a Redis of one test's own, which it may stop."""

    def __init__(self, folder: Path) -> None:
        (folder / "kafka").mkdir()
        (folder / "redis").mkdir()
        self.broker = new_kafka_broker(folder / "kafka")
        self.redis = RedisServer(folder / "redis")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnServers]:
    servers = OwnServers(tmp_path)
    yield servers
    servers.broker.kill()
    servers.redis.kill()


def reasons(ring: Ring, user_id: str = "u1") -> set[str]:
    """Return what a banner had to do without; whatever that is, the answer is 200."""
    status, answer = ring.post("/recommend", {"user_id": user_id})
    assert status == 200, ring.said
    return set((answer["reason"] or "").split(", ")) - {""}


def report_click(ring: Ring) -> tuple[int, Any]:
    return ring.post("/events", [CLICK | {"event_id": uuid.uuid4().hex}])


def metric(ring: Ring, name: str) -> float:
    with urllib.request.urlopen(ring.url + "/metrics", timeout=30) as answer:  # noqa: S310
        (line,) = [
            line for line in answer.read().decode().splitlines() if line.startswith(name + " ")
        ]
    return float(line.split()[1])


def test_promise_6_recommend_answers_while_kafka_and_redis_are_away_and_all_comes_back(
    tmp_path: Path, own: OwnServers
) -> None:
    own.broker.start()
    own.redis.start()
    ring = ring_on(tmp_path / "ring", own.broker, own.redis)
    try:
        open_shop(ring)
        ring.start("run")
        until(ring.is_ready, "the service is ready")
        until(lambda: reasons(ring) == set(), "everything is there")
        assert report_click(ring)[0] == 202

        assert own.redis.process is not None
        own.redis.process.send_signal(signal.SIGSTOP)
        until(lambda: "history_unavailable" in reasons(ring), "Redis is missed")
        own.redis.process.send_signal(signal.SIGCONT)
        until(lambda: reasons(ring) == set(), "Redis is back")

        own.broker.stop()
        assert report_click(ring)[0] == 202
        until(lambda: metric(ring, "service_log_spooling") == 1, "Kafka is missed")
        assert reasons(ring) == set(), "what is spooled reaches the log in the end"
        own.redis.stop()
        until(lambda: reasons(ring) == {"history_unavailable"}, "Redis is missed")
        assert report_click(ring)[0] == 202
        assert ring.is_ready()

        own.broker.start()
        own.redis.start()
        until(lambda: metric(ring, "service_log_spooling") == 0, "the spool drains", seconds=30)
        assert report_click(ring)[0] == 202
        until(lambda: reasons(ring) == set(), "everything is back", seconds=30)
    finally:
        ring.end()


def test_promise_6_a_ring_that_starts_without_kafka_and_redis_answers_and_recovers(
    tmp_path: Path, own: OwnServers
) -> None:
    ring = ring_on(tmp_path / "ring", own.broker, own.redis)
    own.broker.start()
    open_shop(ring)
    own.broker.stop()
    try:
        ring.start("run")
        until(lambda: ring.post("/recommend", {})[0] == 200, "the service answers", seconds=90)
        first = dict(ring.children())
        assert {"history_unavailable", "none_eligible"} <= reasons(ring)
        assert not ring.is_ready()
        assert report_click(ring)[0] == 202

        own.broker.start()
        own.redis.start()
        until(lambda: report_click(ring)[0] == 202, "events are taken", seconds=60)
        until(ring.is_ready, "weights are loaded", seconds=60)
        until(lambda: reasons(ring) == set(), "everything is there", seconds=60)
        status, answer = ring.post("/recommend", {"user_id": "u1"})
        assert (status, answer["source"], len(answer["products"])) == (200, "policy", 5)
        assert {name: child.pid for name, child in ring.children().items()} == {
            name: child.pid for name, child in first.items()
        }, "a process had to be started again"
    finally:
        ring.end()
