"""From a request to a recommendation: context, eligible products, arm, draw, record, answer.

One request reads the serving state once: everything it says comes from one snapshot.
"""

import os
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.serving import UNIFORMS
from projections.catalogue import Catalogue
from projections.errors import HistoryUnavailable
from projections.history.port import HistoryReader
from schemas import identity
from schemas.errors import HistoryNotReadable
from schemas.events import Recommended
from schemas.limits import BANNER_SIZE
from schemas.requests import RecommendRequest
from service import answer, pins
from service.appender import Appender
from service.arms import ArmRule
from service.behaviour import Behaviour
from service.choice import Mask, Question, Rows, choose
from service.context import known_rows, with_recent
from service.metrics import Metrics
from service.pins import Pinned
from service.record import Banner, Drawn, Issue, recorded
from service.tokens import Tokens

HISTORY_UNAVAILABLE: Final = "history_unavailable"
LOG_UNAVAILABLE: Final = "log_unavailable"
"""The banner was answered, but may never be rewarded."""
FEW_ELIGIBLE: Final = "fewer_than_five_eligible"
NONE_ELIGIBLE: Final = "none_eligible"


class Recommender:
    """Answers `/recommend`; for one event loop.

    Args:
        behaviour: what serves.
        histories: the shoppers' histories.
        appender: takes the records.
        arms: which arm a request belongs to.
        tokens: issues the attribution tokens.
        secret: keys the pseudonyms.
        clock: milliseconds since 1970.
        rng: draws the banners; of its own in every process.
        metrics: what is counted.
        entropy: gives so many random bytes, for recommendation ids.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        histories: HistoryReader,
        appender: Appender,
        *,
        arms: ArmRule,
        tokens: Tokens,
        secret: bytes,
        clock: Callable[[], int],
        rng: np.random.Generator,
        metrics: Metrics,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._behaviour = behaviour
        self._histories = histories
        self._appender = appender
        self._arms = arms
        self._tokens = tokens
        self._secret = secret
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._entropy = entropy

    async def recommend(self, request: RecommendRequest) -> bytes:
        """Return the JSON of the answer.

        Raises:
            PinRefused: a pin is unknown, unavailable or clashes with another.
        """
        user_id = request.user_id
        user_key = None if user_id is None else identity.user_key(self._secret, user_id)
        history, reasons = await self._history(user_key)
        state = self._behaviour.state  # read once, after the only wait
        catalogue = state.catalogue
        pinned = pins.pinned_rows(request.pinned or (), catalogue.row_of, catalogue.available)
        question = self._question(request, catalogue, history, pinned)
        issue = self._issue(user_key)
        choice = choose(
            state,
            issue.assignment.arm,
            question,
            uniforms=self._uniforms,
            failed=self._metrics.draw_failures.inc,
        )
        rows, log_probs = pins.merge(pinned, choice.rows, choice.log_probs)
        reasons += choice.reasons + _shortfall(len(rows))
        if not self._appender.takes():
            reasons += (LOG_UNAVAILABLE,)
        banner = Banner(rows, log_probs, ", ".join(reasons) or None)
        fact = recorded(request, issue, catalogue, question, choice, banner)
        self._appender.offer(Drawn(fact, issue.key))
        self._count(fact, reasons)
        return answer.answer(
            recommendation_id=fact.recommendation_id,
            fragments=[catalogue.fragments[row] for row in fact.rows],
            policy_version=fact.policy_version,
            arm=fact.arm,
            source=fact.source,
            reason=fact.reason,
            attribution_token=self._tokens.issue(
                fact.recommendation_id, fact.product_ids, issue.now_ms
            ),
            expires_at=answer.expiry(issue.now_ms // 1000 + self._tokens.window_seconds),
        )

    def _issue(self, user_key: bytes | None) -> Issue:
        now_ms = self._clock()
        ulid = identity.ulid(now_ms, self._entropy(10))
        return Issue(
            now_ms=now_ms,
            user_key=user_key,
            key=identity.anonymous_key(self._secret, ulid) if user_key is None else user_key,
            ulid=ulid,
            assignment=self._arms.assign(user_key, ulid, now_ms),
        )

    async def _history(self, user_key: bytes | None) -> tuple[bytes, tuple[str, ...]]:
        """Return the packed history, empty without one, and what is to be said about it."""
        if user_key is None:
            return b"", ()
        try:
            return await self._histories.read(user_key) or b"", ()
        except HistoryUnavailable:
            return b"", (HISTORY_UNAVAILABLE,)

    def _question(
        self, request: RecommendRequest, catalogue: Catalogue, history: bytes, pinned: Pinned
    ) -> Question:
        """Return what the policy is asked: the context and what may be shown."""
        row_of = catalogue.row_of
        unknown = 0
        viewed_row = -1
        if request.viewed_product_id is not None:
            viewed_row = row_of.get(request.viewed_product_id, -1)
            unknown += viewed_row < 0
        if request.purchased_product_ids is not None:
            bought, missed = known_rows(row_of, request.purchased_product_ids)
            history = _with_recent(history, bought)
            unknown += missed
        excluded, missed = known_rows(row_of, request.exclude_product_ids or ())
        unknown += missed
        if unknown:
            self._metrics.unknown_ids.inc(unknown)
        if viewed_row >= 0:
            excluded.append(viewed_row)
        excluded.extend(pinned.values())
        eligible: Mask = (
            catalogue.available if request.filter is None else catalogue.eligible(request.filter)
        )
        left_out: Rows = np.array(list(dict.fromkeys(excluded)), np.int32)
        return Question(viewed_row, history, eligible, left_out, BANNER_SIZE - len(pinned))

    def _uniforms(self) -> npt.NDArray[np.float64]:
        return self._rng.random(UNIFORMS)

    def _count(self, fact: Recommended, reasons: tuple[str, ...]) -> None:
        self._metrics.recommended(fact.source, fact.arm)
        for reason in reasons:
            self._metrics.reasons.labels(reason).inc()


def _with_recent(history: bytes, rows: list[int]) -> bytes:
    try:
        return with_recent(history, rows)
    except HistoryNotReadable:
        return with_recent(b"", rows)


def _shortfall(shown: int) -> tuple[str, ...]:
    if shown == BANNER_SIZE:
        return ()
    return (FEW_ELIGIBLE if shown else NONE_ELIGIBLE,)
