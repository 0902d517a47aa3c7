"""What a browser's events must keep to: caps by shopper, address and product, a human's pace.

For callers without the scope `events:server` only. Caps count in fixed windows in this process's
memory; addresses are never stored or logged.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import RecommendationIdNotReadable
from schemas.identity import minted_ms
from schemas.requests import EventIn
from service.intake import Verdict
from service.windows import Window

_POINTED: Final = frozenset({"click", "add_to_cart"})
_BOT: Final = re.compile(r"bot\b|crawl|spider|slurp|scrapy|python-requests|curl/|wget/", re.I)


@dataclass(frozen=True, slots=True)
class BrowserLimits:
    """The caps.

    Attributes:
        per_user: events of one shopper in a window.
        per_address: events from one network address in a window (many shoppers may share one).
        window_seconds: length of a window.
        product_per_address: clicks on one product from one address in a product's window. What is
            pushed is one product; a crowd behind one address is after many.
        product_window_seconds: its length.
        shortest_reaction_ms: nobody clicks sooner after a banner was made.
    """

    per_user: int = 120
    per_address: int = 1_200
    window_seconds: int = 60
    product_per_address: int = 60
    product_window_seconds: int = 3_600
    shortest_reaction_ms: int = 300


class BrowserRules:
    """Counts and refuses; for one thread."""

    def __init__(self, limits: BrowserLimits) -> None:
        self._limits = limits
        seconds = limits.window_seconds
        self._addresses = Window(cap=limits.per_address, seconds=seconds)
        self._shoppers = Window(cap=limits.per_user, seconds=seconds)
        self._products = Window(
            cap=limits.product_per_address, seconds=limits.product_window_seconds
        )

    def refusal(
        self, event: EventIn, *, address: str, user_agent: str, now_ms: int
    ) -> Verdict | None:
        """Return why this event of a browser is refused, or None; it is counted either way."""
        if self._addresses.is_over(network(address), now_ms):
            return Verdict("rate_limited", "too many events from this address")
        if _BOT.search(user_agent):
            return Verdict("invalid", "sent by a bot")
        if event.type in _POINTED and self._too_soon(event, now_ms):
            return Verdict("invalid", "sooner after the banner than anybody can click")
        return None

    def excess(
        self, event: EventIn, shopper: bytes, *, address: str, now_ms: int
    ) -> Verdict | None:
        """Return why an event that carried its banner's token is too much, or None; it is counted.

        Only such events count for a shopper: otherwise strangers could use up her cap.

        Args:
            event: accepted by intake.
            shopper: routing key of the event.
            address: where it came from.
            now_ms: the service's time, milliseconds since 1970.
        """
        if self._shoppers.is_over(shopper, now_ms):
            return Verdict("rate_limited", "too many events of this shopper")
        if event.type in _POINTED and self._products.is_over(
            (network(address), event.product_id), now_ms
        ):
            return Verdict("rate_limited", "too many clicks on this product from this address")
        return None

    def _too_soon(self, event: EventIn, now_ms: int) -> bool:
        if event.recommendation_id is None:
            return False
        try:
            made_at_ms = minted_ms(event.recommendation_id)
        except RecommendationIdNotReadable:
            return False  # intake says so
        return 0 <= now_ms - made_at_ms < self._limits.shortest_reaction_ms


def network(address: str) -> str:
    """Return what one caller can hardly change of an address: all of IPv4, half of IPv6.

    Example:
        >>> network("203.0.113.7"), network("2001:db8:1:2:3:4:5:6"), network("no address")
        ('203.0.113.7', '2001:db8:1:2::', 'no address')
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))
