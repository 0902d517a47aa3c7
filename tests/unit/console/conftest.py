"""Builders with valid defaults, a log in a temporary file, and a caller without a socket."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from console.policies import Registry
from policy.errors import NoLiveSnapshot, RegistryHeld
from policy.snapshot import Snapshot
from schemas import candidates
from schemas.codec import encode
from schemas.events import Recommended
from schemas.identity import recommendation_id, ulid
from schemas.policies import Announcement, Live, Manifest
from schemas.products import Product
from schemas.rewards import Reward
from streams.local import LocalLog
from streams.port import Message, Partition, Record
from tests.policies import pair_table

KEY = bytes(range(8))
START_MS = 1_700_000_000_000


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_seconds(self, seconds: float) -> None:
        self.now_ms += int(1000 * seconds)


class Builders:
    """Messages and records with valid defaults."""

    key = KEY
    start_ms = START_MS

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}

    def id(self, number: int = 0, *, at_ms: int = START_MS) -> str:
        return recommendation_id(ulid(at_ms, number.to_bytes(10, "big")), KEY)

    def recommended(self, name: str, **changes: Any) -> Recommended:
        values: dict[str, Any] = {
            "event_id": name,
            "occurred_at_ms": START_MS,
            "recommendation_id": name,
            "unit": "u1-1",
            "arm": "policy",
            "source": "policy",
            "trainable": True,
            "policy_version": 3,
            "catalogue_version": 5,
            "candidates": candidates.pack(np.arange(5)),
            "product_ids": ("p0", "p1"),
            "rows": (0, 1),
            "log_probs": (-1.0, -2.0),
        }
        return Recommended(**(values | changes))

    def reward(self, name: str, **changes: Any) -> Reward:
        values: dict[str, Any] = {
            "recommendation_id": name,
            "revision": 0,
            "settled_at_ms": START_MS,
            "specification": "1",
            "unit": "u1-1",
            "arm": "policy",
            "source": "policy",
            "trainable": True,
            "points": (0.0, 0.0),
            "delta": changes.get("points", (0.0, 0.0)),
            "policy_version": 3,
            "catalogue_version": 5,
            "viewed_row": -1,
            "history": b"",
            "candidates": b"",
            "rows": (0, 1),
            "log_probs": (-1.0, -2.0),
        }
        return Reward(**(values | changes))

    def announcement(self, version: int, **changes: Any) -> Announcement:
        values = {"kind": "served", "version": version, "at_ms": START_MS, "process": "serve"}
        return Announcement(**(values | changes))

    def manifest(self, version: int, **changes: Any) -> Manifest:
        values: dict[str, Any] = {
            "version": version,
            "parent": version - 1 if version > 1 else None,
            "foundation": 1,
            "created_at_ms": START_MS,
            "sha256": "0" * 64,
            "size_bytes": 10,
            "tensors": {},
            "catalogue_version": 5,
            "products": 5,
            "updates": version - 1,
            "banners": 256 * (version - 1),
        }
        return Manifest(**(values | changes))

    def record(self, topic: str, message: msgspec.Struct | bytes, *, at_ms: int) -> Record:
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        value = message if isinstance(message, bytes) else encode(message)
        return Record(Partition(topic, 0), offset, at_ms, KEY, value)


@pytest.fixture
def build() -> Builders:
    return Builders()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[LocalLog]:
    log = LocalLog(tmp_path / "log.sqlite", clock=clock, partitions={"events": 2})
    yield log
    log.close()


@pytest.fixture
def append(log: LocalLog) -> Callable[..., None]:
    def append(topic: str, *messages: msgspec.Struct | bytes, key: bytes | None = KEY) -> None:
        values = [one if isinstance(one, bytes) else encode(one) for one in messages]
        log.append(topic, [Message(key, value) for value in values])

    return append


class KeptRegistry:
    """A registry in memory."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self._manifests = manifests
        self._live: Live | None = None
        if manifests:
            version = manifests[-1].version
            previous = tuple(one.version for one in manifests[:-1])
            self._live = Live(
                version=version, foundation=1, previous=previous, changed_at_ms=0, reason="trained"
            )

    def live(self) -> Live | None:
        return self._live

    def manifests(self) -> list[Manifest]:
        return self._manifests

    def load(self, version: int) -> Snapshot:
        manifest = next(one for one in self._manifests if one.version == version)
        lift = ("food", "drink", 1.0 if version == 2 else 0.0)
        return Snapshot(manifest, {"value_pairs": pair_table(lift)})

    def _move(self, **changes: Any) -> Live:
        if self._live is None:
            raise NoLiveSnapshot("run `quintet pretrain`")
        self._live = msgspec.structs.replace(self._live, **changes)
        return self._live

    def promote(self, version: int, *, reason: str) -> Live:
        if self._live is not None and self._live.hold:
            raise RegistryHeld("held: resume first")
        return self._move(version=version, reason=reason)

    def rollback(self, *, reason: str, to: int | None = None) -> Live:
        return self._move(version=to or 1, reason=reason, hold=True)

    def resume(self) -> Live:
        return self._move(hold=False, reason="resumed")


@pytest.fixture
def registry(build: Builders) -> Registry:
    return KeptRegistry([build.manifest(1), build.manifest(2, health={"entropy_nats": 2.0})])


@dataclass
class KeptCatalogue:
    products: list[Product]
    version: int = 1
    row_of: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.row_of = {product.product_id: row for row, product in enumerate(self.products)}


@pytest.fixture
def catalogue() -> KeptCatalogue:
    titles = ["Red apple", "Green apple", "Brown bread", "Oat milk", "Old cheese"]
    return KeptCatalogue(
        [
            Product(product_id=f"p{n}", title=title, category="food", available=n != 4)
            for n, title in enumerate(titles)
        ]
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


Application = Callable[..., Any]


def call(
    app: Application,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    client: str = "127.0.0.1",
) -> Answer:
    """Send one request to an ASGI application."""
    bare, _, query = path.partition("?")
    given = {"host": "127.0.0.1:8081"} | dict(headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode("utf-8", "surrogateescape"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        "client": (client, 1),
        "server": ("127.0.0.1", 8081),
    }
    sent: list[dict[str, Any]] = []

    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked.is_set():
            await asyncio.Event().wait()  # the caller stays until it has its answer
        asked.set()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return Answer(
        sent[0]["status"],
        {k.decode(): v.decode() for k, v in sent[0]["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


@pytest.fixture
def ask() -> Callable[..., Answer]:
    return call
