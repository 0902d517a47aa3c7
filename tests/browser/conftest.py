"""A real Chromium, a real console, and a stand-in service that notes what it is asked."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from prometheus_client import CollectorRegistry

from console.app import ConsoleParts, create_app
from console.audit import AuditSettings
from console.experiment import Experiment
from console.explain import Explainer
from console.follower import Follower
from console.pairs import Pairs
from console.policies import Operations
from console.settings import ConsoleSettings
from policy.snapshot import Snapshot
from schemas import candidates
from schemas.codec import encode
from schemas.events import Click, Recommended
from schemas.identity import recommendation_id, ulid
from schemas.keys import Keyring
from schemas.policies import Announcement, Live, Manifest
from schemas.products import Product
from schemas.rewards import Reward
from streams.local import LocalLog
from streams.port import Message
from tests.policies import pair_table

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KEY = bytes(8)
NAMES = [
    ("Bananas, loose", "produce/fruit", "National"),
    ("Whole milk 1 gal", "dairy/milk", "Private"),
    ("Sourdough bread with sunflower seeds, sliced", "bakery/bread", "Private"),
    ("Cheddar mild, shredded", "dairy/cheese", "National"),
    ("Dark roast coffee beans", "grocery/coffee", "National"),
    ("Tomato soup", "grocery/soup", "Private"),
    ("Chicken breast, boneless", "meat/chicken", "National"),
    ("Frozen pizza, four cheeses", "frozen/pizza", "National"),
]
PRODUCTS = [
    Product(
        product_id=f"p{n}",
        title=NAMES[n % len(NAMES)][0] + (f" no. {n}" if n >= len(NAMES) else ""),
        category=NAMES[n % len(NAMES)][1],
        brand=NAMES[n % len(NAMES)][2],
        price_cents=99 + 37 * n,
    )
    for n in range(40)
]


LIFTS = (
    ("grocery/coffee", "dairy/milk", 1.6),
    ("bakery/bread", "dairy/cheese", 0.8),
    ("meat/chicken", "bakery/bread", 0.4),
    ("frozen/pizza", "produce/fruit", -0.9),
)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class StandInService:
    """Answers /recommend and /events as the contract says; banners follow the product viewed."""

    def __init__(self) -> None:
        self.recommends: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.refuse_purchases = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
                self.send_header("Access-Control-Allow-Headers", "content-type, authorization")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_OPTIONS(self) -> None:
                self._answer(204)

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = outer.answer(self.path, asked)
                self._answer(status, json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, asked: Any) -> tuple[int, Any]:
        if path == "/events":
            if self.refuse_purchases and any(event["type"] == "purchase" for event in asked):
                return 403, {"title": "Forbidden", "detail": "needs the scope events:server"}
            self.events += asked
            results = [
                {"event_id": event["event_id"], "outcome": "accepted", "reason": None}
                for event in asked
            ]
            return 202, {"results": results}
        self.recommends.append(asked)
        viewed = asked.get("viewed_product_id")
        bought = asked.get("purchased_product_ids") or []
        first = 1 + (int(viewed[1:]) if viewed else 0) + len(bought)
        shown = [PRODUCTS[(first + n) % len(PRODUCTS)] for n in range(5)]
        name = recommendation_id(ulid(_now_ms(), len(self.recommends).to_bytes(10, "big")), KEY)
        return 200, {
            "recommendation_id": name,
            "products": [
                msgspec.to_builtins(product) | {"position": n} for n, product in enumerate(shown)
            ],
            "policy_version": 7,
            "arm": "policy",
            "source": "policy",
            "reason": None,
            "attribution_token": "token-" + name,
            "expires_at": "2030-01-01T00:00:00Z",
        }

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class KeptRegistry:
    """A registry in memory: a foundation and thirty versions."""

    def __init__(self, lifts: tuple[tuple[str, str, float], ...]) -> None:
        self._pairs = pair_table(*lifts)
        self._manifests = [_manifest(version) for version in range(1, 32)]
        self._live = Live(
            version=31, foundation=1, previous=(29, 30), changed_at_ms=_now_ms(), reason="trained"
        )

    def live(self) -> Live:
        return self._live

    def manifests(self) -> list[Manifest]:
        return self._manifests

    def load(self, version: int) -> Snapshot:
        return Snapshot(self._manifests[version - 1], {"value_pairs": self._pairs})

    def _move(self, **changes: Any) -> Live:
        self._live = msgspec.structs.replace(self._live, **changes)
        return self._live

    def promote(self, version: int, *, reason: str) -> Live:
        return self._move(version=version, reason=reason)

    def rollback(self, *, reason: str, to: int | None = None) -> Live:
        return self._move(version=to or 30, reason=reason, hold=True, previous=(29,))

    def resume(self) -> Live:
        return self._move(hold=False, reason="resumed in the console")


def _manifest(version: int) -> Manifest:
    health = {
        "entropy_nats": 2.4,
        "kl_nats": 0.31,
        "distinct_products": 212.0,
        "gradient_norm": 1.4 if version % 5 else 14.0,
        "clip_share": 0.06,
        "cap_share": 0.02,
        "effective_share": 0.93,
        "loss": -0.0123,
    }
    return Manifest(
        version=version,
        parent=version - 1 if version > 1 else None,
        foundation=1,
        created_at_ms=_now_ms() - 4000 * (31 - version),
        sha256="0" * 64,
        size_bytes=2_400_000,
        tensors={},
        catalogue_version=40,
        products=40,
        updates=version - 1,
        banners=256 * (version - 1),
        rewards_offset=None if version == 1 else 100 * (version - 1),
        health={} if version == 1 else health,
    )


@dataclass
class KeptCatalogue:
    products: list[Product]
    version: int = 1
    row_of: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.row_of = {product.product_id: row for row, product in enumerate(self.products)}


def banner(name: str, **changes: Any) -> Recommended:
    values: dict[str, Any] = {
        "event_id": name,
        "occurred_at_ms": _now_ms(),
        "recommendation_id": name,
        "unit": "u1-1",
        "placement": "storefront",
        "arm": "policy",
        "source": "policy",
        "trainable": True,
        "policy_version": 30,
        "catalogue_version": 40,
        "viewed_row": 3,
        "candidates": candidates.pack(np.arange(35)),
        "product_ids": tuple(f"p{n}" for n in range(5)),
        "rows": (0, 1, 2, 3, 4),
        "log_probs": (-1.2, -2.4, None, -3.0, -5.2),
    }
    return Recommended(**(values | changes))


def reward(name: str, arm: Any, unit: str, points: float, *, clicked: bool = False) -> Reward:
    return Reward(
        recommendation_id=name,
        revision=0,
        settled_at_ms=_now_ms(),
        specification="1",
        unit=unit,
        arm=arm,
        source="policy",
        trainable=arm == "policy",
        points=(0.0, points, 0.0, 0.0, 0.0),
        delta=(0.0, points, 0.0, 0.0, 0.0),
        clicked=(1,) if clicked else (),
        policy_version=30,
        catalogue_version=40,
        viewed_row=3,
        history=b"",
        candidates=b"",
        rows=(0, 1, 2, 3, 4),
        log_probs=(-1.2, -2.4, None, -3.0, -5.2),
    )


def _fill(log: LocalLog, banners: int) -> str:
    """Append rewards of both arms, some versions, and one banner with a whole life; return it."""
    draws = np.random.default_rng(5)
    rewards = []
    for number in range(banners):
        arm = "control" if number % 10 == 0 else "policy"
        chance = 0.22 + (0.08 * number / banners if arm == "policy" else 0.0)
        points = 1.0 if draws.random() < chance else 0.1 * float(draws.random() < 0.2)
        name = recommendation_id(ulid(_now_ms(), number.to_bytes(10, "big")), KEY)
        rewards.append(Message(KEY, encode(reward(name, arm, f"u{number % 700}-1", points))))
    log.append("rewards", rewards)
    served = [
        Announcement(
            kind="served",
            version=version,
            at_ms=_now_ms(),
            process="serve",
            learned_events_ms=tuple(_now_ms() - 900 - 150 * n for n in range(20)),
        )
        for version in range(1, 32)
    ]
    log.append("policies", [Message(None, encode(one)) for one in served])
    told = recommendation_id(ulid(_now_ms(), bytes([9] * 10)), KEY)
    clicked = Click(
        event_id="c1",
        occurred_at_ms=_now_ms(),
        received_at_ms=_now_ms(),
        recommendation_id=told,
        product_id="p1",
    )
    log.append("events", [Message(KEY, encode(banner(told))), Message(KEY, encode(clicked))])
    log.append("rewards", [Message(KEY, encode(reward(told, "policy", "u1-1", 0.1)))])
    return told


@dataclass
class Ring:
    """What a test looks at."""

    url: str
    service: StandInService
    log: LocalLog
    told: str
    """A banner in the log with a whole life."""


@pytest.fixture
def keys() -> str:
    """The setting of the API keys."""
    return ""


@pytest.fixture
def banners() -> int:
    return 3000


@pytest.fixture
def lifts() -> tuple[tuple[str, str, float], ...]:
    """Pairs of categories that the live version has learned of."""
    return LIFTS


@pytest.fixture
def ring(
    tmp_path: Path,
    keys: str,
    banners: int,
    lifts: tuple[tuple[str, str, float], ...],
) -> Iterator[Ring]:
    service = StandInService()
    log = LocalLog(tmp_path / "log.sqlite", clock=_now_ms)
    told = _fill(log, banners) if banners else ""
    registry, catalogue = KeptRegistry(lifts), KeptCatalogue(PRODUCTS)
    follower = Follower(log, lambda: Experiment(AuditSettings(grace_seconds=30)), clock=_now_ms)
    app = create_app(
        ConsoleParts(
            follower=follower,
            operations=Operations(registry, log, clock=_now_ms),
            explainer=Explainer(log, registry, lambda: catalogue, horizon_seconds=3600),
            catalogue=lambda: catalogue,
            pairs=Pairs(registry, lambda: catalogue),
        ),
        ConsoleSettings(
            service_url=service.url, keys=Keyring.parse(keys), shoppers=("1201", "77", "2205")
        ),
        metrics_registry=CollectorRegistry(),
    )
    stop = threading.Event()
    following = threading.Thread(target=follower.run, args=(stop,))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    serving = threading.Thread(target=server.run)
    following.start()
    serving.start()
    while not server.started:
        serving.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Ring(f"http://127.0.0.1:{port}", service, log, told)
    server.should_exit = True
    stop.set()
    serving.join()
    following.join()
    service.close()
    log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = f"no browser at {CHROMIUM}: install Debian's chromium to run the browser tests"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page and what it did that nobody sees."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    """Errors in the browser's console, uncaught exceptions, requests to other hosts."""

    def watch(self) -> None:
        self.page.on(
            "console",
            lambda said: self.troubles.append(said.text) if said.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self._leaves(request.url))

    def _leaves(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.troubles.append("left this machine: " + url)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.fixture(params=["light"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1200])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def visit(browser: Browser, scheme: Any, width: int) -> Iterator[Visit]:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 860}, reduced_motion="reduce"
    )
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page())
    visit.watch()
    yield visit
    context.close()
    assert visit.troubles == []
