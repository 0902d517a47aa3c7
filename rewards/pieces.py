"""A ledger's bytes as state entries of bounded size.

Everything that one user id does in a window and its lateness is one ledger. An id that a shop gives
to all its guests makes that larger than a log's message may be; it must not stop everybody else's
rewards.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from schemas.identity import ROUTING_KEY_BYTES

PIECE_BYTES: Final = 1 << 20
_NUMBER_BYTES: Final = 2
NAME_BYTES: Final = ROUTING_KEY_BYTES + _NUMBER_BYTES
"""Length of the names of all pieces but the first, which bears the routing key alone."""


class Pieces:
    """Splits values into entries and joins them again; knows how many entries each key has.

    Args:
        piece_bytes: most bytes of one entry.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._counts: dict[bytes, int] = {}
        """Of the keys with more than one entry."""

    def split(self, key: bytes, value: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the entries of a key's value; a null value, and what is now shorter, forgets."""
        before = self._counts.pop(key, 1)
        count = 0 if value is None else max(1, -(-len(value) // self._piece_bytes))
        if count > 1:
            self._counts[key] = count
        for number in range(max(before, count)):
            start, end = number * self._piece_bytes, (number + 1) * self._piece_bytes
            yield _name(key, number), None if value is None or number >= count else value[start:end]

    def join(self, entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key with its whole value, from entries in any order."""
        found: dict[bytes, dict[bytes, bytes]] = {}
        for name, piece in entries:
            found.setdefault(name[:ROUTING_KEY_BYTES], {})[name] = piece
        for key, pieces in found.items():
            if len(pieces) > 1:
                self._counts[key] = len(pieces)
            yield key, b"".join(pieces[name] for name in sorted(pieces))


def _name(key: bytes, number: int) -> bytes:
    return key + number.to_bytes(_NUMBER_BYTES, "big") if number else key
