"""What a browser's events must keep to: caps by shopper and address, a human's pace, no bots.

For callers without the scope `events:server` only. A cap counts events in fixed windows in this
process's memory; addresses are never stored or logged.
"""

import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import RecommendationIdNotReadable
from schemas.identity import minted_ms
from schemas.requests import EventIn
from service.intake import Verdict

_BOT: Final = re.compile(r"bot\b|crawl|spider|slurp|scrapy|python-requests|curl/|wget/", re.I)


@dataclass(frozen=True, slots=True)
class BrowserLimits:
    """The caps.

    Attributes:
        per_user: events of one shopper in a window.
        per_address: events from one network address in a window (many shoppers may share one).
        window_seconds: length of a window.
        shortest_reaction_ms: nobody clicks sooner after a banner was made.
        most_counted: shoppers and addresses remembered in a window; newer ones are refused.
    """

    per_user: int = 120
    per_address: int = 1_200
    window_seconds: int = 60
    shortest_reaction_ms: int = 300
    most_counted: int = 200_000


class BrowserRules:
    """Counts and refuses; for one thread."""

    def __init__(self, limits: BrowserLimits) -> None:
        self._limits = limits
        self._window = -1
        self._counts: dict[tuple[str, str], int] = {}

    def refusal(
        self, event: EventIn, *, address: str, user_agent: str, now_ms: int
    ) -> Verdict | None:
        """Return why this event of a browser is refused, or None; it is counted either way."""
        self._enter_window(now_ms)
        if self._over("address", address, self._limits.per_address):
            return Verdict("rate_limited", "too many events from this address")
        if _BOT.search(user_agent):
            return Verdict("invalid", "sent by a bot")
        if event.type in ("click", "add_to_cart") and self._too_soon(event, now_ms):
            return Verdict("invalid", "sooner after the banner than anybody can click")
        return None

    def excess(self, shopper: bytes, now_ms: int) -> Verdict | None:
        """Return why an event that carried its banner's token is too much, or None; it is counted.

        Only such events count for a shopper: otherwise strangers could use up her cap.

        Args:
            shopper: routing key of the event.
            now_ms: the service's time, milliseconds since 1970.
        """
        self._enter_window(now_ms)
        if self._over("shopper", shopper.hex(), self._limits.per_user):
            return Verdict("rate_limited", "too many events of this shopper")
        return None

    def _enter_window(self, now_ms: int) -> None:
        window = now_ms // (1000 * self._limits.window_seconds)
        if window != self._window:
            self._window = window
            self._counts = {}

    def _over(self, kind: str, who: str, cap: int) -> bool:
        count = self._counts.get((kind, who), 0)
        if count == 0 and len(self._counts) >= self._limits.most_counted:
            return True
        self._counts[kind, who] = count + 1
        return count >= cap

    def _too_soon(self, event: EventIn, now_ms: int) -> bool:
        if event.recommendation_id is None:
            return False
        try:
            made_at_ms = minted_ms(event.recommendation_id)
        except RecommendationIdNotReadable:
            return False  # intake says so
        return 0 <= now_ms - made_at_ms < self._limits.shortest_reaction_ms
