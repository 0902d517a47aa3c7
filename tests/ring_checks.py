"""What a finished ring's log must say, computed a second time, plainly, from its records."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from evidence.lift import lift
from evidence.sums import ArmSums
from policy import reference
from policy.context import Context
from policy.registry import Registry
from projections.catalogue import catalogue_at
from schemas import candidates, history
from schemas.codec import decode_announcement, decode_event, decode_reward
from schemas.events import Click, Event, Purchase, Recommended
from schemas.policies import Announcement
from schemas.rewards import Reward
from streams.port import Log, Record
from tests.rings import records_of

CLICK, FIRST_BUY, FURTHER_BUY = 0.1, 1.0, 1.5


@dataclass(frozen=True)
class Told:
    """Everything a log holds, decoded, in the order of each partition."""

    events: Sequence[tuple[Record, Event]]
    rewards: Sequence[Reward]
    announcements: Sequence[Announcement]

    @property
    def banners(self) -> dict[str, Recommended]:
        """Every logged banner by its id; one that stands in the log twice is a fault."""
        found = [event for _, event in self.events if isinstance(event, Recommended)]
        by_id = {event.recommendation_id: event for event in found}
        assert len(by_id) == len(found)
        return by_id

    def reported(self) -> list[tuple[Record, Click | Purchase]]:
        """Return the clicks and orders of live shoppers."""
        return [
            (record, event)
            for record, event in self.events
            if isinstance(event, Click | Purchase) and event.source != "import"
        ]


def read(log: Log) -> Told:
    """Read a whole log."""
    return Told(
        [(record, decode_event(record.value)) for record in records_of(log, "events")],
        [decode_reward(record.value) for record in records_of(log, "rewards")],
        [decode_announcement(record.value) for record in records_of(log, "policies")],
    )


def revisions(told: Told) -> dict[str, list[Reward]]:
    """Return the rewards of each banner in their order in the log."""
    found: dict[str, list[Reward]] = defaultdict(list)
    for reward in told.rewards:
        found[reward.recommendation_id].append(reward)
    return found


def check_every_impression_is_rewarded_once(told: Told) -> None:
    """Each banner settles once, corrections count up, and their differences lead to the points."""
    rewarded = revisions(told)
    assert set(rewarded) == set(told.banners)
    for recommendation_id, rewards in rewarded.items():
        numbers = [reward.revision for reward in rewards]
        assert numbers == list(range(len(rewards))), recommendation_id
        summed = [math.fsum(parts) for parts in zip(*(r.delta for r in rewards), strict=True)]
        assert summed == pytest.approx(list(rewards[-1].points), abs=1e-9), recommendation_id


def check_rewards_are_what_the_events_earned(told: Told, *, window_seconds: float) -> None:
    """The points of every banner follow from its shopper's clicks and orders in time."""
    expected = expected_points(told, window_ms=round(1000 * window_seconds))
    last = {each: list(rewards[-1].points) for each, rewards in revisions(told).items()}
    wrong = {each: (last.get(each), points) for each, points in expected.items()
             if last.get(each) != pytest.approx(points, abs=1e-9)}  # fmt: skip
    assert not wrong, f"{len(wrong)} of {len(expected)}, such as {list(wrong.items())[:3]}"


def expected_points(told: Told, *, window_ms: int) -> dict[str, list[float]]:
    """Return the points of each banner by the rules of attribution; none here is deferred.

    A line goes to the banner it names when that showed the product, else to the latest banner
    before it, of the same routing key, that did; a banner earns within its window alone.
    """
    shown: dict[bytes, list[tuple[int, Recommended]]] = defaultdict(list)
    for record, event in told.events:
        if isinstance(event, Recommended):
            at_ms = min(event.occurred_at_ms, record.appended_at_ms)
            shown[record.key or b""].append((at_ms, event))
    seen_ms = {b.recommendation_id: ms for banners in shown.values() for ms, b in banners}
    clicks = {
        (str(event.recommendation_id), event.product_id)
        for record, event in told.reported()
        if isinstance(event, Click)
        and record.appended_at_ms <= seen_ms.get(str(event.recommendation_id), 0) + window_ms
    }
    bought_of: dict[str, set[str]] = defaultdict(set)
    for (key, _, product_id), (at_ms, named) in _lines(told).items():
        able = [
            (ms, b) for ms, b in shown[key]
            if product_id in b.product_ids and at_ms <= ms + window_ms
        ]  # fmt: skip
        by_name = [b for _, b in able if b.recommendation_id == named]
        before = [(ms, b.recommendation_id) for ms, b in able if ms <= at_ms]
        if by_name:
            bought_of[by_name[0].recommendation_id].add(product_id)
        elif before:
            bought_of[max(before)[1]].add(product_id)
    return {each: _points(banner, clicks, bought_of[each]) for each, banner in told.banners.items()}


def _lines(told: Told) -> dict[tuple[bytes, str, str], tuple[int, str | None]]:
    """Return when each (routing key, order, product) was first bought, and the banner it names."""
    lines: dict[tuple[bytes, str, str], tuple[int, str | None]] = {}
    for record, event in told.reported():
        if isinstance(event, Purchase):
            for line in event.lines:
                bought = (record.key or b"", event.order_id or event.event_id, line.product_id)
                lines.setdefault(bought, (record.appended_at_ms, event.recommendation_id))
    return lines


def _points(banner: Recommended, clicks: set[tuple[str, str]], bought: set[str]) -> list[float]:
    share = (FIRST_BUY + FURTHER_BUY * (len(bought) - 1)) / len(bought) if bought else 0.0
    clicked = [(banner.recommendation_id, shown) in clicks for shown in banner.product_ids]
    return [
        CLICK * was_clicked + share * (product_id in bought)
        for was_clicked, product_id in zip(clicked, banner.product_ids, strict=True)
    ]


def check_accepted_events_are_in_the_log(told: Told, traffic: Iterable[dict[str, Any]]) -> None:
    """What was answered 202 stands in the log, and nothing else was reported."""
    traffic = list(traffic)
    outcomes: Counter[str] = sum((Counter(run["outcomes"]) for run in traffic), Counter())
    assert set(outcomes) == {"accepted"}
    assert all(run["pending"] == 0 and run["failed"] == 0 for run in traffic)
    assert len({event.event_id for _, event in told.reported()}) == outcomes["accepted"]


def check_the_report_says_what_the_topics_say(told: Told, report: dict[str, Any]) -> None:
    """Arms, lift and versions of the report follow from `rewards` and `policies`."""
    last = [rewards[-1] for rewards in revisions(told).values()]
    sums = {}
    for arm in ("policy", "control"):
        of_arm = [reward for reward in last if reward.arm == arm]
        assert report["arms"][arm]["banners"] == len(of_arm) > 0
        earned = math.fsum(reward.reward for reward in of_arm)
        assert report["arms"][arm]["reward"] == pytest.approx(earned, abs=1e-6)
        assert report["arms"][arm]["reward_per_banner"] == pytest.approx(earned / len(of_arm))
        units: dict[str, list[float]] = defaultdict(list)
        for reward in of_arm:
            units[reward.unit].append(reward.reward)
        sums[arm] = ArmSums()
        for rewards in units.values():
            sums[arm] = sums[arm].moved(len(rewards), math.fsum(rewards))
    found = lift(sums["policy"], sums["control"])
    for name, value in (("estimate", found.estimate), ("low", found.low), ("high", found.high)):
        assert report["lift"][name] == pytest.approx(value, abs=1e-9), name
    served = [each.version for each in told.announcements if each.kind == "served"]
    assert report["policy_version"] in served
    # While the ring ends it may still serve what it learned last, after the report was taken.
    until = len(served) - served[::-1].index(report["policy_version"])
    assert report["versions_served"] == len(set(served[:until]))
    assert all(version > report["policy_version"] for version in served[until:])
    assert report["duplicates"] == report["unreadable"] == 0


def check_log_probs(told: Told, log: Log, registry: Registry, *, tolerance: float = 1e-4) -> int:
    """Recompute every drawn position in float64; return how many banners were drawn."""
    compiled: dict[tuple[int, int], tuple[Any, ...]] = {}
    drawn = [banner for banner in told.banners.values() if any(banner.log_probs)]
    worst, banner_of_worst = 0.0, ""
    for banner in drawn:
        at = (banner.policy_version, banner.catalogue_version)
        if at not in compiled:
            weights = registry.load(banner.policy_version).weights
            features = catalogue_at(log, banner.catalogue_version).features
            compiled[at] = (weights, reference.compile_products(weights, features), features)
        past = history.unpack(banner.history) if banner.history else history.EMPTY
        scores = reference.scores(*compiled[at], Context(banner.viewed_row, past))
        rows = candidates.unpack(banner.candidates)
        recorded = [log_prob for log_prob in banner.log_probs if log_prob is not None]
        shown = [r for r, p in zip(banner.rows, banner.log_probs, strict=True) if p is not None]
        places = np.searchsorted(rows, shown)
        assert rows[places].tolist() == shown
        weights, _, features = compiled[at]
        lifts = reference.pair_lifts(weights, features, rows, places)
        expected = reference.position_log_prob(scores[rows], places, lifts)
        error = float(np.abs(expected - np.array(recorded)).max())
        if error > worst:
            worst, banner_of_worst = error, banner.recommendation_id
    assert worst <= tolerance, f"{banner_of_worst} is off by {worst}"
    return len(drawn)
