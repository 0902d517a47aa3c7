"""Vowpal Wabbit's conditional contextual bandit over the foundation's candidates.

The package's own reduction `--ccb_explore_adf` (Agarwal et al. 2016, "Making contextual decisions
with low technical debt", arXiv:1606.03966): a linear model on hashed features and their
interactions fills one position after another and explores by its own probabilities. A position's
cost is minus its points.

Dimensions: C candidates, K positions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from evaluation.errors import RivalNotInstalled
from evaluation.rivals.asking import Foreknowledge, Shortlist
from evaluation.shop import Outcome, Situation
from policy.features import ProductFeatures
from policy.serving import ServingPolicy
from schemas.history import unpack
from schemas.limits import BANNER_SIZE

if TYPE_CHECKING:
    from vowpalwabbit import Workspace

Rows = npt.NDArray[np.integer[Any]]
_SCORE_SHIFT: Final = 8.0
_SCORE_SCALE: Final = 3.0
_SLOT: Final = "ccb slot"


@dataclass(frozen=True, slots=True)
class VowpalSettings:
    """How Vowpal Wabbit is called.

    Attributes:
        arguments: of its command line: exploration, learning rate, interactions of the namespaces
            P (a candidate's features and id), S (the foundation's score), V (features and id of
            the product viewed), H (of the last ten purchases).
        candidates: of every banner, the foundation's best.
        bits: of its table of weights.
    """

    arguments: str = "--cb_type mtr --epsilon 0.02 -l 0.5 -q VP -q SP"
    candidates: int = 50
    bits: int = 20


class VowpalWabbit:
    """Fills the banner as the package's policy samples it, and learns from every position.

    Args:
        policy: the compiled foundation.
        features: of every product.
        settings: how it is called.
        seed: of its exploration.

    Raises:
        RivalNotInstalled: the extra `rivals` is missing.
    """

    name = "vowpal_wabbit"

    def __init__(
        self,
        policy: ServingPolicy,
        features: ProductFeatures,
        settings: VowpalSettings | None = None,
        *,
        seed: int,
    ) -> None:
        settings = settings or VowpalSettings()
        self._asked = Foreknowledge(policy, settings.candidates)
        self._workspace = _workspace(
            f"--ccb_explore_adf --quiet -b {settings.bits} --random_seed {seed} "
            f"{settings.arguments}"
        )
        self._told = [_told(features, row) for row in range(len(features.categories))]
        self._last: tuple[Rows, list[str], list[tuple[int, float]]] | None = None

    def _lines(self, situation: Situation, listed: Shortlist) -> list[str]:
        """Return the context and its candidates in the package's text format."""
        shared = "ccb shared |C always"
        if situation.viewed_row >= 0:
            shared += f" |V {self._told[situation.viewed_row]}"
        recent = unpack(situation.history).recent.tolist()
        if recent:
            products = " ".join(self._told[row] for row in recent)
            shared += f" |H:{len(recent) ** -0.5:.4g} {products}"
        scores = (listed.log_probs + _SCORE_SHIFT) / _SCORE_SCALE
        actions = zip(listed.rows.tolist(), scores.tolist(), strict=True)
        return [shared] + [
            f"ccb action |P {self._told[row]} |S score:{score:.4g}" for row, score in actions
        ]

    def banner(self, situation: Situation) -> Rows:
        """Return the five rows that the package sampled."""
        listed = self._asked.shortlist(situation)
        lines = self._lines(situation, listed)
        slots = min(BANNER_SIZE, len(listed.rows))
        found = self._workspace.predict(lines + [f"{_SLOT} |"] * slots)
        sampled = [position[0] for position in found]  # (action, probability), the sampled first
        rows = listed.rows[[action for action, _ in sampled]]
        self._last = rows, lines, sampled
        return rows

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:  # noqa: ARG002
        """Tell the package the cost of every position."""
        if self._last is None or self._last[0] is not banner:
            raise ValueError("a reward came for a banner that was not the last one shown")
        _, lines, sampled = self._last
        slots = [
            f"{_SLOT} {action}:{-points:.6g}:{probability:.6g} |"
            for (action, probability), points in zip(sampled, outcome.points, strict=True)
        ]
        self._workspace.learn(lines + slots)


def _workspace(arguments: str) -> "Workspace":
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        raise RivalNotInstalled(
            "Vowpal Wabbit is not installed; install it with: pip install 'quintet[rivals]'"
        ) from None
    return Workspace(arguments)


def _told(features: ProductFeatures, row: int) -> str:
    """Return a product's features and id as Vowpal Wabbit reads them."""
    buckets, weights = features.buckets[row].tolist(), features.weights[row].tolist()
    named = [
        f"{bucket}:{weight:.4g}" for bucket, weight in zip(buckets, weights, strict=True) if weight
    ]
    return " ".join([*named, f"row{row}"])
