"""A data directory as `quintet import` and `quintet pretrain` leave one, filled from the shop."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from load import shop
from load.clock import now_ms
from policy.registry import Registry
from projections.catalogue import Catalogue, read_catalogue
from projections.history import kept
from projections.history.sqlite import SqliteHistoryReader, SqliteHistoryStore
from schemas import identity
from schemas.codec import encode
from schemas.products import ProductUpserted
from streams.local import LocalLog
from streams.port import Message, Partition
from streams.topics import EVENTS, PRODUCTS

T = TypeVar("T")
SECRET: Final = b"a secret of the benchmark alone"
SHOPPERS: Final = 4_000
_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Installation:
    """Where everything of one benchmark lies.

    Attributes:
        folder: holds log, registry and history.
    """

    folder: Path

    def log(self) -> LocalLog:
        """Return the event log; the caller closes it."""
        return LocalLog(self.folder / "log.db", clock=now_ms)

    def registry(self) -> Registry:
        """Return the snapshots."""
        return Registry(self.folder / "registry", clock=now_ms)

    def histories(self) -> SqliteHistoryReader:
        """Return what the service reads histories from."""
        return SqliteHistoryReader(self.folder / "history.db")

    def catalogue(self) -> Catalogue:
        """Return the catalogue that the log holds."""
        log = self.log()
        try:
            return read_catalogue(log)
        finally:
            log.close()


def install(folder: Path, *, products: int, seed: int) -> Installation:
    """Fill a folder: catalogue, a foundation, a live policy that moved on from it, histories.

    The control arm is served by the foundation, so both policies' tables compete for the cache, as
    they do in a real shop.

    Args:
        folder: made when it is missing; must be empty.
        products: of the catalogue.
        seed: equal seeds give equal shops.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = Installation(folder)
    rng = np.random.default_rng((seed, products))
    _append_products(found, products, rng)
    foundation = shop.weights(products, rng)
    registry = found.registry()
    first = registry.publish_foundation(foundation, catalogue_version=products)
    second = registry.publish(
        shop.trained(foundation, rng), parent=first.version, foundation=first.version,
        catalogue_version=products, updates=100, banners=25_600,
    )  # fmt: skip
    registry.promote(first.version, reason="foundation")
    registry.promote(second.version, reason="learned")
    _keep_histories(found, products, rng)
    return found


def _append_products(found: Installation, count: int, rng: np.random.Generator) -> None:
    log = found.log()
    messages = (
        Message(product.product_id.encode(), encode(ProductUpserted(product=product)))
        for product in shop.products(count, rng)
    )
    for some in _groups(messages):
        log.append(PRODUCTS.name, some)
    log.close()


def _keep_histories(found: Installation, count: int, rng: np.random.Generator) -> None:
    store = SqliteHistoryStore(found.folder / "history.db")
    at_ms = now_ms()
    values = (
        (
            identity.user_key(SECRET, user),
            kept.pack(kept.Kept(history, at_ms, tuple(rng.bytes(8) for _ in range(kept.ORDERS)))),
        )
        for user, history in shop.histories(SHOPPERS, count, rng)
    )
    start = {Partition(EVENTS.name, 0): 0}
    for some in _groups(values):
        store.apply(dict(some), start, since=start)
    store.close()


def _groups(items: Iterator[T]) -> Iterator[list[T]]:
    while some := list(islice(items, _AT_ONCE)):
        yield some
