"""A shopper's response as the events that a storefront and its order service report."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.limits import ITEMS_PER_EVENT
from schemas.products import Product
from schemas.requests import EventIn, ItemIn, RecommendResponse
from simulator.world import Response, Visit


@dataclass(frozen=True, slots=True)
class Timed:
    """An event and its distance from the answer, in seconds of the shopper's own time."""

    after_seconds: float
    event: EventIn


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes the events of one run.

    Attributes:
        run_id: makes event and order ids of this run unlike those of any other.
        products: by product id, for the prices of an order.
        time_scale: wall seconds per second of the shopper's time.
    """

    run_id: str
    products: Mapping[str, Product]
    time_scale: float

    def events(
        self,
        visit: Visit,
        answer: RecommendResponse | None,
        response: Response,
        *,
        answered_at_ms: int,
        names_the_banner: bool,
    ) -> Iterator[Timed]:
        """Yield clicks, then the order.

        Args:
            visit: whose response it is.
            answer: the banner; None: the service never answered, she buys all the same.
            response: what she did.
            answered_at_ms: when the answer came.
            names_the_banner: the order names its recommendation; else it carries the user alone.
        """
        banner = () if answer is None else tuple(each.product_id for each in answer.products)
        if answer is not None:
            for nth, position in enumerate(response.clicked, start=1):
                after = response.click_delay_seconds * nth * self.time_scale
                yield Timed(
                    after,
                    EventIn(
                        event_id=f"{self.run_id}-{visit.number}-click-{position}",
                        type="click",
                        occurred_at=_rfc3339(answered_at_ms, after),
                        recommendation_id=answer.recommendation_id,
                        attribution_token=answer.attribution_token,
                        user_id=visit.user_id,
                        product_id=banner[position],
                    ),
                )
        after = response.order_delay_seconds * self.time_scale
        order = response.order(banner)
        named = answer if names_the_banner else None
        if named is None and visit.user_id is None:
            return  # an order service that knows neither has nothing to report
        for part, start in enumerate(range(0, len(order), ITEMS_PER_EVENT)):
            yield Timed(
                after,
                EventIn(
                    event_id=f"{self.run_id}-{visit.number}-order-{part}",
                    type="purchase",
                    occurred_at=_rfc3339(answered_at_ms, after),
                    recommendation_id=None if named is None else named.recommendation_id,
                    attribution_token=None if named is None else named.attribution_token,
                    user_id=visit.user_id,
                    order_id=f"{self.run_id}-{visit.number}",
                    items=tuple(
                        ItemIn(
                            product_id=product_id,
                            quantity=1,
                            price_cents=self.products[product_id].price_cents,
                        )
                        for product_id in order[start : start + ITEMS_PER_EVENT]
                    ),
                ),
            )


def _rfc3339(answered_at_ms: int, after_seconds: float) -> str:
    at = datetime.fromtimestamp(answered_at_ms / 1000 + after_seconds, UTC)
    return at.isoformat(timespec="milliseconds")


def is_chosen(run_id: str, number: int, what: str, share: float) -> bool:
    """Return True for `share` of the numbers, always for the same ones of a run.

    Example:
        >>> sum(is_chosen("r", number, "duplicate", 0.25) for number in range(1000))
        257
    """
    digest = hashlib.blake2b(f"{run_id}/{what}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
