"""Which banner earned what: pure functions of a ledger's sets.

impression  a banner counts as seen at its stamp or, when deferred, at whatever confirms it
    first: an impression event, or a click or purchase of something it showed that names it.
credit      a line belongs to the banner it names if that showed the product, else to the latest
    impression not later than the line that did; either way inside that banner's window.
reward      clicks and ratings inside the window, lines credited and not refunded.
"""

from collections.abc import Iterable
from typing import NamedTuple

from rewards.ledger import NEVER, SEEN, Ledger, Life, Line, LineKey, Rating
from rewards.specification import RatedPosition, RewardSpecification


class Earned(NamedTuple):
    """What a banner earned.

    Attributes:
        points: (K,) points of each position.
        clicked: clicked positions, ascending.
        bought: bought positions, ascending, refunds taken off.
    """

    points: tuple[float, ...]
    clicked: tuple[int, ...]
    bought: tuple[int, ...]


def _confirmations(life: Life) -> Iterable[int]:
    for product_id, mark in (*life.marks.items(), *life.named.items()):
        if product_id == SEEN or product_id in life.product_ids:
            yield life.heard_ms(mark)


def impression(life: Life, specification: RewardSpecification) -> int:
    """Return when the banner became an impression, in ms; NEVER: it is none so far."""
    if life.stamp_ms == NEVER or not life.deferred:
        return life.stamp_ms
    until = life.stamp_ms + specification.horizon_ms
    return min((ms for ms in _confirmations(life) if ms < until), default=NEVER)


def _may_earn(life: Life, product_id: str, line: Line, window_ms: int) -> bool:
    return (
        product_id in life.product_ids
        and life.impression_ms != NEVER
        and line.ms <= life.impression_ms + window_ms
        and not (line.stranger and life.of_user)
    )


def credited(ledger: Ledger, key: LineKey, specification: RewardSpecification) -> str | None:
    """Return the recommendation that a bought line is credited to; None: nobody.

    A line whose banner is closed already stays with it, so that it is never credited twice.
    """
    line, product_id = ledger.lines[key], key[1]
    if line.owner is not None and line.owner not in ledger.lives:
        return line.owner
    window_ms = specification.window_ms
    named = ledger.lives.get(line.named) if line.named is not None else None
    if named is not None and _may_earn(named, product_id, line, window_ms):
        return line.named
    since = max(line.ms - window_ms, 0)
    latest = max(
        (
            (life.impression_ms, recommendation_id)
            for recommendation_id, life in ledger.lives.items()
            if since <= life.impression_ms <= line.ms
            and _may_earn(life, product_id, line, window_ms)
        ),
        default=None,
    )
    return latest[1] if latest is not None else None


def _clicked(life: Life, last_ms: int) -> tuple[int, ...]:
    if not life.marks:
        return ()
    heard = {
        product_id for product_id, mark in life.marks.items() if life.heard_ms(mark) <= last_ms
    }
    return tuple(place for place, shown in enumerate(life.product_ids) if shown in heard)


def _bought(ledger: Ledger, recommendation_id: str, life: Life, closes_ms: int) -> tuple[int, ...]:
    if not ledger.lines:
        return ()
    products = {
        key[1]
        for key, line in ledger.lines.items()
        if line.owner == recommendation_id and ledger.refunds.get(key, closes_ms) >= closes_ms
    }
    if not products:
        return ()
    return tuple(place for place, shown in enumerate(life.product_ids) if shown in products)


def _rated(life: Life, last_ms: int) -> list[RatedPosition]:
    """Return the latest rating of each source and product, inside the window."""
    latest: dict[tuple[str, str], tuple[int, str, Rating]] = {}
    for event_id, rating in life.ratings.items():
        if rating.ms > last_ms or (rating.stranger and life.of_user):
            continue
        if rating.product_id and rating.product_id not in life.product_ids:
            continue
        told = (rating.ms, event_id, rating)
        about = (rating.source, rating.product_id)
        if about not in latest or told[:2] > latest[about][:2]:
            latest[about] = told
    return [
        RatedPosition(
            rating.source,
            life.product_ids.index(rating.product_id) if rating.product_id else None,
            rating.value,
        )
        for _, _, rating in latest.values()
    ]


def earned(ledger: Ledger, recommendation_id: str, specification: RewardSpecification) -> Earned:
    """Return what an impression earned, given the credits of the ledger's lines."""
    life = ledger.lives[recommendation_id]
    size = len(life.product_ids)
    if not (life.marks or life.ratings or ledger.lines):
        return Earned((0.0,) * size, (), ())
    clicked = _clicked(life, life.impression_ms + specification.window_ms)
    bought = _bought(ledger, recommendation_id, life, life.impression_ms + specification.horizon_ms)
    ratings = _rated(life, life.impression_ms + specification.window_ms)
    if not (clicked or bought or ratings):
        return Earned((0.0,) * size, (), ())
    return Earned(specification.points(size, clicked, bought, ratings), clicked, bought)
