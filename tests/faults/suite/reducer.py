"""What every banner must have earned, from the ledger alone: nothing of the ring's code is used."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

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


def expected(notes: Iterable[Note]) -> dict[str, list[Points]]:
    """Return what each answered banner may have earned, by its id; most of all, last.

    Accepted events count exactly once. Of those that were never answered any may count, so there is
    one possibility for each subset of them; refused ones and those that do not earn never count.
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
    possible = {}
    for banner_id, banner in banners.items():
        unsure = maybe[banner_id]
        subsets = (some for size in range(len(unsure) + 1) for some in combinations(unsure, size))
        possible[banner_id] = [
            points(banner.product_ids, [*sure[banner_id], *some]) for some in subsets
        ]
    return possible
