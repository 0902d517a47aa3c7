"""Who fills the free positions of a banner: the arm's policy, else what is popular, else anything.

The ladder never fails: each rung that could not serve leaves its reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from schemas.events import Arm, Source
from service.behaviour import Loaded, ServingState

log = structlog.get_logger(__name__)
Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.uint8]
NO_POLICY: Final = "no_policy"
POLICY_FAILED: Final = "policy_failed"
NO_POPULARITY: Final = "no_popularity"


@dataclass(frozen=True, slots=True)
class Question:
    """What the policy is asked.

    Attributes:
        viewed_row: row of the product viewed; -1: none.
        history: packed history; empty: none.
        eligible: (N,) uint8, 1 where a product may be shown.
        excluded: (few,) int32 rows that are not candidates all the same.
        size: positions to fill.
    """

    viewed_row: int
    history: bytes
    eligible: Mask
    excluded: Rows
    size: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What fills the free positions.

    Attributes:
        rows: (k,) in display order, k <= size.
        log_probs: (k,) natural logarithms given the positions before; None: not drawn.
        candidates: packed rows it chose among (`schemas.candidates`); empty: no policy drew.
        source: the rung of the ladder.
        version: the weights that chose; 0: none.
        reasons: what it had to do without.
    """

    rows: list[int]
    log_probs: list[float | None]
    candidates: bytes
    source: Source
    version: int
    reasons: tuple[str, ...] = ()

    @property
    def was_drawn(self) -> bool:
        """True when the live policy drew at least one position."""
        return any(log_prob is not None for log_prob in self.log_probs)


def choose(
    state: ServingState,
    arm: Arm,
    question: Question,
    *,
    uniforms: Callable[[], npt.NDArray[np.float64]],
    failed: Callable[[], None],
) -> Choice:
    """Return what fills the free positions of one banner.

    Args:
        state: what serves.
        arm: `control` is the foundation's greedy choice.
        question: what the policy is asked.
        uniforms: gives the random numbers of one draw, in [0, 1).
        failed: called when a policy failed.
    """
    if question.size == 0:
        source: Source = "static" if state.behaviour is None else "policy"
        return Choice([], [], b"", source, state.policy_version)
    loaded = state.foundation if arm == "control" else state.behaviour
    if loaded is None:
        return _fallback(state, question, NO_POLICY)
    try:
        if arm == "control":
            return _greedy(loaded, question)
        return _drawn(loaded, question, uniforms())
    except Exception:
        # Whatever is wrong with a policy, the shopper gets a banner.
        log.exception("draw_failed", policy_version=loaded.version)
        failed()
        return _fallback(state, question, POLICY_FAILED)


def _drawn(loaded: Loaded, question: Question, uniforms: npt.NDArray[np.float64]) -> Choice:
    draw = loaded.policy.draw(
        viewed_row=question.viewed_row,
        history=question.history,
        eligible=question.eligible,
        excluded=question.excluded,
        size=question.size,
        uniforms=uniforms,
    )
    return Choice(
        draw.rows.tolist(),
        draw.log_probs.tolist(),
        draw.packed_candidates,
        "policy",
        loaded.version,
    )


def _greedy(loaded: Loaded, question: Question) -> Choice:
    rows = loaded.policy.greedy(
        viewed_row=question.viewed_row,
        history=question.history,
        eligible=question.eligible,
        excluded=question.excluded,
        size=question.size,
    ).tolist()
    return Choice(rows, [None] * len(rows), b"", "policy", loaded.version)


def _fallback(state: ServingState, question: Question, reason: str) -> Choice:
    allowed = question.eligible.copy()
    allowed[question.excluded] = 0
    ordered = np.flatnonzero(allowed).astype(np.int32)  # catalogue order
    source: Source = "static"
    reasons: tuple[str, ...] = (reason, NO_POPULARITY)
    if len(state.popular):
        source, reasons = "popular", (reason,)
        popular = state.popular[allowed[state.popular] != 0][: question.size]
        ordered = np.concatenate([popular, ordered[~np.isin(ordered, popular)]])
    rows = ordered[: question.size].tolist()
    return Choice(rows, [None] * len(rows), b"", source, state.policy_version, reasons)
