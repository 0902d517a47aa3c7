"""From the log to tables: every banner, event and reward of a span of time, as Parquet.

What an erased user did before the erasure is left out: an export is a projection like any other.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cli.export_files import DayTable
from cli.export_rows import (
    BANNERS,
    EVENTS,
    PRODUCTS,
    REWARDS,
    NameOf,
    banner_row,
    event_row,
    product_rows,
    reward_row,
)
from cli.whole_folder import whole_folder
from console.reading import offset_at, read_to_end
from projections.catalogue import read_catalogue
from schemas.codec import decode_event, decode_reward
from schemas.errors import SchemaError
from schemas.events import Event, Recommended, UserErased
from schemas.identity import split_recommendation_id
from streams import topics
from streams.port import Log, Partition, Record

SCHEMAS: Final = {"banners": BANNERS, "events": EVENTS, "rewards": REWARDS, "products": PRODUCTS}
_TOLD_EVERY: Final = 1_000
Watch = Callable[[str, int, int], None]
"""Is told what is read, how many records of how many."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        banners, events, rewards, products: rows of each table.
        erased: records left out because their user was erased later.
        unreadable: records that could not be read (the dead letters name most of them).
    """

    banners: int
    events: int
    rewards: int
    products: int
    erased: int
    unreadable: int


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span of append times, milliseconds since 1970: `since_ms` in it, `until_ms` no more."""

    since_ms: int | None = None
    until_ms: int | None = None


def export(log: Log, target: Path, span: Span, watch: Watch) -> Exported:
    """Write the tables of a span into a folder that is there whole or not at all.

    Raises:
        BadUsage: the folder is not empty.
        LogUnavailable: the log cannot be read; nothing is written.
        OSError: the disk is full; nothing is left.
    """
    with whole_folder(target) as folder:
        return _Export(log, folder, span, watch).run()


class _Export:
    """One export while it runs."""

    def __init__(self, log: Log, folder: Path, span: Span, watch: Watch) -> None:
        self._log, self._folder, self._span, self._watch = log, folder, span, watch
        self._left_out = 0
        self._unreadable = 0
        self._erasures: dict[bytes, int] = {}
        """Append time of the latest erasure of each user."""

    def run(self) -> Exported:
        """Write every table; return what was written."""
        products = read_catalogue(self._log).products
        name_of = _names([product.product_id for product in products])
        table = pa.Table.from_pylist(product_rows(products), schema=PRODUCTS)
        pq.write_table(table, self._folder / "products.parquet", compression="zstd")
        self._erasures = self._find_erasures()
        with (
            closing(DayTable(self._folder / "banners", BANNERS)) as banners,
            closing(DayTable(self._folder / "events", EVENTS)) as events,
            closing(DayTable(self._folder / "rewards", REWARDS)) as rewards,
        ):
            for record in self._records(topics.EVENTS.name, "events"):
                self._event(record, banners, events, name_of)
            for record in self._records(topics.REWARDS.name, "rewards"):
                self._reward(record, rewards)
            for finished in (banners, events, rewards):
                finished.finish()
            exported = Exported(
                banners=banners.rows,
                events=events.rows,
                rewards=rewards.rows,
                products=len(products),
                erased=self._left_out,
                unreadable=self._unreadable,
            )
        self._describe(exported)
        return exported

    def _find_erasures(self) -> dict[bytes, int]:
        """Return when each erased user was erased, whenever that was: also after the span."""
        found: dict[bytes, int] = {}
        whole = Span(since_ms=self._span.since_ms)
        for record in self._records(topics.EVENTS.name, "erased users", whole):
            if b'"type":"user_erased"' not in (record.value or b""):
                continue
            try:
                event = decode_event(record.value)
            except SchemaError:
                continue
            if isinstance(event, UserErased):
                found[event.user_key] = record.appended_at_ms
        return found

    def _records(self, topic: str, what: str, span: Span | None = None) -> Iterator[Record]:
        span = span or self._span
        ends, first = self._log.end_offsets(topic), dict(self._log.start_offsets(topic))
        if span.since_ms is not None:
            first = {part: offset_at(self._log, part, span.since_ms) for part in first}
        total = sum(ends[part] - offset for part, offset in first.items())
        over: set[Partition] = set()
        for count, record in enumerate(read_to_end(self._log, (topic,), only=first)):
            if count % _TOLD_EVERY == 0:
                self._watch(what, count, total)
            if span.until_ms is None or record.appended_at_ms < span.until_ms:
                yield record
                continue
            over.add(record.partition)
            if len(over) == len(first):
                break
        self._watch(what, total, total)

    def _event(self, record: Record, banners: DayTable, events: DayTable, name_of: NameOf) -> None:
        try:
            event = decode_event(record.value)
            if self._is_erased(record, event):
                self._left_out += 1
            elif isinstance(event, Recommended):
                banners.add(banner_row(record, event, name_of))
            elif (row := event_row(record, event)) is not None:
                events.add(row)
        except SchemaError:
            self._unreadable += 1

    def _is_erased(self, record: Record, event: Event) -> bool:
        if isinstance(event, UserErased):
            return False
        keys = (record.key, getattr(event, "user_key", None))
        return any(record.appended_at_ms <= self._erasures.get(key, -1) for key in keys if key)

    def _reward(self, record: Record, rewards: DayTable) -> None:
        try:
            reward = decode_reward(record.value)
            _, key = split_recommendation_id(reward.recommendation_id)
        except SchemaError:
            self._unreadable += 1
            return
        if record.appended_at_ms <= self._erasures.get(key, -1):
            self._left_out += 1
        else:
            rewards.add(reward_row(record, reward))

    def _describe(self, exported: Exported) -> None:
        """Say beside the tables what they are."""
        columns = {
            name: {
                field.name: {
                    "type": str(field.type),
                    "meaning": (field.metadata or {}).get(b"meaning", b"").decode(),
                }
                for field in schema
            }
            for name, schema in SCHEMAS.items()
        }
        told: Mapping[str, object] = {
            "rows": msgspec.to_builtins(exported),
            "span": msgspec.to_builtins(self._span),
            "columns": columns,
        }
        (self._folder / "export.json").write_text(json.dumps(told, indent=2) + "\n")


def _names(product_ids: list[str]) -> NameOf:
    def name_of(row: int) -> str | None:
        return product_ids[row] if 0 <= row < len(product_ids) else None

    return name_of
