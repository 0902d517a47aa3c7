"""What the client knows: every event on disk before it is sent, and what it was told after.

JSON lines, each synced before the call returns:

- `banner`: an answer, its products in order;
- `sending`: an event about to leave. `about` is the banner that it is about, as the shopper knows
  it; with `earns` false it must not count (it comes too late, or it repeats another's id);
- `outcome`: the service's word. An event without one was never answered: it counts once or not.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec


class BannerNoted(msgspec.Struct, frozen=True, kw_only=True, tag="banner", tag_field="kind"):
    recommendation_id: str
    user_id: str
    product_ids: tuple[str, ...]
    answered_at: float
    """Seconds of the client's monotonic clock."""


class Sending(msgspec.Struct, frozen=True, kw_only=True, tag="sending", tag_field="kind"):
    event_id: str
    about: str
    type: str
    product_ids: tuple[str, ...]
    earns: bool = True


class OutcomeNoted(msgspec.Struct, frozen=True, kw_only=True, tag="outcome", tag_field="kind"):
    event_id: str
    outcome: str


Note = BannerNoted | Sending | OutcomeNoted


class Ledger:
    """An append-only file of notes; for several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0

    def note(self, notes: Iterable[Note]) -> None:
        """Write notes; they are on disk when this returns."""
        lines = b"".join(msgspec.json.encode(note) + b"\n" for note in notes)
        with self._writing:
            self._file.write(lines)
            self._file.flush()
            self._written += 1
            mine = self._written
        with self._syncing:
            if self._synced < mine:  # nobody synced it along with their own
                upto = self._written
                os.fsync(self._file.fileno())
                self._synced = upto

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read(path: Path) -> Iterator[Note]:
    """Yield the notes of a ledger, oldest first; a half-written last line is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield msgspec.json.decode(line, type=Note)
