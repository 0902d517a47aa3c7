"""The studies behind the musts: what is played, and how one that was cut off goes on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from evaluation.learn import Study
from evaluation.results import LearnResults
from simulator.synthetic import STRONG_PULL
from simulator.world import World
from trainer.learner_settings import LearnerSettings

HELD_OUT: Final = (11, 12, 13, 14, 15)
"""Seeds on which nothing was chosen."""
FEW: Final = HELD_OUT[:3]
LINEAR: Final = ("linucb", "linucb_hybrid")
DRIFT: Final = 20_000
"""The visit at which tastes move."""
BAD: Final = 10_000
"""The visit after which a bad batch comes."""
UNSPREAD: Final = "policy:exploration=0"
"""Draws banners by chance still, but scores with the mean of the reward model's posterior."""
CORRECTED: Final = "policy:corrections=.3+corrected_after_seconds=3600"
OTHERS: Final = ("popular", "own_frequent", "reinforce", "supervised")
BY_PAIRS: Final = "policy:pair_spread=.3/.3"


@dataclass(frozen=True, slots=True)
class Part:
    """One study.

    Attributes:
        name: of its file.
        world: `synthetic`, `aisles` or `grocer`.
        products: of a made-up world; the grocery has its own.
        knobs: of a made-up world.
        households: of the grocery.
    """

    name: str
    world: Literal["synthetic", "aisles", "grocer"]
    seeds: tuple[int, ...]
    banners: int
    contenders: tuple[str, ...]
    products: int = 1_000
    knobs: str = ""
    households: Literal["", "odd", "even"] = ""

    def study(self, open_world: Callable[["Part", int], World], learner: LearnerSettings) -> Study:
        """Return it as a study."""
        return Study(
            world=self.world,
            open_world=partial(open_world, self),
            seeds=self.seeds,
            banners=self.banners,
            contenders=self.contenders,
            learner=learner,
            knobs=self.knobs,
            households=self.households,
        )

    def is_answered_by(self, found: LearnResults, learner: LearnerSettings) -> bool:
        """Return whether results are of this study, as it is now, with these settings."""
        return (
            (found.world, found.knobs, found.households, found.banners, found.seeds, found.settings)
            == (self.world, self.knobs, self.households, self.banners, self.seeds, str(learner))
        ) and (
            found.contenders == self.contenders
            and (self.world == "grocer" or found.products == self.products)
        )


PARTS: Final = (
    Part(
        "synthetic", "synthetic", HELD_OUT, 20_000,
        ("foundation", "vowpal_wabbit", *LINEAR, "policy"),
    ),
    Part("aisles", "aisles", HELD_OUT, 20_000, ("foundation", *LINEAR, "policy")),
    Part("synthetic-50k", "synthetic", HELD_OUT, 50_000, ("base", "policy")),
    Part("aisles-50k", "aisles", HELD_OUT, 50_000, ("base", "policy")),
    Part("synthetic-100k", "synthetic", HELD_OUT, 100_000, ("policy",)),
    Part("large", "synthetic", FEW, 50_000, ("policy",), products=10_000),
    Part(
        "grocer", "grocer", HELD_OUT[:2], 60_000, ("own_frequent", "foundation", "policy"),
        households="even",
    ),
    Part(
        "ring", "synthetic", FEW, 20_000,
        ("policy", "policy:stale=16", "policy:stale=64", "policy:settle_seconds=3600",
         CORRECTED, f"policy:bad_batch={BAD}"),
    ),
    Part(
        "complements", "synthetic", FEW, 50_000, ("policy", BY_PAIRS), knobs=f"pull={STRONG_PULL}"
    ),
    Part(
        "complements-large", "synthetic", FEW, 50_000, ("policy", BY_PAIRS), products=10_000,
        knobs=f"pull={STRONG_PULL}",
    ),
    Part("others", "synthetic", FEW, 20_000, (*OTHERS, "policy")),
    Part("turnover", "synthetic", FEW, 20_000, ("policy", UNSPREAD), knobs="turnover=.2"),
    Part("drift", "synthetic", HELD_OUT, 40_000, ("policy",), knobs=f"taste_drift={DRIFT}"),
    Part("moved", "synthetic", HELD_OUT, 40_000, ("policy",), knobs="taste_drift=0"),
    Part("huge", "synthetic", HELD_OUT[:1], 3_000, ("foundation", "policy"), products=100_000),
)  # fmt: skip
"""What all musts together take: about an hour on two cores.

The even households make 31,893 trips in the half year that is played, so from there on their trips
come again; the second quarter is the last one of trips that nobody has seen before."""
_SMOKED: Final = {
    "synthetic": ("foundation", "linucb_hybrid", "policy"),
    "turnover": ("policy", UNSPREAD),
}
_SMOKE_SHOP: Final = "shoppers=100,past=1000"


def smoke() -> tuple[Part, ...]:
    """Return a few parts so small that they say whether everything works, and nothing else."""
    return tuple(
        replace(
            part, seeds=HELD_OUT[:1], banners=1_500, products=300, contenders=_SMOKED[part.name],
            knobs=",".join(filter(None, (part.knobs, _SMOKE_SHOP))),
        )
        for part in PARTS
        if part.name in _SMOKED
    )  # fmt: skip


class PartsFolder:
    """Results of parts as files, `PART.json`, that `quintet learn --compare` reads too.

    Args:
        folder: where they lie.
        learner: settings they are wanted of.
    """

    def __init__(self, folder: Path, learner: LearnerSettings) -> None:
        self._folder = folder
        self._learner = learner

    def found(self, part: Part) -> LearnResults | None:
        """Return what a part found; None: it is still to be played, or is another one by now."""
        try:
            found = msgspec.json.decode(self._path(part).read_bytes(), type=LearnResults)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return found if part.is_answered_by(found, self._learner) else None

    def keep(self, part: Part, found: LearnResults) -> None:
        """Keep what a part found: whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(part)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
        unfinished.replace(path)

    def forget(self, parts: Sequence[Part]) -> None:
        """Remove what parts found, so that they are played again."""
        for part in parts:
            self._path(part).unlink(missing_ok=True)

    def _path(self, part: Part) -> Path:
        return self._folder / f"{part.name}.json"


def play(
    parts: Sequence[Part], folder: PartsFolder, learn: Callable[[Part], LearnResults]
) -> Iterator[tuple[Part, LearnResults]]:
    """Yield what every part found, and play those that found nothing yet."""
    for part in parts:
        found = folder.found(part)
        if found is None:
            found = learn(part)
            folder.keep(part, found)
        yield part, found
