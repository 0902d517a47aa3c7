"""What the log keeps of a recommendation: everything that every probability is given."""

import msgspec

from policy.serving import Question
from projections.catalogue import Catalogue
from schemas import identity
from schemas.codec import encode
from schemas.events import Recommended
from schemas.requests import RecommendRequest
from service.arms import Assignment
from service.choice import Choice
from streams.port import Message


class Issue(msgspec.Struct, frozen=True):
    """The identity of one recommendation.

    Attributes:
        now_ms: the service's time, milliseconds since 1970.
        user_key: the shopper's pseudonym; None: anonymous.
        key: the routing key, the shopper's or the recommendation's own.
        ulid: of the recommendation.
        assignment: arm and unit of evidence.
    """

    now_ms: int
    user_key: bytes | None
    key: bytes
    ulid: str
    assignment: Assignment


class Banner(msgspec.Struct, frozen=True):
    """What is shown.

    Attributes:
        rows: (K,) in display order.
        log_probs: (K,) natural logarithms; None: not drawn.
        reason: what the answer had to do without.
    """

    rows: tuple[int, ...]
    log_probs: tuple[float | None, ...]
    reason: str | None


class Drawn(msgspec.Struct, frozen=True):
    """A recommendation on its way to the log; encoding it is left to the appender's thread."""

    fact: Recommended
    key: bytes

    def message(self) -> Message:
        """Return the message of topic `events`."""
        return Message(self.key, encode(self.fact))


def recorded(
    request: RecommendRequest,
    issue: Issue,
    catalogue: Catalogue,
    question: Question,
    choice: Choice,
    banner: Banner,
) -> Recommended:
    """Return the fact.

    Trainable are banners with a position that the live policy drew, unless `learn` is false.
    """
    recommendation_id = identity.recommendation_id(issue.ulid, issue.key)
    products = catalogue.products
    return Recommended(
        event_id=recommendation_id,
        occurred_at_ms=issue.now_ms,
        recommendation_id=recommendation_id,
        user_key=issue.user_key,
        unit=issue.assignment.unit,
        placement=request.placement,
        arm=issue.assignment.arm,
        source=choice.source,
        reason=banner.reason,
        deferred=bool(request.deferred),
        trainable=request.learn is not False and choice.was_drawn,
        policy_version=choice.version,
        catalogue_version=catalogue.version,
        viewed_row=question.viewed_row,
        history=question.history,
        candidates=choice.candidates,
        product_ids=tuple([products[row].product_id for row in banner.rows]),
        rows=banner.rows,
        log_probs=banner.log_probs,
    )
