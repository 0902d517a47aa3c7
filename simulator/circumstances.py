"""What befalls a synthetic shop, whichever its principles: who comes, when, and what changes."""

import math
from dataclasses import dataclass
from typing import Final

from simulator.errors import WorldNotPossible

FROM_STOREFRONT: Final = 0.6
_DAY_SECONDS: Final = 86_400.0
_BUSIEST_HOUR: Final = 18
_STEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class SyntheticShare:
    """How the visits of a synthetic shop are mixed.

    Attributes:
        anonymous: share of visits without a user id.
        viewed: share of visits on a product page.
        searching: share of visits whose shopper also buys what she always buys, or the product
            viewed, by herself.
    """

    anonymous: float = 0.1
    viewed: float = 0.8
    searching: float = 0.25

    def __post_init__(self) -> None:
        _require_shares(anonymous=self.anonymous, viewed=self.viewed, searching=self.searching)


@dataclass(frozen=True, slots=True)
class Spell:
    """Days with more or fewer visits than usual: a burst, or a week of almost nothing.

    Attributes:
        begin, end: days since the opening.
        factor: on the rate of visits, above 0; spells that overlap multiply.
    """

    begin: float
    end: float
    factor: float

    def __post_init__(self) -> None:
        if not (self.begin < self.end and self.factor > 0):
            raise WorldNotPossible("a spell begins before it ends and has a factor above 0")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When visits happen. It shows in `Visit.occurred_at` alone.

    Attributes:
        seconds_between: mean time between visits where nothing else is said.
        daily: in [0, 1), how far the rate swings within a day: highest at 18:00 UTC, lowest at
            06:00.
        spells: bursts and quiet weeks.
    """

    seconds_between: float = 20.0
    daily: float = 0.0
    spells: tuple[Spell, ...] = ()

    def __post_init__(self) -> None:
        if self.seconds_between <= 0 or not 0.0 <= self.daily < 1.0:
            raise WorldNotPossible("seconds_between is above 0, daily at least 0 and below 1")

    def rate(self, at: float) -> float:
        """Return the factor on the rate of visits, `at` seconds after the opening (midnight)."""
        rate = 1.0
        if self.daily:
            hour = at / 3600.0 - _BUSIEST_HOUR
            rate += self.daily * math.cos(2.0 * math.pi * hour / 24.0)
        for spell in self.spells:
            if spell.begin <= at / _DAY_SECONDS < spell.end:
                rate *= spell.factor
        return rate

    def gap(self, at: float, usual: float) -> float:
        """Return the seconds to the next visit, where the usual rate would take `usual`.

        The rate is taken as constant for ten minutes at a time.
        """
        if not self.daily and not self.spells:
            return usual
        gap = 0.0
        while True:
            rate = self.rate(at + gap)
            if usual <= rate * _STEP_SECONDS:
                return gap + usual / rate
            usual -= rate * _STEP_SECONDS
            gap += _STEP_SECONDS


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What makes a synthetic shop harder to learn in; as it stands, nothing does.

    Attributes:
        taste_drift: the visit (its number in the stream) from which every second shopper is after
            other things: tastes, what she always buys, preferences; None: nobody changes.
        turnover: share of the products that go per 10,000 visits, while as many come back or come
            for the first time; a fifth of the catalogue is away at any time. Products away at the
            opening have no past. 0: all are on sale all the time.
        noise: share of responses that have nothing to do with the banner: every position is clicked
            with probability .2, nothing is bought.
        bots: share of visits by bots: anonymous, they click everything and buy nothing.
        biased_past: share of past purchases that the old storefront led to; habit and search share
            the rest.
        rhythm: when visits happen.
    """

    taste_drift: int | None = None
    turnover: float = 0.0
    noise: float = 0.0
    bots: float = 0.0
    biased_past: float = FROM_STOREFRONT
    rhythm: Rhythm = Rhythm()

    def __post_init__(self) -> None:
        _require_shares(noise=self.noise, bots=self.bots, biased_past=self.biased_past)
        if self.turnover < 0 or (self.taste_drift is not None and self.taste_drift < 0):
            raise WorldNotPossible("turnover and taste_drift are 0 at least")

    def unled_past(self) -> float:
        """Return the factor on past habit and search, for what the storefront leaves them."""
        return (1.0 - self.biased_past) / (1.0 - FROM_STOREFRONT)


def _require_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise WorldNotPossible(f"{name} is {share}: shares lie between 0 and 1")


ORDINARY: Final = SyntheticShare()
NOTHING_SPECIAL: Final = Circumstances()
