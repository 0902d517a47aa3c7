"""The ring's pure parts around one simulated shop: it draws banners and takes what is reported."""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np

from evaluation.shop import Shop
from policy.serving import UNIFORMS, ServingPolicy
from rewards.settlement import PartitionRewards
from schemas import identity
from schemas.codec import decode_event
from schemas.events import Recommended
from schemas.limits import BANNER_SIZE
from schemas.requests import EventIn
from schemas.rewards import Reward
from service.intake import Intake
from service.judgement import Caller, judged
from service.limits import BrowserLimits, BrowserRules
from service.tokens import Tokens
from simulator.world import Visit
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

SECRET = b"a secret of the attacked shop"
BROWSER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"


@dataclass(frozen=True)
class Banner:
    """One answer, as its asker has it."""

    recommendation_id: str
    token: str
    product_ids: tuple[str, ...]


class Ring:
    """The ring's pure parts around one shop."""

    def __init__(self, shop: Shop, weights: Any, *, seed: int, defended: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.shop, self.defended = shop, defended
        self._learner = Learner(weights, weights, shop.features, LearnerSettings(device="cpu"))
        self._rewards = PartitionRewards(shop.specification)
        window = int(shop.specification.attribution_window_seconds)
        self._tokens = Tokens([SECRET], window_seconds=window)
        self._intake, self._rules = Intake(SECRET, self._tokens), BrowserRules(BrowserLimits())
        self._ids = np.random.default_rng((seed, 7))
        self._settled: list[Reward] = []
        self._versions = count(1)
        self._waiting: list[tuple[int, int, Callable[[int], None]]] = []
        self._numbers = count()
        self._swap()

    def _swap(self) -> None:
        self._version = next(self._versions)
        self._policy = ServingPolicy.compile(
            self._learner.weights(), self.shop.features, version=self._version
        )

    def recommend(
        self, visit: Visit, now_ms: int, *, rng: np.random.Generator, history: bytes = b"",
        excluded: Sequence[int] = (), deferred: bool = False,
    ) -> Banner:  # fmt: skip
        """Draw a banner, as the service does, and let the log have it."""
        viewed = visit.viewed_product_id
        viewed_row = -1 if viewed is None else self.shop.row_of[viewed]
        not_shown = sorted({*excluded, *([] if viewed is None else [viewed_row])})
        drawn = self._policy.draw(
            viewed_row=viewed_row,
            history=history,
            eligible=np.ones(len(self.shop.product_ids), np.uint8),
            excluded=np.array(not_shown, np.int32),
            size=BANNER_SIZE,
            uniforms=rng.random(UNIFORMS),
        )
        ulid = identity.ulid(now_ms, self._ids.bytes(10))
        user_key = identity.user_key(SECRET, visit.user_id) if visit.user_id else None
        key = user_key or identity.anonymous_key(SECRET, ulid)
        named = identity.recommendation_id(ulid, key)
        product_ids = tuple(self.shop.product_ids[row] for row in drawn.rows.tolist())
        fact = Recommended(
            event_id=named, occurred_at_ms=now_ms, recommendation_id=named, user_key=user_key,
            unit=named, arm="policy", source="policy", deferred=deferred, trainable=True,
            policy_version=self._version, catalogue_version=0, viewed_row=viewed_row,
            history=history, candidates=drawn.packed_candidates, product_ids=product_ids,
            rows=tuple(drawn.rows.tolist()), log_probs=tuple(drawn.log_probs.tolist()),
        )  # fmt: skip
        self._take(self._rewards.apply(key, fact, now_ms)[1])
        return Banner(named, self._tokens.issue(named, product_ids, now_ms), product_ids)

    def later(self, at_ms: int, do: Callable[[int], None]) -> None:
        """Do something when its time has come; it is given the time."""
        heapq.heappush(self._waiting, (at_ms, next(self._numbers), do))

    def reach(self, now_ms: int) -> None:
        """Let everything happen that is due, and settle what is due."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            at_ms, _, do = heapq.heappop(self._waiting)
            self._take(self._rewards.advance(at_ms))
            do(at_ms)
        self._take(self._rewards.advance(now_ms))

    def report(
        self, now_ms: int, *, trusted: bool, address: str, attacker: bool, **fields: Any
    ) -> None:
        """Report an event, as `POST /events` takes it."""
        at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
        if attacker and not self.defended:
            trusted = True
            fields["attribution_token"] = None  # from an order service it may be missing
        event = EventIn(event_id=f"event-{next(self._numbers)}", occurred_at=at, **fields)
        verdict = judged(
            event, Caller(trusted, address, BROWSER_AGENT), intake=self._intake, rules=self._rules,
            rows=self.shop.row_of, now_ms=now_ms,
        )  # fmt: skip
        if attacker:
            self.outcomes[verdict.outcome] += 1
        for message in verdict.messages:
            assert message.key is not None
            assert message.value is not None
            self._take(self._rewards.apply(message.key, decode_event(message.value), now_ms)[1])

    def _take(self, settled: Sequence[Any]) -> None:
        for _, reward in settled:
            self._settled.append(reward)
            if len(self._settled) >= self._learner.wanted:
                self._learner.update(self._settled)
                self._settled = []
                self._swap()
