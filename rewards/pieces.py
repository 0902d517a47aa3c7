"""A ledger's bytes as state entries of bounded size.

Everything that one user id does in a window and its lateness is one ledger. An id that a shop gives
to all its guests makes that larger than a log's message may be; it must not stop everybody else's
rewards.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from schemas.identity import ROUTING_KEY_BYTES

PIECE_BYTES: Final = 1 << 16
_NUMBER_BYTES: Final = 2
NAME_BYTES: Final = ROUTING_KEY_BYTES + _NUMBER_BYTES
"""Length of the names of all pieces but the first, which bears the routing key alone."""


class Pieces:
    """Splits values into entries and joins them again; of a large value, what changed is written.

    Args:
        piece_bytes: most bytes of one entry.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._large: dict[bytes, list[bytes]] = {}
        """Of the keys with more than one entry: the entries as they are kept."""

    def split(self, key: bytes, value: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the entries of a key's value; a null value, and what is now shorter, forgets.

        Of a value that had several entries those that are as before are left out.
        """
        before = self._large.pop(key, [])
        now = [] if value is None else self._cut(value)
        if len(now) > 1:
            self._large[key] = now
        for number, piece in enumerate(now):
            if number >= len(before) or piece != before[number]:
                yield _name(key, number), piece
        for number in range(len(now), max(len(before), 1)):
            yield _name(key, number), None

    def join(self, entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key with its whole value, from entries in any order."""
        found: dict[bytes, dict[bytes, bytes]] = {}
        for name, piece in entries:
            found.setdefault(name[:ROUTING_KEY_BYTES], {})[name] = piece
        for key, pieces in found.items():
            kept = [pieces[name] for name in sorted(pieces)]
            if len(kept) > 1:
                self._large[key] = kept
            yield key, b"".join(kept)

    def _cut(self, value: bytes) -> list[bytes]:
        if len(value) <= self._piece_bytes:
            return [value]
        starts = range(0, len(value), self._piece_bytes)
        return [value[start : start + self._piece_bytes] for start in starts]


def _name(key: bytes, number: int) -> bytes:
    return key + number.to_bytes(_NUMBER_BYTES, "big") if number else key
