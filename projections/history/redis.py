"""The history in Redis: one value per shopper, one hash of positions, one sorted set of ages.

All keys share the hash tag of the prefix, so MULTI works on a cluster too; user keys stand in them
in hexadecimal, so no byte of theirs can change the tag. Redis must not evict (`maxmemory-policy
noeviction`): a store that lost everything says so by its positions, one that lost a single shopper
cannot.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from projections.errors import HistoryUnavailable, PositionsMoved
from projections.history import kept, port
from projections.history.breaker import Breaker
from projections.history.metrics import HistoryReadMetrics
from streams.port import Partition

log = structlog.get_logger(__name__)

_FORGOTTEN_AT_ONCE: Final = 1000
_BEING_CLEARED: Final = "being cleared"
"""Stands where the positions stand, from the first to the last step of a `clear`."""
_NOTHING_DONE: Final = -1
_ADVICE: Final = {
    "invalid username-password pair": "; check user and password in QUINTET_REDIS_URL",
    "Authentication required": "; put user and password into QUINTET_REDIS_URL",
    "permission": "; the ACL user in QUINTET_REDIS_URL needs ~* and +@all, or at least the keys"
    " {quintet:history}:* and +@read +@write +@transaction +@connection",
    "mismatch, certificate": "; QUINTET_REDIS_URL must name the host as its certificate does",
    "CERTIFICATE_VERIFY_FAILED": "; name the certificate of its authority in QUINTET_REDIS_CA_FILE",
    "read only replica": "; QUINTET_REDIS_URL must name the one that is written to",
}
"""What to do, by a part of what Redis or TLS says."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is and how long to wait for it.

    Attributes:
        url: `redis://` or `rediss://` (TLS), with user, password and database where needed.
        ca_file: certificates to check the server's with, with `rediss://`; the system's where None.
        prefix: what the names of all keys begin with.
        read_seconds: longest wait for an answer on the request path, and for a connection without
            TLS.
        write_seconds: the same for the projector.
        connections: most connections of one reader.
    """

    url: str = field(repr=False)
    ca_file: Path | None = None
    prefix: str = "quintet"
    read_seconds: float = 0.05
    write_seconds: float = 5.0
    connections: int = 64

    @property
    def connect_seconds(self) -> float:
        """Longest wait for a connection on the request path: TLS takes a few trips more."""
        return self.read_seconds * (4 if self.url.startswith("rediss:") else 1)

    @property
    def connection(self) -> dict[str, str]:
        """The options that every connection takes beside its address."""
        return {} if self.ca_file is None else {"ssl_ca_certs": str(self.ca_file)}

    @property
    def tag(self) -> str:
        """What all keys begin with, in the braces that keep them on one node of a cluster."""
        return f"{{{self.prefix}:history}}:"


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as problem:
        raise _unavailable(problem) from problem


def _unavailable(problem: Exception) -> HistoryUnavailable:
    """Return the problem with what to do about it, where it is one of settings."""
    text = str(problem)
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text), "")
    return HistoryUnavailable(f"Redis: {text}{advice}")


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


class RedisHistoryStore:
    """The writing side."""

    def __init__(self, settings: RedisSettings) -> None:
        # redis-py retries ten times by itself; the projector's loop is what tries again here.
        self._redis = redis.Redis.from_url(
            settings.url,
            **settings.connection,
            socket_timeout=settings.write_seconds,
            socket_connect_timeout=settings.write_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._tag = settings.tag
        self._positions = settings.tag + "positions"
        self._ages = settings.tag + "ages"

    def load(self, user_keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of those shoppers that have one; raises HistoryUnavailable."""
        keys = list(user_keys)
        if not keys:
            return {}
        with _reachable():
            values = self._redis.mget([self._name(key.hex()) for key in keys])
        return {
            key: value for key, value in zip(keys, values, strict=True) if isinstance(value, bytes)
        }

    def apply(
        self,
        changes: Mapping[bytes, bytes | None],
        positions: Mapping[Partition, int],
        *,
        since: Mapping[Partition, int],
    ) -> None:
        """Keep new values and move positions in one MULTI that fails when positions were touched.

        Raises:
            PositionsMoved: the store is not at `since`, or was being cleared; nothing moved.
            HistoryUnavailable: not known whether it happened.
        """
        values = {key.hex(): value for key, value in changes.items() if value is not None}
        ages = {key: kept.newest_ms(value) for key, value in values.items()}
        moves = {f"{topic}:{number}": at for (topic, number), at in positions.items()}

        def change(pipeline: Pipeline) -> int:
            stored = self._read_positions(pipeline)
            if stored is None:
                return _NOTHING_DONE
            refusal = port.moved(stored, positions, since)
            if refusal is not None:
                raise PositionsMoved(refusal)
            pipeline.multi()
            for key, value in values.items():
                pipeline.set(self._name(key), value)
            if ages:
                pipeline.zadd(self._ages, ages)
            self._forget(pipeline, [key.hex() for key, value in changes.items() if value is None])
            for name, at in moves.items():
                pipeline.hset(self._positions, name, str(at))
            return len(changes)

        if self._unless_moved(change) == _NOTHING_DONE:
            self._clear_on()
            raise PositionsMoved("the store was being cleared")

    def positions(self) -> dict[Partition, int]:
        """Return the offset next to read of every partition; raises HistoryUnavailable."""
        with _reachable():
            return self._read_positions(self._redis) or {}

    def eviction(self) -> str:
        """Return the policy by which Redis drops values when it is full; empty: it drops none.

        Raises:
            HistoryUnavailable: Redis cannot be reached.
        """
        with _reachable():
            policy = _text(self._redis.info("memory").get("maxmemory_policy", "noeviction"))
        return "" if policy == "noeviction" else policy

    def clear(self) -> None:
        """Forget everything, in steps that Redis answers in time; raises HistoryUnavailable.

        Positions go first; what then is left was cut short and is finished by the next `apply`.
        """

        def begin(pipeline: Pipeline) -> int:
            pipeline.multi()
            pipeline.delete(self._positions)
            pipeline.hset(self._positions, _BEING_CLEARED, "")
            return 0

        self._unless_moved(begin)
        self._clear_on()

    def _clear_on(self) -> None:
        def drop(pipeline: Pipeline) -> int:
            if self._read_positions(pipeline) is not None:
                return 0  # another process went on with it
            shoppers = [
                _text(name) for name in pipeline.zrange(self._ages, 0, _FORGOTTEN_AT_ONCE - 1)
            ]
            pipeline.multi()
            self._forget(pipeline, shoppers)
            if not shoppers:
                pipeline.delete(self._positions)
            return len(shoppers)

        while self._unless_moved(drop):
            pass

    def expire(self, before_ms: int) -> int:
        """Forget shoppers whose newest purchase is older; raises HistoryUnavailable."""

        def drop(pipeline: Pipeline) -> int:
            old = pipeline.zrangebyscore(
                self._ages, "-inf", f"({before_ms}", start=0, num=_FORGOTTEN_AT_ONCE
            )
            pipeline.multi()
            self._forget(pipeline, [_text(name) for name in old])
            return len(old)

        expired = 0
        while count := self._unless_moved(drop):
            expired += count
        return expired

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _unless_moved(self, change: Callable[[Pipeline], int]) -> int:
        """Run `change` again until nobody moved the positions between its reads and its writes."""
        counts: list[int] = []
        with _reachable():
            self._redis.transaction(
                lambda pipeline: counts.append(change(pipeline)), self._positions
            )
        return counts[-1]

    def _name(self, hex_key: str) -> str:
        return self._tag + hex_key

    def _forget(self, pipeline: Pipeline, hex_keys: list[str]) -> None:
        if hex_keys:
            pipeline.delete(*(self._name(key) for key in hex_keys))
            pipeline.zrem(self._ages, *hex_keys)

    def _read_positions(self, client: redis.Redis) -> dict[Partition, int] | None:
        """Return the positions; None: the store is being cleared."""
        found = client.hgetall(self._positions)
        if _BEING_CLEARED in map(_text, found):
            return None
        parts = [(_text(name).rpartition(":"), int(at)) for name, at in found.items()]
        return {Partition(topic, int(number)): at for (topic, _, number), at in parts}


class _CutConnection(redis.asyncio.SSLConnection):
    """A connection over TLS that is cut when it is given up.

    redis-py would have asyncio go on taking leave, for half a minute, of a server that hangs.
    """

    async def disconnect(self, nowait: bool = False, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - redis-py's
        if nowait and self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(nowait, *arguments, **options)


class RedisHistoryReader:
    """The reading side, on the request path: one short try, and a breaker before it.

    Args:
        settings: where Redis is.
        clock: milliseconds, never going back.
        metrics: count failures and show the breaker; None: nobody looks.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        clock: Callable[[], int],
        metrics: HistoryReadMetrics | None = None,
    ) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.url,
            **settings.connection,
            max_connections=settings.connections,
            timeout=settings.read_seconds,
            socket_timeout=settings.read_seconds,
            socket_connect_timeout=settings.connect_seconds,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        if issubclass(pool.connection_class, redis.asyncio.SSLConnection):
            pool.connection_class = _CutConnection
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        self._tag = settings.tag
        self._breaker = Breaker(clock)
        self._away = False
        self._metrics = metrics
        if metrics is not None:
            metrics.breaker.set_function(lambda: float(self._breaker.is_open))

    async def read(self, user_key: bytes) -> bytes | None:
        """Return the packed history of a shopper, or None; raises HistoryUnavailable."""
        (found,) = await self.read_many([user_key])
        if isinstance(found, HistoryUnavailable):
            raise found
        return found

    async def read_many(
        self, user_keys: Sequence[bytes]
    ) -> Sequence[bytes | HistoryUnavailable | None]:
        """Return the packed histories of some shoppers by one MGET; raises HistoryUnavailable."""
        if not user_keys:
            return []
        if not self._breaker.lets_through():
            raise HistoryUnavailable("Redis: not asked, it failed just now")
        try:
            values = await self._redis.mget([self._tag + key.hex() for key in user_keys])
        except (redis.RedisError, OSError) as problem:
            self._breaker.failed()
            unavailable = _unavailable(problem)
            if self._metrics is not None:
                self._metrics.failures.inc()
            if not self._away:
                log.warning("history_unavailable", problem=str(unavailable))
            self._away = True
            raise unavailable from problem
        self._breaker.succeeded()
        if self._away:
            log.info("history_available_again")
        self._away = False
        return [
            kept.packed_or_problem(value if isinstance(value, bytes) else None) for value in values
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose(close_connection_pool=True)
