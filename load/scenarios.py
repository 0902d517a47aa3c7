"""The scenarios of `make load`, as data, and what must hold of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from load.crowd import Kept
from load.goals import Goal
from load.schedule import Phase
from load.traffic import CAPPED, Played, calm_after

BURST: Final = 10
_CALM_TIMES: Final = 3.0
"""Calm is a p99 of at most so many times the steady one, and nothing refused."""
_CALM_MS: Final = 100.0
"""Nor is anybody nervous below this."""
_REFUSABLE: Final = 4
"""So many times the capacity can be refused. To read a request and refuse it costs a twentieth of
an answer: of ten times the capacity that is half a core and more, whatever the service does."""
_CALM_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some minutes of shoppers.

    Attributes:
        name: of the scenario.
        told: what happens, in a sentence.
        phases: the rates; the steady rate is 1.
        hot_share, large_share: as in `load.shoppers.Spec`.
        crowd: (idle, slow writers, slow readers) that come besides.
    """

    name: str
    told: str
    phases: Sequence[Phase]
    hot_share: float = 0.0
    large_share: float = 0.0
    crowd: tuple[int, int, int] | None = None

    @property
    def seconds(self) -> int:
        """Return how long it takes."""
        return round(sum(phase.seconds for phase in self.phases))


@dataclass(frozen=True, slots=True)
class Scale:
    """How long everything takes.

    Attributes:
        steady, burst, after, other: seconds of the parts of scenarios.
        crowd: idle clients, slow writers, slow readers.
        products: of the ring's catalogue.
        flood_products: of the catalogue that is flooded; the larger, the less is capacity, and the
            more of it one core can offer.
        flood_times: how many times its capacity is offered.
        flood_rounds: each flood is played so often, with the capacity measured in between: a
            machine that others share may be half as fast a few seconds later.
        flood_seconds: of each, and of the calm after it.
    """

    steady: int
    burst: int
    after: int
    other: int
    crowd: tuple[int, int, int]
    products: int
    flood_products: int
    flood_times: tuple[int, ...]
    flood_rounds: int
    flood_seconds: int


WHOLE: Final = Scale(90, 60, 30, 60, (5_000, 200, 100), 10_000, 100_000, (2, 4, 10), 3, 10)
SMOKE: Final = Scale(6, 5, 6, 5, (500, 20, 10), 1_000, 10_000, (2,), 1, 4)


def scenarios(scale: Scale) -> list[Scenario]:
    """Return what is played, in this order."""
    return [
        Scenario("steady", "shoppers come at one rate", [Phase(scale.steady, 1)]),
        Scenario(
            "burst", f"for a while {BURST} times as many come",
            [Phase(scale.after, 1), Phase(scale.burst, BURST), Phase(scale.after, 1)],
        ),
        Scenario(
            "hot user", "three of ten visits are one shopper's", [Phase(scale.other, 1)],
            hot_share=0.3,
        ),
        Scenario(
            "slow clients",
            "{:,} clients say nothing, {:,} send a byte a second, {:,} do not read".format(
                *scale.crowd
            ),
            [Phase(scale.other, 1)], crowd=scale.crowd,
        ),
        Scenario(
            "mixed sizes", "one visit of twenty is large: 1,000 excluded products, batches of 1,000"
            " events, bodies over the limit", [Phase(scale.other, 1)], large_share=0.05,
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """A scenario as it went.

    Attributes:
        scenario: what was meant to happen.
        played: what the shoppers saw.
        kept: what became of the clients that only kept the service waiting.
    """

    scenario: Scenario
    played: Played
    kept: Kept | None = None


def goals(told: Told, steady: Played) -> list[Goal]:
    """Return what must hold of a scenario, and what else is worth knowing.

    Args:
        told: the scenario.
        steady: how the first one went, to compare with.
    """
    name, played = told.scenario.name, told.played
    offered = max(played.total("offered"), 1)
    found = [
        Goal(f"{name}: answers that were wrong or late", played.total("wrong"), 0, 0, False),
        Goal(f"{name}: share answered in time", played.total("good") / offered, 0.99, 1.0),
        Goal(f"{name}: p99 from when it was due, ms", played.p99_ms),
        Goal(f"{name}: events not accepted", _refused(played), 0, 0, False),
    ]
    if name == "burst":
        found[1] = Goal(f"{name}: share answered in time", played.total("good") / offered, 0.8, 1.0)
        found.append(_calm(told, steady))
    elif name != "steady":
        ratio = played.p99_ms / max(steady.p99_ms, 1e-9)
        found.append(Goal(f"{name}: p99 over steady", ratio))
    if told.scenario.hot_share:
        capped = played.reported.get(CAPPED, 0)
        found.append(Goal(f"{name}: her events beyond what one shopper may send", capped))
    if told.kept is not None:
        _, writers, _ = told.scenario.crowd or (0, 0, 0)
        share = told.kept.timed_out / max(told.kept.overdue, writers, 1)
        found += [
            Goal(f"{name}: share of slow senders that got a 408", share, 1.0, 1.0),
            Goal(f"{name}: slow clients at once, on average", told.kept.stood),
        ]
    return found


def _refused(played: Played) -> int:
    return sum(n for outcome, n in played.reported.items() if outcome not in ("accepted", CAPPED))


def _calm(told: Told, steady: Played) -> Goal:
    after = told.played.seconds[-round(told.scenario.phases[-1].seconds) :]
    calm = calm_after(after, p99_ms=max(_CALM_MS, _CALM_TIMES * steady.p99_ms))
    measured = float("inf") if calm is None else calm
    return Goal("burst: seconds until it is calm again", measured, _CALM_SECONDS, 3, False)


@dataclass(frozen=True, slots=True)
class Flood:
    """One flood as it went.

    Attributes:
        times: the capacity that was due.
        played: what came of it.
        cpu_seconds: processor time of the server.
        calm: what followed it, at half of the capacity.
        before, after: answers a second with 64 connections kept busy, before it and after the calm.
        cpu_us: of the server, for one of these.
    """

    times: int
    played: Played
    cpu_seconds: float
    calm: Played
    before: float
    after: float
    cpu_us: float

    @property
    def capacity(self) -> float:
        """What it is held against."""
        return max((self.before + self.after) / 2, 1e-9)

    @property
    def name(self) -> str:
        """What it is called."""
        return f"flood x{self.times}"

    @property
    def good(self) -> float:
        """Good answers over the capacity."""
        return self.played.per_second("good") / self.capacity


@dataclass(frozen=True, slots=True)
class Flooded:
    """All floods as they went.

    Attributes:
        products: of the catalogue.
        half: at half of the capacity, before.
        floods: one by one, each as often as there were rounds.
    """

    products: int
    half: Played
    floods: Sequence[Flood] = field(default_factory=list)


def flood_goals(flooded: Flooded) -> list[Goal]:
    """Return what must hold of a service that is offered more than it can answer.

    Of several rounds of one flood the middle one tells what of the capacity was left, and the worst
    one everything else. A round that the client could not send in time is left out: what it waited
    for is its own fault, not the service's; where these are most of them, the flood is not judged.
    Of floods too large to be refused it is shown what they leave, and judged what comes after them.
    """
    rounds: dict[str, list[Flood]] = {}
    for one in flooded.floods:
        rounds.setdefault(one.name, []).append(one)
    judged: dict[str, list[Flood]] = {}
    for name, each in rounds.items():
        sent = [one for one in each if one.played.kept_up]
        judged[name] = sent if 2 * len(sent) > len(each) else []
    found = [
        Goal(
            f"capacity at {flooded.products:,} products, answers a second",
            median(one.capacity for one in flooded.floods),
        ),
        Goal("floods that could be judged", sum(map(bool, judged.values())), 1),
        Goal(
            "capacity after all floods over that before",
            flooded.floods[-1].after / max(flooded.floods[0].before, 1e-9), 0.5, 1,
        ),
    ]  # fmt: skip
    for name, each in judged.items():
        if not each:
            late = min(one.played.late_ms for one in rounds[name])
            found.append(Goal(f"{name}: not judged, sent late by the client, ms", late))
            continue
        refusable = each[0].times <= _REFUSABLE
        calm = [_calm_seconds(one, flooded.half) for one in each]
        shares = [one.good for one in each]
        found += [
            Goal(f"{name}: answered or refused, over capacity", median(map(_done, each))),
            Goal(f"{name}: share of processor time for good answers", median(map(_useful, each))),
            Goal(
                f"{name}: good answers over capacity",
                median(shares), 0.8 if refusable else None, 0.95,
            ),
            Goal(f"{name}: the same in the worst round", min(shares)),
            Goal(
                f"{name}: p99 of good answers, ms",
                max(one.played.p99_ms for one in each), 1_000 if refusable else None, 300, False,
            ),
            Goal(
                f"{name}: share neither answered nor refused in time",
                max(_lost(one.played) for one in each), 0.01 if refusable else None, 0, False,
            ),
            Goal(f"{name}: seconds until it is calm again", max(calm), _CALM_SECONDS, 3, False),
        ]  # fmt: skip
    return found


def _done(flood: Flood) -> float:
    return flood.played.total("offered") / max(flood.played.ended, 1e-9) / flood.capacity


def _useful(flood: Flood) -> float:
    return 1e-6 * flood.cpu_us * flood.played.total("good") / max(flood.cpu_seconds, 1e-9)


def _calm_seconds(flood: Flood, half: Played) -> float:
    calm = calm_after(flood.calm.seconds, p99_ms=max(_CALM_MS, _CALM_TIMES * half.p99_ms))
    return float("inf") if calm is None else calm


def _lost(flood: Played) -> float:
    return flood.total("wrong") / max(flood.total("offered"), 1)
