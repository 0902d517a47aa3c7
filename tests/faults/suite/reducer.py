"""What every banner must have earned, from the ledger alone: nothing of the ring's code is used."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations

import msgspec

from tests.faults.suite.ledger import BannerNoted, Note, OutcomeNoted, Sending

CLICK, FIRST_BUY, FURTHER_BUY = 0.1, 1.0, 1.5
Points = tuple[float, ...]


def points(product_ids: Sequence[str], events: Iterable[Sending]) -> Points:
    """Return the points of each position of a banner after these events, in whatever order.

    Example:
        >>> bought = Sending(event_id="e", about="r", type="purchase", product_ids=("a", "c"))
        >>> points(("a", "b", "c"), [bought])
        (1.25, 0.0, 1.25)
    """
    clicked: set[str] = set()
    bought: set[str] = set()
    for event in events:
        (bought if event.type == "purchase" else clicked).update(event.product_ids)
    bought &= set(product_ids)
    share = (FIRST_BUY + FURTHER_BUY * (len(bought) - 1)) / len(bought) if bought else 0.0
    return tuple(
        round(CLICK * (product in clicked) + share * (product in bought), 9)
        for product in product_ids
    )


def expected(
    notes: Iterable[Note], *, lost: Collection[str] = frozenset()
) -> dict[str, list[Points]]:
    """Return what each answered banner may have earned, by its id; most of all, last.

    Accepted events count exactly once. Of those that were never answered any may count, so there is
    one possibility for each subset of them; refused ones and those that do not earn never count.

    Args:
        notes: of the ledger.
        lost: banners that a killed server took along. What was bought of one may count for another
            banner of its shopper that showed the product.
    """
    banners: dict[str, BannerNoted] = {}
    first: dict[str, Sending] = {}
    outcomes: dict[str, str] = {}
    for note in notes:
        if isinstance(note, BannerNoted):
            banners[note.recommendation_id] = note
        elif isinstance(note, OutcomeNoted):
            outcomes[note.event_id] = min(note.outcome, outcomes.get(note.event_id, note.outcome))
        elif note.earns:
            first.setdefault(note.event_id, note)
    sure: dict[str, list[Sending]] = defaultdict(list)
    maybe: dict[str, list[Sending]] = defaultdict(list)
    for event_id, event in first.items():
        if outcomes.get(event_id) in {None, "accepted"}:
            (sure if event_id in outcomes else maybe)[event.about].append(event)
    strays = _strays(banners, lost, sure, maybe)
    possible = {}
    for banner_id, banner in banners.items():
        unsure = [*maybe[banner_id], *strays.get(banner_id, ())]
        subsets = (some for size in range(len(unsure) + 1) for some in combinations(unsure, size))
        possible[banner_id] = [
            points(banner.product_ids, [*sure[banner_id], *some]) for some in subsets
        ]
    return possible


def _strays(
    banners: Mapping[str, BannerNoted], lost: Collection[str], *known: Mapping[str, list[Sending]]
) -> dict[str, list[Sending]]:
    """Return by banner what its shopper bought of banners that are lost, a product each."""
    found: dict[str, dict[str, Sending]] = defaultdict(dict)
    for gone in lost:
        bought = [
            (event, product)
            for events in known
            for event in events.get(gone, ())
            if event.type == "purchase"
            for product in event.product_ids
        ]
        for banner_id, banner in banners.items():
            if bought and banner_id not in lost and banner.user_id == banners[gone].user_id:
                for event, product in bought:
                    if product in banner.product_ids:
                        only = msgspec.structs.replace(event, product_ids=(product,))
                        found[banner_id][product] = only
    return {banner_id: list(strays.values()) for banner_id, strays in found.items()}
