"""What a history in Redis promises beside the contract: when it is away, emptied, guarded."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis.client import Pipeline

from projections.errors import HistoryUnavailable, PositionsMoved
from projections.history import redis as redis_history
from projections.history.metrics import HistoryMetrics
from projections.history.projector import HistoryProjector
from projections.history.redis import RedisHistoryReader, RedisHistoryStore, RedisSettings
from projections.orders import with_order
from schemas import history as histories
from schemas.codec import encode
from schemas.history import EMPTY
from streams.local import LocalLog
from streams.port import Message
from tests.contracts.histories import ANN, BOB, EVENTS, Adapter, purchase, read, value
from tests.contracts.logs import TRIES
from tests.servers import RedisServer, free_ports, require


class GuardedRedis(RedisServer):
    """A Redis that asks for a password."""

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(folder)
        self._command += ["--requirepass", password]

    def is_ready(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1.0) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may empty and stop."""
    require("redis-server")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def nobodys_url() -> str:
    """Return an address nobody listens on."""
    return f"redis://127.0.0.1:{free_ports(1)[0]}/0"


def test_without_redis_a_reader_gives_up_at_once_and_then_does_not_ask() -> None:
    settings, now = RedisSettings(nobodys_url()), [0]

    async def ask() -> list[str]:
        reader = RedisHistoryReader(settings, clock=lambda: now[0])
        why = []
        for now[0] in (0, 0, 0, 999, 1000, 1001):
            with pytest.raises(HistoryUnavailable) as refused:
                await reader.read(ANN)
            why.append(str(refused.value))
        await reader.close()
        return ["not asked" if "not asked" in text else "asked" for text in why]

    assert asyncio.run(ask()) == ["asked"] * 3 + ["not asked", "asked", "not asked"]


def test_a_redis_store_that_is_away_says_so() -> None:
    store = RedisHistoryStore(RedisSettings(nobodys_url()))

    for call in (store.positions, store.clear, lambda: store.load([ANN]), lambda: store.expire(1)):
        with pytest.raises(HistoryUnavailable):
            call()
    with pytest.raises(HistoryUnavailable):
        store.apply({ANN: value([1])}, {EVENTS: 1}, since={})


def test_a_redis_that_lost_its_data_refuses_what_was_made_from_before(
    own_redis: RedisServer,
) -> None:
    store = RedisHistoryStore(RedisSettings(own_redis.url))
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})
    store.close()
    own_redis.kill()
    own_redis.start()
    store = RedisHistoryStore(RedisSettings(own_redis.url))

    with pytest.raises(PositionsMoved):
        store.apply({BOB: value([2])}, {EVENTS: 5}, since={EVENTS: 4})

    assert store.positions() == {}
    store.close()


def test_a_clear_that_was_cut_short_is_finished_before_anything_else(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_history, "_FORGOTTEN_AT_ONCE", 3)
    settings = RedisSettings(redis_server.url, prefix=tmp_path.name)
    crowd = [number.to_bytes(8, "big") for number in range(10)]
    store, other = RedisHistoryStore(settings), RedisHistoryStore(settings)
    store.apply({key: value([1]) for key in crowd}, {EVENTS: 4}, since={})
    step, steps = store._unless_moved, iter(range(3))

    def cut_short(change: Callable[[Pipeline], int]) -> int:
        if next(steps, None) is None:
            raise HistoryUnavailable("cut short")
        return step(change)

    monkeypatch.setattr(store, "_unless_moved", cut_short)
    with pytest.raises(HistoryUnavailable):
        store.clear()
    assert len(other.load(crowd)) == 4

    assert other.positions() == {}
    with pytest.raises(PositionsMoved, match="cleared"):
        other.apply({ANN: value([2])}, {EVENTS: 5}, since={})
    assert other.positions() == {}
    assert other.load([*crowd, ANN]) == {}
    other.apply({ANN: value([2])}, {EVENTS: 5}, since={})
    assert other.positions() == {EVENTS: 5}
    other.clear()
    assert (other.positions(), other.load([ANN])) == ({}, {})
    for each in (store, other):
        each.close()
    with redis.Redis.from_url(redis_server.url) as operator:
        assert operator.keys(f"*{tmp_path.name}*") == []


def test_a_redis_that_hangs_costs_a_read_its_history_and_not_the_request(
    own_redis: RedisServer,
) -> None:
    assert own_redis.process is not None
    hanging = own_redis.process

    async def ask() -> list[bytes | None]:
        reader = RedisHistoryReader(
            RedisSettings(own_redis.url, read_seconds=0.5),
            clock=iter(range(0, 10**6, 5000)).__next__,
        )
        found = [await reader.read(ANN)]
        hanging.send_signal(signal.SIGSTOP)
        with pytest.raises(HistoryUnavailable):
            async with asyncio.timeout(30):
                await reader.read(ANN)
        hanging.send_signal(signal.SIGCONT)
        found.append(await reader.read(ANN))
        await reader.close()
        return found

    assert asyncio.run(ask()) == [None, None]


def test_a_redis_with_a_password_is_reached_by_its_url(tmp_path: Path) -> None:
    require("redis-server")
    server = GuardedRedis(tmp_path, "open:sesame")
    server.start()
    try:
        settings = RedisSettings(server.url.replace("//", "//:open%3Asesame@"), read_seconds=2)
        store = RedisHistoryStore(settings)
        store.apply({ANN: value([1])}, {EVENTS: 1}, since={})
        adapter = Adapter(
            lambda: RedisHistoryStore(settings),
            lambda: RedisHistoryReader(settings, clock=lambda: 0),
        )

        assert read(adapter, ANN) == [histories.pack(with_order(EMPTY, [1]))]
        assert "sesame" not in repr(settings)
        store.close()
    finally:
        server.kill()


def test_a_wrong_password_says_so_without_saying_it(tmp_path: Path) -> None:
    require("redis-server")
    server = GuardedRedis(tmp_path, "right")
    server.start()
    try:
        store = RedisHistoryStore(RedisSettings(server.url.replace("//", "//:wrong@")))

        with pytest.raises(HistoryUnavailable) as refused:
            store.positions()

        assert "password" in str(refused.value)
        assert "wrong@" not in str(refused.value)
        store.close()
    finally:
        server.kill()


def projector_of(log: LocalLog, store: RedisHistoryStore) -> HistoryProjector:
    return HistoryProjector(
        log,
        store,
        clock=lambda: 1_000,
        retention_ms=1_000_000,
        metrics=HistoryMetrics(CollectorRegistry()),
        poll_seconds=0,
    )


def follow(projector: HistoryProjector) -> None:
    idle = 0
    while idle < 3:
        idle = 0 if projector.step() else idle + 1


def test_a_redis_that_stands_still_costs_histories_for_a_while_and_never_an_answer(
    own_redis: RedisServer,
) -> None:
    store = RedisHistoryStore(RedisSettings(own_redis.url))
    store.apply({ANN: value([1])}, {EVENTS: 1}, since={})
    store.close()
    assert own_redis.process is not None
    standing = own_redis.process

    async def ask() -> None:
        reader = RedisHistoryReader(
            RedisSettings(own_redis.url), clock=lambda: time.monotonic_ns() // 1_000_000
        )

        async def is_found() -> bool:
            for _ in range(TRIES):
                with suppress(HistoryUnavailable):
                    return await reader.read(ANN) is not None
                await asyncio.sleep(0.02)
            return False

        assert await is_found()
        standing.send_signal(signal.SIGSTOP)
        for _ in range(10):  # each answered before Redis goes on
            with pytest.raises(HistoryUnavailable):
                await reader.read(ANN)
        standing.send_signal(signal.SIGCONT)
        assert await is_found(), "the histories are back by themselves"
        await reader.close()

    asyncio.run(ask())


def test_a_redis_that_takes_no_writes_is_read_and_caught_up_with_later(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    log = LocalLog(tmp_path / "log.sqlite", clock=lambda: 1_000)
    settings = RedisSettings(own_redis.url)
    store = RedisHistoryStore(settings)
    projector = projector_of(log, store)
    for number in range(10):
        log.append("events", [Message(ANN, encode(purchase(ANN, number)))])
    follow(projector)
    before = store.load([ANN])
    operator = redis.Redis.from_url(own_redis.url)
    operator.replicaof("127.0.0.1", str(free_ports(1)[0]))  # a replica, of nobody: read-only
    log.append("events", [Message(ANN, encode(purchase(ANN, 10)))])

    with pytest.raises(HistoryUnavailable, match="QUINTET_REDIS_URL must name the one"):
        follow(projector)
    adapter = Adapter(
        lambda: RedisHistoryStore(settings),
        lambda: RedisHistoryReader(settings, clock=lambda: 0),
    )
    assert store.load([ANN]) == before
    assert read(adapter, ANN) != [None]

    operator.replicaof("NO", "ONE")
    operator.close()
    follow(projector)
    projector.close()
    other_store = RedisHistoryStore(RedisSettings(own_redis.url, prefix="rebuilt"))
    rebuilt = projector_of(log, other_store)
    follow(rebuilt)
    assert store.load([ANN]) == other_store.load([ANN]) != before
    for each in (rebuilt, store, other_store, log):
        each.close()


def test_an_emptied_redis_is_filled_again_with_the_same_bytes(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    log = LocalLog(tmp_path / "log.sqlite", clock=lambda: 1_000)
    store = RedisHistoryStore(RedisSettings(own_redis.url))
    projector = projector_of(log, store)
    for number in range(40):
        user = ANN if number % 3 else BOB
        log.append("events", [Message(user, encode(purchase(user, number)))])

    follow(projector)
    before = store.load([ANN, BOB])
    with redis.Redis.from_url(own_redis.url) as operator:
        operator.flushall()
    follow(projector)
    after = store.load([ANN, BOB])

    assert len(before) == 2
    assert after == before
    projector.close()
    store.close()
    log.close()
