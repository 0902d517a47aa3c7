"""From a request to a recommendation: context, eligible products, arm, draw, record, answer.

Requests that arrive together are answered together, and all of them from one reading of the serving
state: everything an answer says comes from one snapshot.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from policy.serving import UNIFORMS, Question
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
from service.choice import Choice, choose_all
from service.context import known_rows, with_recent
from service.errors import ShopperLeft
from service.gathering import Gathering, attempt
from service.metrics import Metrics
from service.pins import Pinned
from service.record import Banner, Drawn, Issue, recorded
from service.shopper import ANONYMOUS, Shopper, shopper_of
from service.tokens import Tokens

LOG_UNAVAILABLE: Final = "log_unavailable"
"""The banner was answered, but may never be rewarded."""
FEW_ELIGIBLE: Final = "fewer_than_five_eligible"
NONE_ELIGIBLE: Final = "none_eligible"


class Visit(NamedTuple):
    """A request, and whether nobody waits for its answer any more."""

    request: RecommendRequest
    has_left: Callable[[], bool]


class Asked(msgspec.Struct, frozen=True):
    """One request, ready for the policy.

    Attributes:
        request: as it came.
        shopper: who asks.
        pinned: rows of the pinned positions.
        question: what the policy is asked.
        issue: identity of the recommendation.
    """

    request: RecommendRequest
    shopper: Shopper
    pinned: Pinned
    question: Question
    issue: Issue


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
        self._gathering = Gathering(self.answer_all)

    async def recommend(self, request: RecommendRequest, has_left: Callable[[], bool]) -> bytes:
        """Return the JSON of the answer.

        Args:
            request: from a shopper.
            has_left: tells whether she has left: then nothing is drawn, and nothing recorded that
                would count as a banner nobody liked.

        Raises:
            PinRefused: a pin is unknown, unavailable or clashes with another.
            ShopperLeft: she has left.
        """
        return await self._gathering.ask(Visit(request, has_left))

    async def answer_all(self, visits: Sequence[Visit]) -> list[bytes | Exception]:
        """Return the answers to some requests, step by step over all of them.

        Where one cannot be answered its exception stands in its place, as `recommend` raises it.
        """
        shoppers = await self._shoppers([visit.request.user_id for visit in visits])
        state = self._behaviour.state  # read once, after the only wait
        asked = [
            attempt(self._asked, visit, shopper, state.catalogue)
            for visit, shopper in zip(visits, shoppers, strict=True)
        ]
        accepted = [one for one in asked if isinstance(one, Asked)]
        choices = choose_all(
            state,
            [(one.issue.assignment.arm, one.question) for one in accepted],
            uniforms=self._uniforms,
            failed=self._metrics.draw_failures.inc,
        )
        answers = iter([
            attempt(self._answered, one, choice, state.catalogue)
            for one, choice in zip(accepted, choices, strict=True)
        ])  # fmt: skip
        return [next(answers) if isinstance(one, Asked) else one for one in asked]

    async def _shoppers(self, user_ids: Sequence[str | None]) -> list[Shopper]:
        """Return who asks: pseudonym, packed history, and what is to be said about it."""
        keys = [None if one is None else identity.user_key(self._secret, one) for one in user_ids]
        known = [key for key in keys if key is not None]
        found: Sequence[bytes | HistoryUnavailable | None] = ()
        if known:
            try:
                found = await self._histories.read_many(known)
            except HistoryUnavailable as problem:
                found = [problem] * len(known)
        histories = iter(found)
        return [ANONYMOUS if key is None else shopper_of(key, next(histories)) for key in keys]

    def _asked(self, visit: Visit, shopper: Shopper, catalogue: Catalogue) -> Asked:
        if visit.has_left():
            raise ShopperLeft("nobody waits for the answer")
        request = visit.request
        pinned = pins.pinned_rows(request.pinned or (), catalogue.row_of, catalogue.available)
        question = self._question(request, catalogue, shopper.history, pinned)
        return Asked(request, shopper, pinned, question, self._issue(shopper.key))

    def _answered(self, asked: Asked, choice: Choice, catalogue: Catalogue) -> bytes:
        """Record the recommendation and return the JSON of its answer."""
        issue = asked.issue
        rows, log_probs = pins.merge(asked.pinned, choice.rows, choice.log_probs)
        reasons = asked.shopper.reasons + choice.reasons + _shortfall(len(rows))
        if not self._appender.takes():
            reasons += (LOG_UNAVAILABLE,)
        banner = Banner(rows, log_probs, ", ".join(reasons) or None)
        fact = recorded(asked.request, issue, catalogue, asked.question, choice, banner)
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
        left_out = np.array(list(dict.fromkeys(excluded)), np.int32)
        return Question(
            viewed_row,
            history,
            catalogue.eligible(request.filter),
            left_out,
            BANNER_SIZE - len(pinned),
        )

    def _uniforms(self, draws: int) -> npt.NDArray[np.float64]:
        return self._rng.random((draws, UNIFORMS))

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
