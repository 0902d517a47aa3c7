"""A history store with its reader, and what tests write and read."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from projections.history import kept
from projections.history.kept import Kept
from projections.history.port import HistoryReader, HistoryStore
from projections.orders import with_order
from schemas.events import Line, Purchase
from schemas.history import EMPTY
from streams.port import Partition

EVENTS, OTHER = Partition("events", 0), Partition("events", 1)
ANN, BOB = b"\x00{anne}\xff", b"\xffbob\x00\x00\n}"


@dataclass(frozen=True)
class Adapter:
    store: Callable[[], HistoryStore]
    reader: Callable[[], HistoryReader]


def value(rows: Sequence[int], *, newest_ms: int = 1000) -> bytes:
    return kept.pack(Kept(with_order(EMPTY, rows), newest_ms, (b"order 01",)))


def purchase(user_key: bytes, number: int) -> Purchase:
    return Purchase(
        event_id=f"e{number}",
        occurred_at_ms=0,
        received_at_ms=0,
        user_key=user_key,
        lines=(Line(product_id="p", row=number % 7),),
    )


def read(adapter: Adapter, *user_keys: bytes) -> list[bytes | None]:
    async def ask() -> list[bytes | None]:
        reader = adapter.reader()
        try:
            return [await reader.read(key) for key in user_keys]
        finally:
            await reader.close()

    return asyncio.run(ask())
