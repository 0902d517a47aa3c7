"""What contenders earned, and how that compares: within a run, and with an earlier one.

Everything is a share of the oracle's expected reward on the same visits.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from policy.pairs import CategoryPair

MARKS: Final = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
"""Banners after which contenders are compared, as far as a run goes."""
MOST_BINS: Final = 400
_CONFIDENCE: Final = 0.95


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One contender in the shop of one seed.

    Attributes:
        contender: its name.
        pairs: the categories that its policy found to earn most together, if it learned any.
        seed: of shop, visits and draws.
        earned: (bins,) mean expected reward of the banners of each bin.
        distinct: distinct products on its last 1,000 banners.
        milliseconds: wall time of a banner, the world's part included.
        covered: distinct products among the five of the highest scores, as they are at the end, at
            each of the last 1,000 visits; None: it has no scores.
        outside: share of the first position's probability, at the end and among the whole
            catalogue, outside the candidates; None: all are candidates, or there are none.
    """

    contender: str
    pairs: tuple[CategoryPair, ...] = ()
    seed: int
    earned: tuple[float, ...]
    distinct: int
    milliseconds: float
    covered: int | None = None
    outside: float | None = None


class LearnResults(msgspec.Struct, frozen=True, kw_only=True):
    """What every contender earned in one world.

    Attributes:
        world: its name.
        products: of its catalogue.
        banners: of each run.
        bin_banners: banners of each bin.
        seeds: one run of every contender each.
        oracle: by seed, (bins,) the oracle's mean expected reward on every tenth visit.
        runs: in the order they were asked for.
        knobs: of a made-up world, as they were given; empty: everything as usual.
        households: of the grocery; empty: it was another world.
        settings: of the ring's learner.
        code: digest of what decided the results (`evaluation.recipe`).
        oracle_covered: by seed, distinct products on the oracle's banners of the last 1,000 visits.
    """

    world: str
    products: int
    banners: int
    bin_banners: int
    seeds: tuple[int, ...]
    oracle: tuple[tuple[float, ...], ...]
    runs: tuple[Run, ...]
    knobs: str = ""
    households: str = ""
    settings: str = ""
    code: str = ""
    oracle_covered: tuple[int, ...] = ()

    @property
    def contenders(self) -> tuple[str, ...]:
        """Return the names, in order."""
        return tuple(dict.fromkeys(run.contender for run in self.runs))

    @property
    def marks(self) -> tuple[int, ...]:
        """Return the marks that the runs reached; always their end."""
        return (*(mark for mark in MARKS if mark < self.banners), self.banners)

    def earned(self, contender: str) -> npt.NDArray[np.float64]:
        """Return (seeds, bins) mean expected rewards.

        Raises:
            KeyError: it was not played.
        """
        runs = {run.seed: run.earned for run in self.runs if run.contender == contender}
        if not runs:
            raise KeyError(contender)
        return np.array([runs[seed] for seed in self.seeds])

    def before(self, contender: str, mark: int) -> npt.NDArray[np.float64]:
        """Return (seeds,) shares of the oracle over the last quarter before a mark."""
        return self.between(contender, round(mark * 3 / 4), mark)

    def between(self, contender: str, start: int, end: int) -> npt.NDArray[np.float64]:
        """Return (seeds,) shares of the oracle over banners `start` to `end`, in whole bins."""
        bins = self._bins(start, end)
        shown, best = self.earned(contender)[:, bins], self.best()[:, bins]
        return np.asarray(shown.mean(axis=1) / best.mean(axis=1))

    def covered(self, contender: str) -> float | None:
        """Return `Run.covered`, mean over seeds."""
        return _mean([run.covered for run in self._of(contender)])

    def outside(self, contender: str) -> float | None:
        """Return `Run.outside`, mean over seeds."""
        return _mean([run.outside for run in self._of(contender)])

    def quarter(self, contender: str, number: int) -> npt.NDArray[np.float64]:
        """Return (seeds,) mean expected rewards over quarter `number` (0..3) of the run."""
        start, end = (round(self.banners * part / 4) for part in (number, number + 1))
        return np.asarray(self.earned(contender)[:, self._bins(start, end)].mean(axis=1))

    def best(self) -> npt.NDArray[np.float64]:
        """Return (seeds, bins) the oracle's mean expected rewards."""
        return np.array(self.oracle)

    def _bins(self, start: int, end: int) -> slice:
        first = min(start // self.bin_banners, len(self.oracle[0]) - 1)
        return slice(first, max(first + 1, math.ceil(end / self.bin_banners)))

    def curve(self, contender: str) -> npt.NDArray[np.float64]:
        """Return (seeds, bins) shares of the oracle, whose mean over the run is the divisor."""
        return np.asarray(self.earned(contender) / self.best().mean(axis=1, keepdims=True))

    def over(self, rival: str, mark: int, contender: str = "policy") -> "Ratio":
        """Return how many times a rival's reward a contender earns before a mark, seed by seed."""
        return ratio(self.before(contender, mark), self.before(rival, mark))

    def rows(self) -> list[dict[str, object]]:
        """Return one row a contender for people, best last: shares of the oracle at the marks."""
        end = self.marks[-1]
        ordered = sorted(self.contenders, key=lambda name: float(self.before(name, end).mean()))
        return [
            {
                "contender": name,
                **{f"at {mark:,}": f"{self.before(name, mark).mean():.3f}" for mark in self.marks},
                "policy over it": str(self.over(name, end))
                if "policy" in self.contenders and name != "policy"
                else "",
                "distinct products": f"{np.mean([r.distinct for r in self._of(name)]):.0f}",
                **self._reach(name),
                "ms a banner": f"{np.mean([r.milliseconds for r in self._of(name)]):.2f}",
            }
            for name in ordered
        ]

    def _reach(self, contender: str) -> dict[str, str]:
        """Return for people what a contender covers, and what lies outside its candidates."""
        covered, outside = self.covered(contender), self.outside(contender)
        best = _mean(self.oracle_covered)
        of = "" if best is None else f" (oracle {best:.0f})"
        return {
            "greedy covers": "" if covered is None else f"{covered:.0f}{of}",
            "mass outside": "" if outside is None else f"{outside:.3f}",
        }

    def _of(self, contender: str) -> list[Run]:
        return [run for run in self.runs if run.contender == contender]

    def changes(self, earlier: "LearnResults") -> list[dict[str, object]]:
        """Return how shares at the marks changed since an earlier run, for contenders of both."""
        common = [mark for mark in self.marks if mark in earlier.marks]
        return [
            {
                "contender": name,
                **{
                    f"at {mark:,}": f"{self.before(name, mark).mean():.3f} "
                    f"({self.before(name, mark).mean() - earlier.before(name, mark).mean():+.3f})"
                    for mark in common
                },
            }
            for name in self.contenders
            if name in earlier.contenders
        ]

    def pair_rows(self) -> list[dict[str, object]]:
        """Return one row for each pair of categories that a contender learned to place together."""
        return [
            {
                "contender": run.contender,
                "seed": run.seed,
                "one": pair.first,
                "the other": pair.second,
                "odds, times": f"{math.exp(pair.lift_nats):.2f}",
            }
            for run in self.runs
            for pair in run.pairs
        ]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio of paired means with its interval, and the lowest of the seeds.

    Attributes:
        estimate: the mean over seeds of the numerators over that of the denominators.
        low, high: 95% interval over seeds; not finite with one seed.
        worst: of a single seed.
        median: of the seeds.
    """

    estimate: float
    low: float
    high: float
    worst: float
    median: float

    @property
    def has_interval(self) -> bool:
        """Return whether there is an interval."""
        return math.isfinite(self.low)

    def __str__(self) -> str:
        """Return it for people: 1.05 (1.01..1.09)."""
        if not self.has_interval:
            return f"{self.estimate:.2f}"
        return f"{self.estimate:.2f} ({self.low:.2f}..{self.high:.2f})"


def ratio(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> Ratio:
    """Return the ratio of means of paired numbers, its interval by Student's t on the residuals.

    The standard error is that of a ratio estimator (Cochran 1977, "Sampling techniques", 6.2).

    Example:
        >>> str(ratio(np.array([2.0, 4.0]), np.array([1.0, 2.0])))
        '2.00 (2.00..2.00)'
    """
    estimate = float(ours.mean() / theirs.mean())
    half = math.inf
    if len(ours) > 1:
        residual = (ours - estimate * theirs) / theirs.mean()
        error = float(residual.std(ddof=1)) / math.sqrt(len(ours))
        half = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, len(ours) - 1)) * error
    each = ours / theirs
    return Ratio(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        worst=float(each.min()),
        median=float(np.median(each)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def in_bins(rewards: Sequence[float] | npt.NDArray[np.float64], size: int) -> tuple[float, ...]:
    """Return the means of consecutive bins of so many; the last may be shorter."""
    array = np.asarray(rewards, np.float64)
    return tuple(float(array[at : at + size].mean()) for at in range(0, len(array), size))
