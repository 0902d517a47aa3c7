"""What stands around the console: a service noting what it is asked, a registry, a catalogue."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from policy.snapshot import Snapshot
from schemas.identity import recommendation_id, ulid
from schemas.policies import Live, Manifest
from schemas.products import Product
from tests.policies import pair_table

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


def now_ms() -> int:
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
        name = recommendation_id(ulid(now_ms(), len(self.recommends).to_bytes(10, "big")), KEY)
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
            version=31, foundation=1, previous=(29, 30), changed_at_ms=now_ms(), reason="trained"
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
        created_at_ms=now_ms() - 4000 * (31 - version),
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
