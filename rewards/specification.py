"""What clicks and purchases are worth: versioned data and one pure function.

Dimensions: K positions of a banner.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from rewards.errors import SpecificationRefused

_VERSION_DIGITS: Final = 12


class RatedPosition(NamedTuple):
    """One rating of a banner.

    Attributes:
        source: who rated; the specification gives each source a weight.
        position: 0-based; None rates the whole banner.
        value: any finite number.
    """

    source: str
    position: int | None
    value: float


@dataclass(frozen=True, slots=True)
class RewardSpecification:
    """Points for what a shopper does with a banner, and the spans in which it counts.

    Attributes:
        click: points of a clicked position, also when it is bought.
        first_buy: points of the first product bought.
        further_buy: points of every further distinct product bought from the same banner.
        rating_weights: by source of rating; a source that is missing weighs 0 (shadow).
        attribution_window_seconds: span after the impression in which an event can reward it.
        settlement_seconds: a banner that earned nothing is settled at zero after this span.
        lateness_seconds: state is kept so much longer than the window.
        version: names this specification in every reward; empty: derived from the content.

    Raises:
        SpecificationRefused: not `0 < click < buy < multi-buy`, or a span that makes no sense.

    Example:
        >>> RewardSpecification().points(3, clicked={0}, bought={0, 2})
        (1.35, 0.0, 1.25)
    """

    click: float = 0.1
    first_buy: float = 1.0
    further_buy: float = 1.5
    rating_weights: Mapping[str, float] = field(default_factory=dict)
    attribution_window_seconds: float = 86_400
    settlement_seconds: float = 5
    lateness_seconds: float = 3_600
    version: str = ""

    def __post_init__(self) -> None:
        numbers = (self.click, self.first_buy, self.further_buy, *self.rating_weights.values())
        if not all(math.isfinite(number) for number in numbers):
            raise SpecificationRefused("points and rating weights must be finite numbers")
        if not 0 < self.click < self.first_buy < self.first_buy + self.further_buy:
            raise SpecificationRefused(
                "rewards must order nothing < click < buy < multi-buy; got click "
                f"{self.click}, buy {self.first_buy}, multi-buy {self.first_buy + self.further_buy}"
            )
        spans = (self.settlement_seconds, self.attribution_window_seconds, self.lateness_seconds)
        if not all(math.isfinite(span) and span >= 0 for span in spans):
            raise SpecificationRefused("spans must be finite and not negative")
        if not 0 < self.attribution_window_seconds >= self.settlement_seconds:
            raise SpecificationRefused(
                f"the attribution window ({self.attribution_window_seconds} s) must be positive "
                f"and not shorter than the settlement ({self.settlement_seconds} s)"
            )
        if not self.version:
            object.__setattr__(self, "version", self._derived_version())

    def _derived_version(self) -> str:
        content = msgspec.json.encode(
            [
                [float(self.click), float(self.first_buy), float(self.further_buy)],
                sorted((source, float(weight)) for source, weight in self.rating_weights.items()),
                [self.window_ms, self.settlement_ms, self.horizon_ms],
            ]
        )
        return hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]

    def points(
        self,
        size: int,
        /,
        clicked: Collection[int],
        bought: Collection[int],
        ratings: Collection[RatedPosition] = (),
    ) -> tuple[float, ...]:
        """Return the points of every position; their sum is the banner's reward.

        Purchase points are shared equally by the bought positions, clicks stay where they were,
        and a rating of the whole banner is shared by all positions.

        Args:
            size: K, positions of the banner.
            clicked: distinct positions clicked.
            bought: distinct positions bought, refunds taken off.
            ratings: one per source and position; their order does not matter.

        Returns:
            (K,) points.
        """
        purchases = self.first_buy + self.further_buy * (len(bought) - 1) if bought else 0.0
        share = purchases / len(bought) if bought else 0.0
        earned = [
            (self.click if position in clicked else 0.0) + (share if position in bought else 0.0)
            for position in range(size)
        ]
        for rating in sorted(ratings, key=_rating_order):
            weighed = self.rating_weights.get(rating.source, 0.0) * rating.value
            if rating.position is not None:
                earned[rating.position] += weighed
                continue
            for position in range(size):
                earned[position] += weighed / size
        return tuple(earned)

    @property
    def window_ms(self) -> int:
        """Return the attribution window in milliseconds."""
        return round(1000 * self.attribution_window_seconds)

    @property
    def settlement_ms(self) -> int:
        """Return the settlement span in milliseconds."""
        return round(1000 * self.settlement_seconds)

    @property
    def horizon_ms(self) -> int:
        """Return how long state is kept: window and lateness, in milliseconds."""
        return self.window_ms + round(1000 * self.lateness_seconds)


def _rating_order(rating: RatedPosition) -> tuple[str, int, float]:
    return rating.source, -1 if rating.position is None else rating.position, rating.value
