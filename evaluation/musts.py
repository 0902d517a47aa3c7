"""What must hold of the policy, as data; and what was reached, as pure functions of results."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np

from evaluation.parts import BAD, BY_PAIRS, CORRECTED, DRIFT, LINEAR, OTHERS, UNSPREAD
from evaluation.results import LearnResults, Ratio, ratio

Verdict = Literal["aim met", "must met", "not met", "shown", "not played"]
_MARKS: Final = (1_000, 2_000, 5_000, 10_000, 20_000)
_FIRST, _SECOND, _LAST = 0, 1, 3
_SETTLING: Final = 1_000
_END: Final = 2_500
_AFTER_BAD: Final = 2_000


@dataclass(frozen=True, slots=True)
class Reached:
    """What was reached.

    Attributes:
        value: what is judged.
        beside: what people should see beside it; empty: nothing.
    """

    value: float
    beside: str = ""


Measure = Callable[..., Reached | None]
"""Of the results of a part, or of two: None where a run is too short, or without the contenders, to
tell."""


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


def share(found: LearnResults, *, mark: int) -> Reached | None:
    """Return the policy's share of the oracle before a mark, mean over seeds."""
    if not _is_reached(found, mark, "policy"):
        return None
    shares = found.before("policy", mark)
    return Reached(float(shares.mean()), f"worst {shares.min():.3f}")


def over(
    found: LearnResults, *, rival: str, mark: int, contender: str = "policy"
) -> Reached | None:
    """Return how many times a rival's reward a contender earns before a mark."""
    if not _is_reached(found, mark, rival, contender):
        return None
    return _times(found.over(rival, mark, contender))


def over_foundation(
    found: LearnResults, *, mark: int, of_seeds: Literal["median", "worst"]
) -> Reached | None:
    """Return how many times the greedy foundation's reward the median or worst seed earns."""
    if not _is_reached(found, mark, "foundation", "policy"):
        return None
    times = found.over("foundation", mark)
    return Reached(times.median if of_seeds == "median" else times.worst, f"mean {times}")


def over_in_quarter(found: LearnResults, *, rival: str, quarter: int) -> Reached | None:
    """Return how many times a rival's reward the policy earns in a quarter of the run."""
    if not _is_reached(found, found.banners, rival, "policy"):
        return None
    return _times(ratio(found.quarter("policy", quarter), found.quarter(rival, quarter)))


def over_all(found: LearnResults, *, rival: str, contender: str) -> Reached | None:
    """Return how many times a rival's reward a contender earns over the whole run."""
    if not _is_reached(found, found.banners, rival, contender):
        return None
    whole = (0, found.banners)
    return _times(ratio(found.between(contender, *whole), found.between(rival, *whole)))


def loss(
    found: LearnResults, *, contender: str, start: int, end: int, beside: str = "policy"
) -> Reached | None:
    """Return the share of reward that a variant loses between two visits."""
    if not _is_reached(found, end, contender, beside):
        return None
    times = ratio(found.between(contender, start, end), found.between(beside, start, end))
    interval = f", {1.0 - times.high:.3f}..{1.0 - times.low:.3f}" if times.has_interval else ""
    return Reached(1.0 - times.estimate, f"worst {1.0 - times.worst:.3f}{interval}")


def covered(found: LearnResults, *, after: int) -> Reached | None:
    """Return how many products the policy's greedy fives hold, the oracle's number beside."""
    if found.banners != after or not _is_reached(found, after, "policy"):
        return None
    value = found.covered("policy")
    best = f"oracle {np.mean(found.oracle_covered):.0f}" if found.oracle_covered else ""
    return None if value is None else Reached(value, best)


def outside(found: LearnResults) -> Reached | None:
    """Return the share of the policy's probability that lies outside the candidates."""
    if "policy" not in found.contenders:
        return None
    value = found.outside("policy")
    return None if value is None else Reached(value)


def widened(found: LearnResults) -> Reached | None:
    """Return how many times as many products the policy's greedy fives hold for exploring."""
    if not {"policy", UNSPREAD} <= set(found.contenders):
        return None
    ours, theirs = found.covered("policy"), found.covered(UNSPREAD)
    return Reached(ours / theirs, f"{ours:.0f}, {theirs:.0f}") if ours and theirs else None


def recovered(found: LearnResults, unmoved: LearnResults, *, moment: int) -> Reached | None:
    """Return the share of the reward lost when tastes moved that came back by the end.

    What is lost is the difference to the same policy in the same shops, whose tastes stayed: in
    shares of the oracle, over the thousand visits after the moment, and over the last 2,500.
    1 where nothing was lost.
    """
    end = found.banners
    if not _is_reached(found, moment + _SETTLING + _END, "policy") or end > unmoved.banners:
        return None
    if not set(found.seeds) <= set(unmoved.seeds):
        return None
    same = [unmoved.seeds.index(seed) for seed in found.seeds]

    def lost(start: int, stop: int) -> tuple[float, float]:
        moved = float(found.between("policy", start, stop).mean())
        return float(unmoved.between("policy", start, stop)[same].mean()), moved

    stayed, fell = lost(moment, moment + _SETTLING)
    would, came_back = lost(end - _END, end)
    beside = f"{fell:.3f} for {stayed:.3f} at first, {came_back:.3f} for {would:.3f} at the end"
    at_first = stayed - fell
    return Reached(1.0 if at_first <= 0 else 1.0 - (would - came_back) / at_first, beside)


def _times(times: Ratio) -> Reached:
    interval = f", {times.low:.3f}..{times.high:.3f}" if times.has_interval else ""
    beside = f"worst {times.worst:.3f}, median {times.median:.3f}{interval}"
    return Reached(times.estimate, beside)


def _is_reached(found: LearnResults, mark: int, *contenders: str) -> bool:
    return mark <= found.banners and set(contenders) <= set(found.contenders)


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
    drift = partial(recovered, moment=DRIFT)
    what = "recovered 20,000 banners after tastes moved"
    yield Must(what, "drift", drift, 0.80, against="synthetic-50k")


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
