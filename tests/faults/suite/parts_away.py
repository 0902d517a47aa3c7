"""Kafka and Redis that die, are cut off, lose everything, or were never there."""

import time

import redis

from tests.faults.suite.catalogue import fault
from tests.faults.suite.finding import p99_ms
from tests.faults.suite.judge import judge
from tests.faults.suite.proxy import Proxy
from tests.faults.suite.scene import Scene
from tests.rings import until
from tests.servers import RedisServer

LOG_UNAVAILABLE, HISTORY_UNAVAILABLE = "log_unavailable", "history_unavailable"


@fault("F6", "the broker dies; the broker is away for a minute", kafka=True, rate=15.0, p99=1.5)
def the_broker_dies(scene: Scene) -> None:
    assert scene.broker is not None
    scene.strike()
    scene.broker.kill()
    scene.broker.start()
    scene.heal()
    scene.recover()
    restart = p99_ms(scene.latencies(scene.struck_at))
    scene.strike()
    scene.broker.kill()
    time.sleep(60.0 if scene.long else 6.0)
    during = scene.answered_since(scene.struck_at)
    scene.broker.start()
    scene.heal()
    scene.recover()
    outage = p99_ms(scene.latencies(scene.struck_at))
    without = sum(LOG_UNAVAILABLE in answer.reason for answer in during)
    scene.finding.told.append(
        f"{len(during)} banners while the broker was away, {without} said {LOG_UNAVAILABLE}; "
        f"p99 {restart or 0:.0f} ms at its restart, {outage or 0:.0f} ms without it"
    )
    scene.finding.check(
        all(answer.status == 200 for answer in during), "a banner was refused without the broker"
    )
    judge(scene)
    shed, served = scene.load.shed, scene.metrics("serve")
    left, refused, drained = (
        served[f"service_spool_{name}", ""]
        for name in ("records", "refusals_total", "drained_total")
    )
    scene.finding.check(not shed, f"{shed} requests were turned away without the broker")
    scene.finding.check(drained, "nothing went through the spool")
    scene.finding.check(not left, f"{left:.0f} messages are still in the spool")
    scene.finding.check(not refused, f"the spool refused {refused:.0f} appends")
    scene.finding.told.append(f"{drained:.0f} messages went through the spool")


@fault("F7", "connections to the broker cut before the reply", kafka=True, proxied=True, rate=20.0)
def connections_are_cut_before_the_reply(scene: Scene) -> None:
    proxy = scene.proxy
    assert isinstance(proxy, Proxy)
    scene.strike()
    for _ in range(8 if scene.long else 3):
        proxy.mood = scene.rng.choice(["cut", "cut", "swallow", "stall", "delay"])
        time.sleep(scene.rng.uniform(0.3, 1.5))
        proxy.mood = "pass"
        time.sleep(scene.rng.uniform(1.0, 3.0))
    proxy.mood = "cut"
    time.sleep(1.0)
    proxy.mood = "pass"
    scene.heal()
    scene.recover()
    scene.finding.check(proxy.cuts, "no reply was on its way when the connections were cut")
    scene.finding.told.append(f"{proxy.cuts} replies were cut off")
    judge(scene)


@fault("F8", "Redis dies empty, is flushed, slow, read-only", redis=True)
def redis_fails_in_every_way(scene: Scene) -> None:
    server = scene.redis
    assert server is not None
    for harm in (_dies, _is_flushed, _is_slow, _is_read_only):
        scene.strike()
        harm(server)
        scene.heal()
        scene.recover(learns=False)
    scene.load.stop()
    status = {answer.status for answer in scene.load.answers}
    scene.finding.check(status == {200}, f"banners were answered {sorted(status)}")
    judge(scene)


def _dies(server: RedisServer) -> None:
    server.kill()
    time.sleep(3.0)
    server.start()


def _is_flushed(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client:
        client.flushall()


def _is_slow(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client:
        client.client_pause(3_000)
    time.sleep(3.0)


def _is_read_only(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", 1)
        time.sleep(3.0)
        client.replicaof("NO", "ONE")


@fault("F17", "Kafka and Redis absent at the start", kafka=True, redis=True, begins=False)
def kafka_and_redis_are_absent_at_the_start(scene: Scene) -> None:
    assert scene.broker is not None
    assert scene.redis is not None
    scene.open()
    _starts_alone(scene, shows=0)  # this machine has never seen the catalogue
    scene.broker.start()
    scene.redis.start()
    until(scene.ring.is_ready, "the service is ready", seconds=300)
    scene.ring.interrupt()
    scene.ring.wait(60.0)
    _starts_alone(scene, shows=5)
    scene.strike()
    scene.broker.start()
    scene.redis.start()
    scene.heal()
    scene.load.start()
    scene.recover()
    judge(scene)


def _starts_alone(scene: Scene, *, shows: int) -> None:
    """Start the ring with neither; it must answer with so many products, and say what lacks."""
    assert scene.broker is not None
    assert scene.redis is not None
    scene.broker.stop()
    scene.redis.stop()
    scene.ring.start("run")
    until(lambda: scene.ring.post("/recommend", {})[0] == 200, "it answers", seconds=300)
    status, answer = scene.ring.post("/recommend", {"user_id": "u"})
    scene.finding.check(
        status == 200
        and HISTORY_UNAVAILABLE in _reasons(answer)
        and LOG_UNAVAILABLE not in _reasons(answer)  # it waits in the spool
        and len(answer["products"]) == shows,
        f"answered {status} {answer}",
    )


@fault("F17w", "weights absent at the start", begins=False)
def weights_are_absent_at_the_start(scene: Scene) -> None:
    scene.open()
    pointer = scene.ring.data_dir / "registry" / "live.json"
    kept = pointer.read_bytes()
    pointer.unlink()
    scene.ring.start("serve")
    for name in ("aggregate", "train", "console"):
        scene.ring.start_beside(name)
    until(lambda: scene.ring.post("/recommend", {})[0] == 200, "it answers", seconds=300)
    scene.strike()
    scene.finding.check(not scene.ring.is_ready(), "ready without weights")
    status, answer = scene.ring.post("/recommend", {"user_id": "u"})
    scene.finding.check(
        status == 200 and answer["source"] == "static" and len(answer["products"]) == 5,
        f"answered {status} {answer}",
    )
    pointer.write_bytes(kept)
    scene.heal()
    scene.load.start()
    scene.recover()
    judge(scene)


def _reasons(answer: dict[str, str]) -> set[str]:
    return set((answer["reason"] or "").split(", "))
