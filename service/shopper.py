"""Who asks for a banner: a pseudonym and a history, or nobody known."""

from typing import Final

import msgspec

from projections.errors import HistoryUnavailable

HISTORY_UNAVAILABLE: Final = "history_unavailable"


class Shopper(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        key: the shopper's pseudonym; None: anonymous.
        history: packed (`schemas.history`); empty: none.
        reasons: what the banner has to do without.
    """

    key: bytes | None
    history: bytes = b""
    reasons: tuple[str, ...] = ()


ANONYMOUS: Final = Shopper(None)


def shopper_of(key: bytes, found: bytes | HistoryUnavailable | None) -> Shopper:
    """Return the shopper of a pseudonym and of what the history store gave.

    Example:
        >>> shopper_of(b"12345678", HistoryUnavailable("away")).reasons
        ('history_unavailable',)
    """
    if isinstance(found, HistoryUnavailable):
        return Shopper(key, reasons=(HISTORY_UNAVAILABLE,))
    return Shopper(key, found or b"")
