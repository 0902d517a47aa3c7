"""Which categories the policy that serves has found to earn most together, for people."""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from console.browse import CatalogueView
from policy.pairs import CategoryPair, strongest_pairs
from policy.snapshot import Snapshot
from schemas.policies import Live

SHOWN: Final = 12


class Snapshots(Protocol):
    """What the pairs need of `policy.registry.Registry`."""

    def live(self) -> Live | None:
        """Return the live pointer; None before the first snapshot."""
        ...

    def load(self, version: int) -> Snapshot:
        """Return a version, verified; raises SnapshotUnknown and SnapshotRejected."""
        ...


class PairsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The strongest pairs of a version, the longest lift first; empty: it has learned of none."""

    version: int | None
    """The live version; null before the first."""
    pairs: Sequence[CategoryPair]


class Pairs:
    """Reads the pairs out of the live snapshot, once a version and catalogue.

    Args:
        snapshots: the registry.
        catalogue: gives the present view of the catalogue, which names the categories.
    """

    def __init__(self, snapshots: Snapshots, catalogue: Callable[[], CatalogueView]) -> None:
        self._snapshots, self._catalogue = snapshots, catalogue
        self._reading = threading.Lock()
        self._read_of: tuple[int, int] | None = None
        self._read = PairsReport(version=None, pairs=())

    def report(self) -> PairsReport:
        """Return the strongest pairs of the live version, at most a dozen.

        Raises:
            PolicyError: the pointer or the snapshot cannot be read.
        """
        live, catalogue = self._snapshots.live(), self._catalogue()
        if live is None:
            return PairsReport(version=None, pairs=())
        wanted = live.version, catalogue.version
        with self._reading:  # who comes meanwhile waits instead of reading it again
            if self._read_of != wanted:
                weights = self._snapshots.load(live.version).weights
                found = strongest_pairs(weights, catalogue.products, count=SHOWN)
                self._read = PairsReport(version=live.version, pairs=found)
                self._read_of = wanted
            return self._read
