"""Writes `fixtures/1/`: one record of every kind as this version writes it, every field filled.

Run it once for a version that is about to be released, commit what it writes, and never again:
`python tests/unit/schemas/write_fixtures.py`.
"""

from pathlib import Path

import numpy as np

from schemas import candidates, history
from schemas.codec import encode
from schemas.events import (
    AddToCart,
    Click,
    DeadLetter,
    Impression,
    Line,
    Purchase,
    Rating,
    Recommended,
    Refund,
    Tick,
    UserErased,
)
from schemas.policies import Announcement, Live, Manifest, TensorSpec
from schemas.products import Product, ProductRemoved, ProductUpserted
from schemas.rewards import Reward
from trainer.checkpoint import Progress

FOLDER = Path(__file__).parent / "fixtures" / "1"
_KEY = bytes(range(8))
_NAME = "01ARYZ6S410000000000000000-0001020304050607"
_MS = 1_790_000_000_000
_PAST = history.pack(
    history.History(
        orders=7, recent=np.array([4, 2], np.uint32), rows=np.array([2, 4], np.uint32),
        decayed=np.array([1.5, 0.5], np.float32), counts=np.array([3, 1], np.uint32),
        first=np.array([1, 6], np.uint32), last=np.array([7, 6], np.uint32),
    )
)  # fmt: skip
_CANDIDATES = candidates.pack(np.array([0, 1, 2, 3, 4, 900]))
_TOLD = {
    "occurred_at_ms": _MS, "received_at_ms": _MS + 5, "recommendation_id": _NAME,
    "user_key": _KEY, "source": "shop",
}  # fmt: skip
_LINES = (Line(product_id="p2", row=2, quantity=3, price_cents=199), Line(product_id="p9"))
_DRAWN = {
    "arm": "policy", "source": "policy", "trainable": True, "policy_version": 12,
    "catalogue_version": 901, "viewed_row": 3, "history": _PAST, "candidates": _CANDIDATES,
    "rows": (2, 900), "log_probs": (-1.25, None), "unit": "0001020304050607:20717",
}  # fmt: skip
RECORDS = {
    "recommended": Recommended(
        event_id=_NAME, occurred_at_ms=_MS, recommendation_id=_NAME, user_key=_KEY,
        placement="home", reason="history_unavailable", deferred=True,
        product_ids=("p2", "p900"), **_DRAWN,  # type: ignore[arg-type]
    ),
    "impression": Impression(event_id="e1", **_TOLD),  # type: ignore[arg-type]
    "click": Click(event_id="e2", product_id="p2", **_TOLD),  # type: ignore[arg-type]
    "add_to_cart": AddToCart(event_id="e3", product_id="p2", **_TOLD),  # type: ignore[arg-type]
    "purchase": Purchase(event_id="e4", order_id="o1", lines=_LINES, **_TOLD),  # type: ignore[arg-type]
    "refund": Refund(event_id="e5", order_id="o1", lines=_LINES[:1], **_TOLD),  # type: ignore[arg-type]
    "rating": Rating(event_id="e6", product_id="p2", value=0.75, **_TOLD),  # type: ignore[arg-type]
    "user_erased": UserErased(event_id="e7", occurred_at_ms=_MS, user_key=_KEY),
    "tick": Tick(event_id="tick-0", occurred_at_ms=_MS),
    "dead_letter": DeadLetter(
        topic="events", partition=1, offset=77, appended_at_ms=_MS, reason="not JSON",
        reader="aggregate", key=_KEY, value=b"\xff\x00",
    ),
    "reward": Reward(
        recommendation_id=_NAME, revision=2, settled_at_ms=_MS, caused_at_ms=_MS - 7,
        specification="1", points=(1.1, 0.0), delta=(1.0, 0.0), clicked=(0,), bought=(0,),
        **_DRAWN,  # type: ignore[arg-type]
    ),
    "product_upserted": ProductUpserted(
        product=Product(
            product_id="p2", title="Oat milk 1 l", category="dairy/milk", brand="Nord",
            price_cents=219, image_url="https://shop.example/p2.jpg", available=False,
        )
    ),
    "product_removed": ProductRemoved(product_id="p2"),
    "announcement": Announcement(
        kind="served", version=12, at_ms=_MS, process="serve-7", reason="trained",
        learned_events_ms=(_MS - 900, _MS - 800),
    ),
    "live": Live(
        version=12, foundation=1, hold=True, previous=(10, 11), changed_at_ms=_MS, reason="worse"
    ),
    "manifest": Manifest(
        version=12, parent=11, foundation=1, created_at_ms=_MS, sha256="0" * 64, size_bytes=7,
        tensors={"bias": TensorSpec(shape=(3, 2), dtype="F32")}, catalogue_version=901,
        products=901, updates=11, banners=2_816, rewards_offset=3_000,
        learned_events_ms=(_MS - 900,), health={"entropy_nats": 2.5},
    ),
    "progress": Progress(
        number=11, offset=3_000, next_version=13, parent=12, promoted=12, foundation=1,
        catalogue_version=901,
    ),
}  # fmt: skip

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, record in RECORDS.items():
        (FOLDER / f"{name}.json").write_bytes(encode(record))
    (FOLDER / "history.bin").write_bytes(_PAST)
    (FOLDER / "candidates.bin").write_bytes(_CANDIDATES)
