"""`python -m load.room`: disk and memory that banners and shoppers take.

A local log is filled with banners of shoppers with histories, a tenth of them clicked and one in
fifty bought from; a process of its own aggregates them, as `quintet aggregate` does. So disk per
banner and memory per banner kept for corrections are those of the product's own code on records of
the usual size.
"""

import multiprocessing
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from load import shop
from load.clock import now_ms
from projections.history import kept
from projections.history.sqlite import SqliteHistoryStore
from rewards.aggregator import Aggregator
from rewards.specification import RewardSpecification
from schemas import candidates, history, identity
from schemas.codec import encode
from schemas.events import Click, Line, Purchase, Recommended
from schemas.limits import BANNER_SIZE
from streams.local import LocalLog
from streams.port import Message
from streams.topics import EVENTS

_SECRET: Final = b"a secret of the measurement alone"
_CLICKED: Final = 0.1
_BOUGHT: Final = 0.02
_AT_ONCE: Final = 500
_BANNERS_PER_SHOPPER: Final = 5
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Room:
    """What one size of catalogue takes.

    Attributes:
        products: of the catalogue, all of them candidates.
        log_bytes: of the log's file per banner, with its events, rewards and the state kept.
        recommended_bytes: of one `recommended` as it stands in the log.
        kept_bytes: resident memory of the aggregator per banner that it keeps for corrections.
        history_bytes: of the history's file per shopper.
    """

    products: int
    log_bytes: float
    recommended_bytes: float
    kept_bytes: float
    history_bytes: float


def measure(folder: Path, *, products: int, banners: int) -> Room:
    """Fill a log and a history in a folder, aggregate, and return what that took."""
    rng = np.random.default_rng(3)
    shoppers = max(1, banners // _BANNERS_PER_SHOPPER)
    past = [history.pack(one) for _, one in shop.histories(min(shoppers, 1_000), products, rng)]
    with closing(LocalLog(folder / "log.db", clock=now_ms)) as log:
        messages = _messages(products, banners, shoppers, past, rng)
        recommended = 0
        while some := list(islice(messages, _AT_ONCE)):
            values = [message.value or b"" for message in some]
            recommended += sum(len(value) for value in values if b'"recommended"' in value)
            log.append(EVENTS.name, some)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        kept_bytes = pool.submit(_kept_bytes, folder / "log.db").result()
    return Room(
        products=products,
        log_bytes=_file_bytes(folder / "log.db") / banners,
        recommended_bytes=recommended / banners,
        kept_bytes=kept_bytes,
        history_bytes=_history_bytes(folder / "history.db", products, shoppers, rng),
    )


def _messages(
    products: int, banners: int, shoppers: int, past: list[bytes], rng: np.random.Generator
) -> Iterator[Message]:
    packed = candidates.pack(np.arange(products))
    for number in range(banners):
        key = identity.user_key(_SECRET, shop.user_id(int(rng.integers(shoppers))))
        at_ms = now_ms()
        name = identity.recommendation_id(identity.ulid(at_ms, rng.bytes(10)), key)
        rows = tuple(int(row) for row in rng.choice(products, BANNER_SIZE, replace=False))
        shown = tuple(shop.product_id(row) for row in rows)
        yield _message(
            key,
            Recommended(
                event_id=name, occurred_at_ms=at_ms, recommendation_id=name, user_key=key,
                unit=f"{key.hex()}:20717", arm="policy", source="policy", trainable=True,
                policy_version=1_000, catalogue_version=products, viewed_row=rows[0],
                history=past[number % len(past)], candidates=packed, product_ids=shown, rows=rows,
                log_probs=tuple(float(p) for p in -rng.gamma(2.0, 2.0, BANNER_SIZE)),
            ),
        )  # fmt: skip
        told: dict[str, Any] = {
            "occurred_at_ms": at_ms, "received_at_ms": at_ms, "recommendation_id": name,
            "user_key": key,
        }  # fmt: skip
        if rng.random() < _CLICKED:
            yield _message(key, Click(event_id=f"click-{number}", product_id=shown[0], **told))
        if rng.random() < _BOUGHT:
            line = Line(product_id=shown[0], row=rows[0], price_cents=499)
            order = f"order-{number}"
            yield _message(key, Purchase(event_id=order, order_id=order, lines=(line,), **told))


def _message(key: bytes, event: Recommended | Click | Purchase) -> Message:
    return Message(key, encode(event))


def _kept_bytes(path: Path) -> float:
    """Aggregate what a log holds; return bytes of memory per kept banner."""
    clock_ms = now_ms()

    def clock() -> int:
        return clock_ms

    with closing(LocalLog(path, clock=clock)) as log:
        aggregator = Aggregator(log, RewardSpecification(settlement_seconds=0), clock=clock)
        aggregator.step()
        first, before = _kept(aggregator), _resident()
        while aggregator.step():
            pass
        clock_ms += 2_000  # a tick, which settles the last ones
        for _ in range(3):
            aggregator.step()
            clock_ms += 2_000
        grown = _kept(aggregator) - first
        taken = _resident() - before
        aggregator.close()
    return taken / max(grown, 1)


def _kept(aggregator: Aggregator) -> float:
    samples = [sample for family in aggregator.metrics.kept.collect() for sample in family.samples]
    return samples[0].value


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * _KIB


def _history_bytes(path: Path, products: int, shoppers: int, rng: np.random.Generator) -> float:
    store = SqliteHistoryStore(path)
    drawn = shop.histories(shoppers, products, rng)
    with closing(store):
        while some := list(islice(drawn, _AT_ONCE)):
            values = {
                identity.user_key(_SECRET, name): kept.pack(
                    kept.Kept(history=one, orders=(), newest_ms=now_ms())
                )
                for name, one in some
            }
            store.apply(values, {}, since={})
    return _file_bytes(path) / shoppers


def _file_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def main(
    products: Annotated[str, typer.Option(help="catalogue sizes")] = "1000,10000",
    banners: Annotated[int, typer.Option(min=1_000, help="put into the log")] = 20_000,
) -> None:
    """Measure; print the table."""
    table = Table(
        "products", "log, bytes a banner", "of it recommended", "aggregator, bytes a kept banner",
        "history, bytes a shopper",
        title=f"room, {banners:,} banners", title_justify="left",
    )  # fmt: skip
    for size in [int(size) for size in products.split(",")]:
        folder = Path(tempfile.mkdtemp(prefix="quintet-room-"))
        try:
            found = measure(folder, products=size, banners=banners)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        figures = (
            found.log_bytes, found.recommended_bytes, found.kept_bytes, found.history_bytes
        )  # fmt: skip
        table.add_row(f"{size:,}", *(f"{figure:,.0f}" for figure in figures))
    Console(file=sys.stdout, width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
