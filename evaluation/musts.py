"""What must hold of the policy, as data, and how what was reached is judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np

from evaluation.measures import (
    Measure,
    Reached,
    beside_other_shops,
    caught_up,
    covered,
    loss,
    outside,
    over,
    over_all,
    over_foundation,
    over_in_quarter,
    recovered,
    share,
    widened,
)  # fmt: skip
from evaluation.parts import BAD, BY_PAIRS, CORRECTED, DRIFT, LINEAR, OTHERS, UNSPREAD
from evaluation.results import LearnResults

Verdict = Literal["aim met", "must met", "not met", "shown", "not played"]
_MARKS: Final = (1_000, 2_000, 5_000, 10_000, 20_000)
_FIRST, _SECOND, _LAST = 0, 1, 3
_AFTER_BAD: Final = 2_000


@dataclass(frozen=True, slots=True)
class Must:
    """One thing that must hold.

    Attributes:
        what: for people.
        part: whose results tell (`evaluation.parts`).
        measure: of the results.
        must, aim: bounds of the value; None: it is shown and not judged.
        is_loss: the bounds are the most it may be, not the least.
        against: the part whose results `measure` takes second; empty: it takes none.
    """

    what: str
    part: str
    measure: Measure
    must: float | None = None
    aim: float | None = None
    is_loss: bool = False
    against: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the parts whose results tell."""
        return tuple(filter(None, (self.part, self.against)))

    def verdict(self, reached: Reached | None) -> Verdict:
        """Return what is to be said of what was reached."""
        if reached is None or not np.isfinite(reached.value):
            return "not played"
        if self.must is None:
            return "shown"
        if self._holds(reached.value, self.aim):
            return "aim met"
        return "must met" if self._holds(reached.value, self.must) else "not met"

    def _holds(self, value: float, bound: float | None) -> bool:
        if bound is None:
            return False
        return value <= bound if self.is_loss else value >= bound


def _shares(part: str, products: str, bounds: Mapping[int, tuple[float, float]]) -> Iterator[Must]:
    for mark, (must, aim) in bounds.items():
        what = f"share of the oracle at {mark:,}, {products} products"
        yield Must(what, part, partial(share, mark=mark), must, aim)


def _over(
    part: str, rival: str, marks: tuple[int, ...], must: float, aim: float, where: str
) -> Iterator[Must]:
    for mark in marks:
        what = f"over {rival} at {mark:,}, {where}"
        yield Must(what, part, partial(over, rival=rival, mark=mark), must, aim)


def _musts() -> Iterator[Must]:
    yield from _shares("synthetic", "1,000", {1_000: (0.20, 0.33), 5_000: (0.40, 0.48)})
    yield from _shares("synthetic", "1,000", {20_000: (0.52, 0.60)})
    yield from _shares("synthetic-100k", "1,000", {100_000: (0.57, 0.66)})
    yield from _shares("large", "10,000", {20_000: (0.40, 0.50), 50_000: (0.48, 0.60)})
    for world in ("synthetic", "aisles"):
        for rival in LINEAR:
            yield from _over(world, rival, _MARKS, 0.97, 1.1, world)
        yield from _over(f"{world}-50k", "base", (50_000,), 0.97, 1.05, world)
    yield from _over("synthetic", "vowpal_wabbit", (20_000,), 1.3, 1.6, "synthetic")
    greedy = partial(over_foundation, mark=20_000)
    for other in OTHERS:
        one = partial(over, rival=other, mark=20_000)
        yield Must(f"over {other} at 20,000, synthetic", "others", one)
    what = "over the greedy foundation at 20,000, {} seed"
    yield Must(what.format("median"), "synthetic", partial(greedy, of_seeds="median"), 2.0, 2.8)
    yield Must(what.format("worst"), "synthetic", partial(greedy, of_seeds="worst"), 1.5, 2.0)
    frozen = partial(over_in_quarter, rival="foundation")
    what = "over the greedy foundation, {} quarter, grocer"
    yield Must(what.format("first"), "grocer", partial(frozen, quarter=_FIRST), 0.98, 1.0)
    yield Must(what.format("second"), "grocer", partial(frozen, quarter=_SECOND))
    yield Must(what.format("last"), "grocer", partial(frozen, quarter=_LAST), 1.02, 1.05)
    own = partial(over_in_quarter, rival="own_frequent", quarter=_LAST)
    yield Must("over own_frequent, last quarter, grocer", "grocer", own, 1.04, 1.08)
    start = partial(over_all, rival="own_frequent", contender="foundation")
    yield Must("the greedy foundation over own_frequent, grocer", "grocer", start, 1.0)
    what = "distinct products in the greedy five of 1,000 visits after {}"
    early, end = partial(covered, after=20_000), partial(covered, after=100_000)
    yield Must(what.format("20,000"), "synthetic", early, 45, 100)
    yield Must(what.format("100,000"), "synthetic-100k", end, 45, 100)
    yield Must(what.format("20,000, aisles"), "aisles", early)
    yield Must("mass outside the candidates, 10,000 products", "large", outside)
    late = partial(loss, start=15_000, end=20_000)
    stale = partial(late, contender="policy:stale=16")
    yield Must("loss at 20,000, weights 16 batches stale", "ring", stale, 0.15, 0.05, is_loss=True)
    stale = partial(late, contender="policy:stale=64")
    what = "loss at 20,000, weights 64 batches stale: none have learned before 16,640"
    yield Must(what, "ring", stale, is_loss=True)
    slow = partial(late, contender="policy:settle_seconds=3600")
    yield Must("loss at 20,000, settlement after 1 h", "ring", slow, is_loss=True)
    slow = partial(late, contender=CORRECTED)
    what = "loss at 20,000, purchases of 3 in 10 buyers told an hour after their clicks"
    yield Must(what, "ring", slow, is_loss=True)
    bad = partial(loss, contender=f"policy:bad_batch={BAD}", start=BAD, end=BAD + _AFTER_BAD)
    yield Must("loss over 2,000 banners after a bad batch", "ring", bad, 0.10, is_loss=True)
    pairs = partial(over, rival="policy", mark=50_000, contender=BY_PAIRS)
    what = "with pairs over without, strong complements, {} products, at 50,000"
    yield Must(what.format("10,000"), "complements-large", pairs, 1.10)
    yield Must(what.format("1,000"), "complements", pairs, 1.10)
    curious = partial(late, contender=UNSPREAD)
    yield Must(
        "loss at 20,000 where the posterior is not spread, turnover",
        "turnover",
        curious,
        is_loss=True,
    )
    yield Must(
        "distinct greedy products, posterior spread over not spread, turnover", "turnover", widened
    )
    what = "of the reward lost when tastes moved, back after 20,000 banners"
    yield Must(what, "drift", partial(recovered, moment=DRIFT), 0.80)
    what = "of what it cost against the same shops unmoved, gone after 20,000 banners"
    yield Must(what, "drift", partial(caught_up, moment=DRIFT), against="synthetic-50k")
    what = "at 40,000, tastes moved at 20,000 over tastes moved before the first visit"
    yield Must(what, "drift", beside_other_shops, against="moved")
    one = partial(over, rival="foundation", mark=3_000)
    yield Must("over the greedy foundation at 3,000, 100,000 products", "huge", one)
    yield Must("mass outside the candidates, 100,000 products", "huge", outside)


MUSTS: Final = tuple(_musts())


@dataclass(frozen=True, slots=True)
class Judged:
    """A must and what became of it."""

    must: Must
    reached: Reached | None

    @property
    def verdict(self) -> Verdict:
        """Return what is to be said."""
        return self.must.verdict(self.reached)

    def told(self) -> dict[str, object]:
        """Return it for programs."""
        reached, must = self.reached, self.must
        return {
            "what": must.what,
            "part": must.part,
            "must": must.must,
            "aim": must.aim,
            "is_loss": must.is_loss,
            "reached": None if reached is None else reached.value,
            "beside": "" if reached is None else reached.beside,
            "verdict": self.verdict,
        }

    def row(self) -> dict[str, object]:
        """Return it for people."""
        reached, must = self.reached, self.must
        return {
            "what": must.what,
            "must": _bound(must.must, is_loss=must.is_loss),
            "aim": _bound(must.aim, is_loss=must.is_loss),
            "reached": "" if reached is None else _number(reached.value),
            "beside": "" if reached is None else reached.beside,
            "verdict": self.verdict,
        }


def judged(results: Mapping[str, LearnResults]) -> list[Judged]:
    """Return every must of the parts that were played, by the names of the parts."""
    return [
        Judged(must, must.measure(*(results[part] for part in must.parts)))
        for must in MUSTS
        if set(must.parts) <= results.keys()
    ]


def _bound(bound: float | None, *, is_loss: bool) -> str:
    if bound is None:
        return ""
    return f"{'<=' if is_loss else '>='} {_number(bound)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3f}"
