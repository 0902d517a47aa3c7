"""A shop over the embedded log, called in-process, and builders of what it is sent."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from policy.registry import Registry
from projections.errors import HistoryUnavailable
from schemas import events, identity
from schemas.candidates import pack
from schemas.codec import decode_event, encode
from schemas.products import Product, ProductUpserted
from service.behaviour import Loaded, ServingState
from service.wiring import Service, ServiceSettings, build
from streams.errors import LogUnavailable
from streams.local import LocalLog
from streams.port import Message, Record
from tests.unit.service.watched_ring import Ring

SECRET = b"a secret of the tests"
START_MS = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_seconds(self, seconds: float) -> None:
        self.now_ms += int(1000 * seconds)


@dataclass
class FakeDraw:
    rows: np.ndarray
    log_probs: np.ndarray
    packed_candidates: bytes


class UniformPolicy:
    """Draws uniformly, is greedy for low rows, and remembers what it was asked."""

    def __init__(self, products: int, *, broken: bool = False) -> None:
        self.products = products
        self.broken = broken
        self.asked: list[dict[str, object]] = []
        self.popular = np.arange(products, dtype=np.int32)[::-1]

    def _candidates(self, eligible: np.ndarray, excluded: np.ndarray) -> np.ndarray:
        assert len(eligible) == self.products
        if self.broken:
            raise RuntimeError("a policy that cannot draw")
        allowed = eligible.copy()
        allowed[excluded] = 0
        return np.flatnonzero(allowed).astype(np.int32)

    def draw_many(self, questions, uniforms) -> list[FakeDraw]:
        return [self._draw(*each) for each in zip(questions, uniforms, strict=True)]

    def _draw(self, question, uniforms) -> FakeDraw:
        self.asked.append(
            {"viewed_row": question.viewed_row, "history": question.history, "size": question.size}
        )
        candidates = self._candidates(question.eligible, question.excluded)
        left = candidates.tolist()
        rows, log_probs = [], []
        for uniform in uniforms[: min(question.size, len(left))]:
            log_probs.append(-np.log(len(left)))
            rows.append(left.pop(int(uniform * len(left))))
        return FakeDraw(np.array(rows, np.int32), np.array(log_probs, np.float32), pack(candidates))

    def greedy(self, *, viewed_row, history, eligible, excluded, size) -> np.ndarray:
        self.asked.append({"viewed_row": viewed_row, "history": history, "size": size})
        return self._candidates(eligible, excluded)[:size]


class Histories:
    """Packed histories by user key; can be made unreachable."""

    def __init__(self) -> None:
        self.packed: dict[bytes, bytes] = {}
        self.reachable = True

    async def read(self, user_key: bytes) -> bytes | None:
        if not self.reachable:
            raise HistoryUnavailable("the history of the tests is away")
        return self.packed.get(user_key)

    async def read_many(self, user_keys: Sequence[bytes]) -> list[bytes | None]:
        return [await self.read(key) for key in user_keys]

    async def close(self) -> None:
        pass


class BreakableLog:
    """A log that can be made unreachable."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log
        self.reachable = True

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        if not self.reachable:
            raise LogUnavailable("the log of the tests is away")
        self._log.append(topic, messages)

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


async def call(
    app,
    method: str,
    path: str,
    chunks: Sequence[bytes] = (b"",),
    *,
    headers: dict[str, str] | None = None,
    declared_bytes: int | None = None,
    address: str = "203.0.113.7",
    hangs_up: bool = False,
    has_left: bool = False,
) -> Answer:
    """Call an ASGI app once, as a server would.

    `hangs_up` leaves before the last chunk, `has_left` before the answer.
    """
    raw_path, _, query = path.partition("?")
    sent = {"content-type": "application/json", **(headers or {})}
    if declared_bytes is not None:
        sent["content-length"] = str(declared_bytes)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": raw_path, "raw_path": raw_path.encode(), "root_path": "",
        "query_string": query.encode(), "client": (address, 1), "server": ("shop", 80),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items() if v is not None],
        "has_left": lambda: has_left,
    }  # fmt: skip
    waiting = list(chunks)
    answered: list[dict] = []

    async def receive() -> dict:
        if not waiting or (hangs_up and len(waiting) == 1):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict) -> None:
        answered.append(message)

    await app(scope, receive, send)
    start = answered[0]
    return Answer(
        start["status"],
        {k.decode(): v.decode() for k, v in start["headers"]},
        b"".join(message.get("body", b"") for message in answered[1:]),
    )


@dataclass
class Shop:
    service: Service
    log: BreakableLog
    histories: Histories
    clock: Clock
    registry: Registry
    folder: Path
    policy: UniformPolicy | None = None
    foundation: UniformPolicy | None = None

    def send(self, method: str, path: str, body: object = None, **options) -> Answer:
        """Send JSON (bytes go as they are) and return the answer."""
        data = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        return asyncio.run(call(self.service.app, method, path, (data,), **options))

    def recommend(self, **context) -> dict:
        answer = self.send("POST", "/recommend", context)
        assert answer.status == 200, answer.body
        return answer.json

    def report(self, *reported: dict, **options) -> list[dict]:
        answer = self.send("POST", "/events", list(reported), **options)
        assert answer.status == 202, answer.body
        return answer.json["results"]

    def outcomes(self, *reported: dict, **options) -> list[str]:
        return [result["outcome"] for result in self.report(*reported, **options)]

    def sell(self, *products: Product) -> None:
        """Put products into the log and serve them, with what policies there are."""
        self.log.append(
            "products", [Message(None, encode(ProductUpserted(product=p))) for p in products]
        )
        self.service.watcher.step()

    def serve(self, *, version: int = 7, foundation_version: int = 1, broken: bool = False) -> None:
        """Serve uniform policies."""
        catalogue = self.service.behaviour.state.catalogue
        self.policy = UniformPolicy(len(catalogue), broken=broken)
        self.foundation = UniformPolicy(len(catalogue), broken=broken)
        self.service.behaviour.state = ServingState(
            catalogue,
            Loaded(self.policy, version),
            Loaded(self.foundation, foundation_version),
            self.policy.popular,
        )

    def records(self, topic: str) -> list[Record]:
        """Return everything a topic holds, once everything is appended."""
        assert self.service.appender.wait_idle()
        reader = self.log.consumer([topic], group=None)
        found: list[Record] = []
        while records := reader.poll(max_records=10_000, timeout_seconds=0.0):
            found += records
        reader.close()
        return found

    def facts(self) -> list[events.Event]:
        return [decode_event(record.value) for record in self.records("events")]

    def metric(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


def key_of(user_id: str) -> bytes:
    return identity.user_key(SECRET, user_id)


def product(number: int, **changes) -> Product:
    return Product(**{"product_id": f"p{number}", "title": f"Product {number}"} | changes)


def event(kind: str = "click", **changes) -> dict:
    """Return a valid event of a kind; what varies is named."""
    fields = {"event_id": "e1", "type": kind, "occurred_at": "2023-11-14T22:13:20Z"}
    if kind in ("click", "add_to_cart", "purchase", "refund"):
        fields["product_id"] = "p1"
    if kind == "rating":
        fields |= {"source": "judge", "value": 0.5}
    if kind in ("click", "add_to_cart", "purchase", "refund"):
        fields["user_id"] = "u1"
    return {name: value for name, value in (fields | changes).items() if value is not None}


@pytest.fixture(name="key_of")
def _key_of():
    return key_of


@pytest.fixture(name="product")
def _product():
    return product


@pytest.fixture(name="call")
def _call():
    return call


@pytest.fixture(name="event")
def _event():
    return event


@pytest.fixture
def make_shop(tmp_path: Path) -> Iterator:
    made: list[Shop] = []

    def make(*, products: int = 20, serving: bool = True, **settings) -> Shop:
        clock = Clock()
        folder = tmp_path / f"shop{len(made)}"
        folder.mkdir()
        log = BreakableLog(LocalLog(folder / "log.sqlite", clock=clock))
        histories = Histories()
        registry = Registry(folder / "registry", clock=clock)
        service = build(
            ServiceSettings(**{"secret": SECRET, "control_share": 0.0} | settings),
            log,
            registry,
            histories,
            clock=clock,
            rng=np.random.default_rng(5),
            metrics_registry=CollectorRegistry(),
        )
        shop = Shop(service, log, histories, clock, registry, folder)
        made.append(shop)
        if service.spooled is not None:
            service.spooled.start()
        service.appender.start()
        if products:
            shop.sell(*(product(number) for number in range(products)))
        if serving:
            shop.serve()
        return shop

    yield make
    for shop in made:
        shop.service.watcher.stop()
        shop.service.appender.stop()
        if shop.service.spooled is not None:
            shop.service.spooled.stop()
        shop.log.close()


@pytest.fixture
def shop(make_shop) -> Shop:
    return make_shop()


@pytest.fixture
def ring(tmp_path):
    made = Ring(tmp_path)
    made.sell(0, 6)
    yield made
    made.watcher.stop()
    made.log.close()
