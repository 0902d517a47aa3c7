"""What is told of a part's results, one number each, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from evaluation.parts import UNSPREAD
from evaluation.results import LearnResults, Ratio, ratio

_SETTLING: Final = 1_000
_END: Final = 2_500


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


def recovered(found: LearnResults, *, moment: int) -> Reached | None:
    """Return the share of the reward lost when tastes moved that came back by the end.

    What is lost is the difference, in shares of the oracle, between the 2,500 visits before the
    moment and the thousand after; what came back, between these and the last 2,500. 1 where nothing
    was lost.
    """
    if moment < _END or not _is_reached(found, moment + _SETTLING + _END, "policy"):
        return None
    before, fell, end = (
        float(found.between("policy", *visits).mean())
        for visits in (
            (moment - _END, moment),
            (moment, moment + _SETTLING),
            (found.banners - _END, found.banners),
        )
    )
    beside = f"{before:.3f} before, {fell:.3f} after, {end:.3f} at the end"
    return Reached(1.0 if before <= fell else (end - fell) / (before - fell), beside)


def caught_up(found: LearnResults, unmoved: LearnResults, *, moment: int) -> Reached | None:
    """Return the share of what moving tastes cost, against shops unmoved, gone by the end.

    What they cost is the difference to the same policy in the same shops, whose tastes stayed and
    which goes on learning: over the thousand visits after the moment, and over the last 2,500. 1
    where they cost nothing.
    """
    end = found.banners
    if not _is_reached(found, moment + _SETTLING + _END, "policy") or end > unmoved.banners:
        return None
    same = _same_seeds(found, unmoved)
    if same is None:
        return None

    def lost(start: int, stop: int) -> tuple[float, float]:
        moved = float(found.between("policy", start, stop).mean())
        return float(unmoved.between("policy", start, stop)[same].mean()), moved

    stayed, fell = lost(moment, moment + _SETTLING)
    would, came_back = lost(end - _END, end)
    beside = f"{fell:.3f} for {stayed:.3f} at first, {came_back:.3f} for {would:.3f} at the end"
    at_first = stayed - fell
    return Reached(1.0 if at_first <= 0 else 1.0 - (would - came_back) / at_first, beside)


def beside_other_shops(found: LearnResults, others: LearnResults) -> Reached | None:
    """Return how many times the policy earns, at the end, what it earns there in other shops."""
    end = found.banners
    same = _same_seeds(found, others)
    if same is None or end > others.banners or not _is_reached(found, _END, "policy"):
        return None
    ours = found.between("policy", end - _END, end)
    return _times(ratio(ours, others.between("policy", end - _END, end)[same]))


def _same_seeds(found: LearnResults, others: LearnResults) -> list[int] | None:
    """Return where the seeds of `found` stand in `others`; None: not all do."""
    if not set(found.seeds) <= set(others.seeds):
        return None
    return [others.seeds.index(seed) for seed in found.seeds]


def _times(times: Ratio) -> Reached:
    interval = f", {times.low:.3f}..{times.high:.3f}" if times.has_interval else ""
    beside = f"worst {times.worst:.3f}, median {times.median:.3f}{interval}"
    return Reached(times.estimate, beside)


def _is_reached(found: LearnResults, mark: int, *contenders: str) -> bool:
    return mark <= found.banners and set(contenders) <= set(found.contenders)
