"""Who fills the free positions of a banner: the arm's policy, else what is popular, else anything.

The ladder never fails: each rung that could not serve leaves its reason.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from policy.serving import Draw, Question
from schemas.events import Arm, Source
from service.behaviour import Loaded, ServingState

log = structlog.get_logger(__name__)
NO_POLICY: Final = "no_policy"
POLICY_FAILED: Final = "policy_failed"
NO_POPULARITY: Final = "no_popularity"


class Choice(msgspec.Struct, frozen=True):
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


def choose_all(
    state: ServingState,
    asked: Sequence[tuple[Arm, Question]],
    *,
    uniforms: Callable[[int], npt.NDArray[np.float64]],
    failed: Callable[[], None],
) -> list[Choice]:
    """Return what fills the free positions of each banner.

    Args:
        state: what serves.
        asked: arm and question of each; the arm `control` gets the foundation's greedy choice.
        uniforms: gives the random numbers of so many draws, in [0, 1).
        failed: called when a policy failed.
    """
    left_to_chance = [question for arm, question in asked if _is_drawn(state, arm, question)]
    drawn = iter(_draws(state, left_to_chance, uniforms, failed))
    return [
        next(drawn) if _is_drawn(state, arm, question) else _undrawn(state, arm, question, failed)
        for arm, question in asked
    ]


def _is_drawn(state: ServingState, arm: Arm, question: Question) -> bool:
    return arm != "control" and question.size > 0 and state.behaviour is not None


def _draws(
    state: ServingState,
    questions: Sequence[Question],
    uniforms: Callable[[int], npt.NDArray[np.float64]],
    failed: Callable[[], None],
) -> list[Choice]:
    loaded = state.behaviour
    if loaded is None or not questions:
        return []
    draws: Sequence[Draw | Exception]
    try:
        draws = loaded.policy.draw_many(questions, uniforms(len(questions)))
    except Exception as problem:  # noqa: BLE001 - logged with each banner that it costs
        draws = [problem] * len(questions)
    return [
        _after_failure(state, loaded, question, draw, failed)
        if isinstance(draw, Exception)
        else Choice(
            draw.rows.tolist(),
            draw.log_probs.tolist(),
            draw.packed_candidates,
            "policy",
            loaded.version,
        )
        for question, draw in zip(questions, draws, strict=True)
    ]


def _undrawn(
    state: ServingState, arm: Arm, question: Question, failed: Callable[[], None]
) -> Choice:
    if question.size == 0:
        source: Source = "static" if state.behaviour is None else "policy"
        return Choice([], [], b"", source, state.policy_version)
    loaded = state.foundation if arm == "control" else state.behaviour
    if loaded is None:
        return _fallback(state, question, NO_POLICY)
    try:
        return _greedy(loaded, question)
    except Exception as problem:  # noqa: BLE001 - logged there
        return _after_failure(state, loaded, question, problem, failed)


def _after_failure(
    state: ServingState,
    loaded: Loaded,
    question: Question,
    problem: Exception,
    failed: Callable[[], None],
) -> Choice:
    """Return a fallback: whatever is wrong with a policy, the shopper gets a banner."""
    log.error("draw_failed", policy_version=loaded.version, exc_info=problem)
    failed()
    return _fallback(state, question, POLICY_FAILED)


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
