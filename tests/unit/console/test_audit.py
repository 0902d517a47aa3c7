"""Every logged impression is rewarded exactly once, or the audit says so."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.audit import Audit, AuditSettings, Counts, audit
from schemas.events import Click, Impression, Tick
from streams.local import LocalLog
from streams.port import Record

SETTINGS = AuditSettings(settlement_seconds=5)


def tick(at_ms: int) -> Tick:
    return Tick(event_id="t", occurred_at_ms=at_ms)


def impression(name: str, at_ms: int) -> Impression:
    return Impression(
        event_id="i", occurred_at_ms=at_ms, received_at_ms=at_ms, recommendation_id=name
    )


def counted(records: list[Record]) -> Counts:
    state = Audit(SETTINGS)
    for record in records:
        state.apply(record)
    return state.counts()


def test_a_banner_is_expected_only_once_its_settlement_time_has_passed(build: Any) -> None:
    name, now = build.id(), build.start_ms
    shown = build.record("events", build.recommended(name), at_ms=now)
    at_five = build.record("events", tick(now), at_ms=now + 5000)
    after_five = build.record("events", tick(now), at_ms=now + 5001)

    assert counted([shown, at_five]) == Counts(expected=0)
    assert counted([shown, at_five, after_five]) == Counts(expected=1, waiting=1)


def test_a_banner_without_a_reward_is_lost_once_the_aggregator_has_passed_it(build: Any) -> None:
    first, later, now = build.id(1), build.id(2), build.start_ms
    records = [
        build.record("events", build.recommended(first), at_ms=now),
        build.record("events", build.recommended(later), at_ms=now + 1000),
        build.record("events", tick(now), at_ms=now + 9000),
    ]

    def settled(at_ms: int) -> Record:
        reward = msgspec.structs.replace(build.reward(later), settled_at_ms=at_ms)
        return build.record("rewards", reward, at_ms=now + 9500)

    assert counted(records) == Counts(expected=2, waiting=2)
    assert counted([*records, settled(now + 5000)]) == Counts(expected=2, waiting=1)
    assert counted([*records, settled(now + 6000)]) == Counts(expected=2, lost=1)


def test_a_late_reward_takes_the_loss_back(build: Any) -> None:
    name, now = build.id(), build.start_ms

    counts = counted(
        [
            build.record("events", build.recommended(name), at_ms=now),
            build.record("events", tick(now), at_ms=now + 9000),
            build.record("rewards", build.reward(name), at_ms=now + 9500),
        ]
    )

    assert counts == Counts(expected=1)


def test_a_second_settlement_is_doubled_and_a_correction_is_not(build: Any) -> None:
    once, twice, now = build.id(1), build.id(2), build.start_ms

    counts = counted(
        [
            *(build.record("events", build.recommended(name), at_ms=now) for name in (once, twice)),
            build.record("rewards", build.reward(once), at_ms=now),
            build.record("rewards", build.reward(once, revision=1), at_ms=now),
            *(build.record("rewards", build.reward(twice), at_ms=now) for _ in range(3)),
        ]
    )

    assert counts == Counts(expected=2, doubled=1)


@pytest.mark.parametrize(
    "confirmation",
    [
        impression,
        lambda name, at: Click(
            event_id="c",
            occurred_at_ms=at,
            received_at_ms=at,
            recommendation_id=name,
            product_id="p0",
        ),
    ],
)
def test_a_deferred_banner_is_expected_once_it_is_confirmed(
    build: Any, confirmation: Callable[[str, int], msgspec.Struct]
) -> None:
    name, now = build.id(), build.start_ms
    shown = build.record("events", build.recommended(name, deferred=True), at_ms=now)
    seen = build.record("events", confirmation(name, now), at_ms=now + 60_000)
    later = build.record("events", tick(now), at_ms=now + 90_000)

    assert counted([shown, later]) == Counts()
    assert counted([shown, seen, later]) == Counts(expected=1, waiting=1)


@pytest.mark.parametrize(
    "said",
    [
        {"product_id": "p9"},  # not on the banner
        {"user_key": b"somebody"},  # another shopper
        {"recommendation_id": "forged-0011223344556677"},
    ],
)
def test_a_deferred_banner_is_not_confirmed_by_those_who_may_not_speak_of_it(
    build: Any, said: dict[str, Any]
) -> None:
    name, now = build.id(), build.start_ms
    values = {"recommendation_id": name, "product_id": "p0"} | said
    click = Click(event_id="c", occurred_at_ms=now, received_at_ms=now, **values)

    counts = counted(
        [
            build.record(
                "events", build.recommended(name, deferred=True, user_key=build.key), at_ms=now
            ),
            build.record("events", click, at_ms=now),
            build.record("events", tick(now), at_ms=now + 90_000),
        ]
    )

    assert counts == Counts()


def test_a_confirmation_after_the_horizon_comes_too_late(build: Any) -> None:
    name, now = build.id(), build.start_ms
    late = now + 1000 * SETTINGS.horizon_seconds

    counts = counted(
        [
            build.record("events", build.recommended(name, deferred=True), at_ms=now),
            build.record("events", impression(name, late), at_ms=late),
            build.record("events", tick(late), at_ms=late + 90_000),
        ]
    )

    assert counts == Counts()


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_order_and_repetition_inside_the_horizon_change_nothing(
    order: list[int], repeated: list[int]
) -> None:
    from schemas.codec import encode
    from streams.port import Partition

    build = _Plain()
    now = build.now
    messages = [
        ("events", build.recommended("a-01")),
        ("events", build.recommended("b-01", deferred=True)),
        ("events", build.recommended("c-01")),
        ("events", impression("b-01", now)),
        ("rewards", build.reward("a-01")),
        ("rewards", build.reward("b-01")),
    ]
    # a repeated reward is a doubled one, which is the test above
    places = order + [place for place in repeated if messages[place][0] == "events"]
    records = [
        Record(Partition(messages[p][0], 0), n, now, b"\x01", encode(messages[p][1]))
        for n, p in enumerate(places)
    ]
    last = Record(Partition("events", 0), 99, now + 6000, None, encode(tick(now)))

    assert counted([*records, last]) == Counts(expected=3, waiting=1)


class _Plain:
    """The builders, without a fixture: Hypothesis wants none made per test."""

    now = 1_700_000_000_000

    def recommended(self, name: str, *, deferred: bool = False) -> msgspec.Struct:
        from schemas.events import Recommended

        return Recommended(
            event_id=name,
            occurred_at_ms=self.now,
            recommendation_id=name,
            unit=name,
            arm="policy",
            source="policy",
            deferred=deferred,
            trainable=True,
            policy_version=1,
            catalogue_version=1,
            product_ids=(),
            rows=(),
            log_probs=(),
        )

    def reward(self, name: str) -> msgspec.Struct:
        from schemas.rewards import Reward

        return Reward(
            recommendation_id=name,
            revision=0,
            settled_at_ms=self.now,
            specification="1",
            unit=name,
            arm="policy",
            source="policy",
            trainable=True,
            points=(),
            delta=(),
            policy_version=1,
            catalogue_version=1,
            viewed_row=-1,
            history=b"",
            candidates=b"",
            rows=(),
            log_probs=(),
        )


def test_what_cannot_be_read_is_left_to_the_dead_letters(build: Any) -> None:
    records = [build.record(topic, b"{", at_ms=build.start_ms) for topic in ("events", "rewards")]

    assert counted(records) == Counts()


def test_the_audit_of_a_log_reads_both_topics_over_every_partition(
    build: Any, log: LocalLog, clock: Any, append: Callable[..., None]
) -> None:
    names = [build.id(number) for number in range(4)]
    for number, name in enumerate(names):
        append("events", build.recommended(name), key=bytes([number]) * 8)
    for name in names[:3]:
        append("rewards", build.reward(name))
    append("rewards", build.reward(names[0]))
    clock.pass_seconds(6)
    for number in range(4):
        append("events", tick(clock()), key=bytes([number]) * 8)

    assert audit(log, SETTINGS) == Counts(expected=4, waiting=1, doubled=1)


def test_an_empty_log_expects_nothing(log: LocalLog) -> None:
    assert audit(log, SETTINGS) == Counts()


def test_one_topic_read_days_ahead_of_the_other_loses_nothing(build: Any) -> None:
    day_ms = 86_400_000
    state = Audit(AuditSettings(horizon_seconds=60))
    days = [build.start_ms + number * day_ms for number in range(8)]
    names = [build.id(number, at_ms=at_ms) for number, at_ms in enumerate(days)]
    shown = [
        build.record("events", build.recommended(name), at_ms=at_ms)
        for name, at_ms in zip(names, days, strict=True)
    ]

    for name, at_ms in zip(names[:4], days[:4], strict=True):
        state.rewarded(build.reward(name), at_ms + 5000)
    for record in shown:
        state.apply(record)
    for name, at_ms in zip(names[4:], days[4:], strict=True):
        state.rewarded(build.reward(name), at_ms + 5000)

    assert state.counts() == Counts(expected=8, lost=0)
