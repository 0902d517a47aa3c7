"""What every history store and reader promises (`projections/history/port.py`), over all."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry

from projections.errors import HistoryUnavailable, PositionsMoved
from projections.history import kept
from projections.history.kept import Kept
from projections.history.metrics import HistoryMetrics
from projections.history.port import HistoryReader, HistoryStore
from projections.history.projector import HistoryProjector
from projections.history.redis import RedisHistoryReader, RedisHistoryStore, RedisSettings
from projections.history.sqlite import SqliteHistoryReader, SqliteHistoryStore
from projections.orders import with_order
from schemas import history as histories
from schemas.codec import encode
from schemas.events import Line, Purchase
from schemas.history import EMPTY
from streams.kafka import KafkaLog, KafkaSettings
from streams.local import LocalLog
from streams.port import Message, Partition
from tests.servers import KafkaBroker, RedisServer, free_ports, require

EVENTS, OTHER = Partition("events", 0), Partition("events", 1)
ANN, BOB = b"\x00{anne}\xff", b"\xffbob\x00\x00\n}"


HALF_A_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM shoppers")
print("in the middle", flush=True)
input()
"""


@dataclass(frozen=True)
class Adapter:
    store: Callable[[], HistoryStore]
    reader: Callable[[], HistoryReader]


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


@pytest.fixture(params=["sqlite", "redis"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    if request.param == "sqlite":
        path = tmp_path / "history.sqlite"
        return Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path))
    server: RedisServer = request.getfixturevalue("redis_server")
    settings = RedisSettings(server.url, prefix=tmp_path.name, read_seconds=2)
    return Adapter(
        lambda: RedisHistoryStore(settings), lambda: RedisHistoryReader(settings, clock=lambda: 0)
    )


@pytest.fixture
def store(adapter: Adapter) -> Iterator[HistoryStore]:
    opened = adapter.store()
    yield opened
    opened.clear()
    opened.close()


def value(rows: Sequence[int], *, newest_ms: int = 1000) -> bytes:
    return kept.pack(Kept(with_order(EMPTY, rows), newest_ms, (b"order 01",)))


def read(adapter: Adapter, *user_keys: bytes) -> list[bytes | None]:
    async def ask() -> list[bytes | None]:
        reader = adapter.reader()
        try:
            return [await reader.read(key) for key in user_keys]
        finally:
            await reader.close()

    return asyncio.run(ask())


def test_what_was_applied_is_read_without_its_tail(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([3, 1])}, {EVENTS: 4}, since={})

    assert read(adapter, ANN, BOB) == [histories.pack(with_order(EMPTY, [3, 1])), None]
    assert store.load([ANN, BOB]) == {ANN: value([3, 1])}
    assert store.positions() == {EVENTS: 4}


def test_many_are_read_at_once_as_they_are_one_by_one(
    adapter: Adapter, store: HistoryStore
) -> None:
    crowd = [number.to_bytes(8, "big") for number in range(150)]
    store.apply({key: value([key[-1], 7]) for key in crowd[::2]}, {EVENTS: 4}, since={})

    async def ask() -> list[object]:
        reader = adapter.reader()
        try:
            return [*await reader.read_many([*crowd, crowd[0]]), *await reader.read_many([])]
        finally:
            await reader.close()

    assert asyncio.run(ask()) == read(adapter, *crowd, crowd[0])


def test_a_reader_before_the_first_purchase_answers_nothing(adapter: Adapter) -> None:
    assert read(adapter, ANN) == [None]


def test_a_reader_made_before_the_store_sees_what_is_applied_later(adapter: Adapter) -> None:
    async def ask() -> list[bytes | None]:
        reader = adapter.reader()
        before = await reader.read(ANN)
        store = adapter.store()
        store.apply({ANN: value([1])}, {EVENTS: 1}, since={})
        first = await reader.read(ANN)
        store.apply({ANN: value([2])}, {EVENTS: 2}, since={EVENTS: 1})
        second = await reader.read(ANN)
        await reader.close()
        store.close()
        return [before, first, second]

    before, *after = asyncio.run(ask())

    assert before is None
    assert after == [histories.pack(with_order(EMPTY, [row])) for row in (1, 2)]


def test_a_forgotten_shopper_is_gone(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([1]), BOB: value([2])}, {EVENTS: 2}, since={})

    store.apply({ANN: None}, {EVENTS: 3}, since={EVENTS: 2})

    assert read(adapter, ANN) == [None]
    assert store.load([ANN, BOB]) == {BOB: value([2])}


@pytest.mark.parametrize("since", [{}, {EVENTS: 3}, {EVENTS: 5}])
def test_changes_made_from_elsewhere_are_refused_whole(
    store: HistoryStore, since: dict[Partition, int]
) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    with pytest.raises(PositionsMoved):
        store.apply({ANN: None, BOB: value([2])}, {OTHER: 1, EVENTS: 9}, since=since)

    assert store.load([ANN, BOB]) == {ANN: value([1])}
    assert store.positions() == {EVENTS: 4}


def test_positions_never_go_back(store: HistoryStore) -> None:
    store.apply({}, {EVENTS: 4}, since={})

    with pytest.raises(PositionsMoved):
        store.apply({}, {EVENTS: 3}, since={EVENTS: 4})

    assert store.positions() == {EVENTS: 4}


def test_of_two_projectors_of_one_partition_one_gets_through(adapter: Adapter) -> None:
    owner, zombie = adapter.store(), adapter.store()
    since = zombie.positions()
    owner.apply({ANN: value([1])}, {EVENTS: 5}, since={})

    with pytest.raises(PositionsMoved):
        zombie.apply({ANN: value([9])}, {EVENTS: 2}, since=since)

    assert owner.load([ANN]) == {ANN: value([1])}
    owner.close()
    zombie.close()


def test_partitions_move_each_for_itself(store: HistoryStore) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    store.apply({BOB: value([2])}, {OTHER: 7}, since={OTHER: 0})

    assert store.positions() == {EVENTS: 4, OTHER: 7}


def test_a_cleared_store_has_no_positions(adapter: Adapter, store: HistoryStore) -> None:
    store.apply({ANN: value([1])}, {EVENTS: 4}, since={})

    store.clear()

    assert store.positions() == {}
    assert read(adapter, ANN) == [None]


def test_shoppers_who_have_not_bought_for_long_expire(store: HistoryStore) -> None:
    many = {number.to_bytes(8, "big"): value([1], newest_ms=10) for number in range(1500)}
    store.apply(many, {EVENTS: 1}, since={})
    store.apply({BOB: value([2], newest_ms=20)}, {EVENTS: 2}, since={EVENTS: 1})

    assert store.expire(20) == 1500
    assert store.expire(20) == 0
    assert store.load([*many, BOB]) == {BOB: value([2], newest_ms=20)}
    assert store.positions() == {EVENTS: 2}


def test_a_purchase_puts_off_the_expiry(store: HistoryStore) -> None:
    store.apply({ANN: value([1], newest_ms=10)}, {EVENTS: 1}, since={})
    store.apply({ANN: value([1, 2], newest_ms=30)}, {EVENTS: 2}, since={EVENTS: 1})

    assert store.expire(20) == 0
    assert store.load([ANN]) == {ANN: value([1, 2], newest_ms=30)}


def test_a_sqlite_history_is_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    SqliteHistoryStore(path).apply({ANN: value([1])}, {EVENTS: 1}, since={})
    writer = subprocess.Popen(
        [sys.executable, "-c", HALF_A_WRITE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"in the middle\n"

    found = read(Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path)), ANN)

    assert found == [histories.pack(with_order(EMPTY, [1]))]
    writer.communicate(b"\n")


def test_a_damaged_value_is_one_shoppers_problem(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    SqliteHistoryStore(path).apply({ANN: value([1]), BOB: value([2])}, {EVENTS: 4}, since={})
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        (number,) = file.execute("SELECT user_key FROM shoppers WHERE user_key > 0").fetchone()
        file.execute("UPDATE shoppers SET value = x'00' WHERE user_key = ?", (number,))

    async def ask() -> Sequence[object]:
        reader = SqliteHistoryReader(path)
        try:
            return await reader.read_many([ANN, BOB])
        finally:
            await reader.close()

    damaged, sound = asyncio.run(ask())
    assert isinstance(damaged, HistoryUnavailable)
    assert sound == histories.pack(with_order(EMPTY, [2]))


def test_a_sqlite_file_that_is_none_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"not a database" * 100)
    adapter = Adapter(lambda: SqliteHistoryStore(path), lambda: SqliteHistoryReader(path))

    with pytest.raises(HistoryUnavailable, match="not a database"):
        read(adapter, ANN)
    with pytest.raises(HistoryUnavailable, match="not a database"):
        adapter.store().positions()


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


def test_an_emptied_redis_is_filled_again_with_the_same_bytes(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    log = LocalLog(tmp_path / "log.sqlite", clock=lambda: 1_000)
    store = RedisHistoryStore(RedisSettings(own_redis.url))
    projector = HistoryProjector(
        log,
        store,
        clock=lambda: 1_000,
        retention_ms=1_000_000,
        metrics=HistoryMetrics(CollectorRegistry()),
        poll_seconds=0,
    )
    for number in range(40):
        user = ANN if number % 3 else BOB
        log.append("events", [Message(user, encode(purchase(user, number)))])

    def follow() -> dict[bytes, bytes]:
        idle = 0
        while idle < 3:
            idle = 0 if projector.step() else idle + 1
        return store.load([ANN, BOB])

    before = follow()
    with redis.Redis.from_url(own_redis.url) as operator:
        operator.flushall()
    after = follow()

    assert len(before) == 2
    assert after == before
    projector.close()
    store.close()
    log.close()


def test_on_kafka_projectors_share_the_shoppers_and_take_over_from_each_other(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    log = KafkaLog(
        KafkaSettings(kafka_broker.bootstrap_servers, topic_prefix=f"{uuid.uuid4().hex[:8]}.")
    )
    log.ensure_topics()
    users = [number.to_bytes(8, "big") for number in range(40)]

    def buys(numbers: Iterable[int]) -> None:
        log.append("events", [Message(u, encode(purchase(u, n))) for n in numbers for u in users])

    def opened(name: str) -> tuple[HistoryProjector, SqliteHistoryStore]:
        store = SqliteHistoryStore(tmp_path / name)
        return HistoryProjector(
            log,
            store,
            clock=lambda: 1_000,
            retention_ms=1_000_000,
            metrics=HistoryMetrics(CollectorRegistry()),
            poll_seconds=0.1,
        ), store

    def follow(projector: HistoryProjector, into: SqliteHistoryStore) -> None:
        ends = {part: end for part, end in log.end_offsets("events").items() if end}
        while into.positions() != ends:
            projector.step()

    first, store = opened("shared")
    buys(range(3))
    follow(first, store)
    second, other = opened("shared")
    for _ in range(30):
        buys([3])
        first.step()
        second.step()
    first.close()
    buys(range(4, 6))
    follow(second, store)
    second.close()
    shared = store.load(users)
    store.close()
    other.close()
    alone, store = opened("alone")
    follow(alone, store)

    assert store.load(users) == shared
    assert len(shared) == len(users)
    alone.close()
    store.close()
    log.close()


def purchase(user_key: bytes, number: int) -> Purchase:
    return Purchase(
        event_id=f"e{number}",
        occurred_at_ms=0,
        received_at_ms=0,
        user_key=user_key,
        lines=(Line(product_id="p", row=number % 7),),
    )
