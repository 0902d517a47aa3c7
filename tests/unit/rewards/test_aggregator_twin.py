"""The aggregator over the log in memory, driven by a machine that crashes, repeats and reorders."""

from itertools import takewhile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rewards.aggregator import Aggregator, Pace
from rewards.specification import RewardSpecification
from schemas.codec import decode_event, decode_reward
from schemas.events import Recommended, Tick, UserErased
from tests.unit.rewards.reducer import expected_rewards

SPECIFICATION = RewardSpecification(attribution_window_seconds=40, lateness_seconds=20)
NO_TICKS = Pace(poll_seconds=0, silence_ms=1 << 60)
PACE = Pace(poll_seconds=0, poll_records=2, commit_records=3, commit_ms=50)
POINTS = st.sampled_from(["after_poll", "before_commit", "after_commit"])
ORDERS = st.sampled_from(["o1", "o2"])
PRODUCTS = st.sampled_from("abcd")


class Killed(BaseException):
    """Stands for `kill -9`."""


class Twin(RuleBasedStateMachine):
    shop = memory_log = standing_clock = None
    held_against = 0

    def __init__(self):
        super().__init__()
        self.clock = self.standing_clock()
        self.log = self.memory_log(self.clock)
        self.kill_at = None
        self.running = None
        self.banners = []
        self.sent = []
        self.held = []

    def _crash_point(self, here):
        if here == self.kill_at:
            self.kill_at = None
            raise Killed

    def _aggregator(self, log, pace):
        return Aggregator(
            log, SPECIFICATION, clock=self.clock, pace=pace, crash_point=self._crash_point
        )

    def _send(self, event, key, *, hold=False):
        self.sent.append((event, key))
        (self.held.append if hold else self._append)((event, key))

    def _append(self, told):
        self.log.append("events", [self.shop.message(*told)])

    def _key(self, first):
        return self.shop.KEY if first else self.shop.STRANGER

    @rule(
        deferred=st.booleans(),
        hold=st.booleans(),
        age=st.sampled_from([0, 0, 3_000]),
        first=st.booleans(),
    )
    def recommend(self, deferred, hold, age, first):
        stamp, key = self.clock() - age, self._key(first)
        rec = self.shop.rec(len(self.banners), at=stamp, key=key)
        products = ("a", "b", "c") if len(self.banners) % 3 else ("b", "d")
        banner = self.shop.recommended(
            rec=rec, at=stamp, deferred=deferred, products=products, key=key
        )
        self.banners.append((rec, key))
        self._send(banner, key, hold=hold)

    @rule(data=st.data(), product=PRODUCTS, hold=st.booleans())
    def click(self, data, product, hold):
        if self.banners:
            rec, key = data.draw(st.sampled_from(self.banners))
            self._send(self.shop.click(product, rec=rec, event_id=self._id()), key, hold=hold)

    @rule(data=st.data(), product=PRODUCTS, order=ORDERS, hold=st.booleans(), first=st.booleans())
    def purchase(self, data, product, order, hold, first):
        key, named = self._key(first), [rec for rec, key in self.banners if key == self._key(first)]
        bought = self.shop.purchase(
            product,
            rec=data.draw(st.none() | st.sampled_from(named)) if named else None,
            order_id=order,
            event_id=self._id(),
            user_key=key,
        )
        self._send(bought, key, hold=hold)

    @rule(product=PRODUCTS, order=ORDERS, first=st.booleans())
    def refund(self, product, order, first):
        key = self._key(first)
        refund = self.shop.refund(product, order_id=order, event_id=self._id(), user_key=key)
        self._send(refund, key)

    @rule(data=st.data())
    def impression(self, data):
        if self.banners:
            rec, key = data.draw(st.sampled_from(self.banners))
            self._send(self.shop.impression(rec=rec, event_id=self._id()), key)

    @rule(first=st.booleans())
    def erase(self, first):
        key = self._key(first)
        self._send(self.shop.erased(event_id=self._id(), key=key), key)

    def _id(self):
        return f"e{len(self.sent)}"

    @rule(data=st.data())
    def duplicate(self, data):
        if self.sent:
            self._append(data.draw(st.sampled_from(self.sent)))

    @rule(data=st.data())
    def reorder(self, data):
        for event in data.draw(st.permutations(self.held)):
            self._append(event)
        self.held.clear()

    @rule(ms=st.sampled_from([1, 500, 2_000, 5_000, 35_000, 61_000]))
    def time_passes(self, ms):
        self.clock.now += ms

    @invariant()
    def the_aggregator_steps_and_comes_back_when_killed(self):
        self.running = self.running or self._aggregator(self.log, PACE)
        try:
            self.running.step()
        except Killed:
            self.running = None

    @rule(kill_at=POINTS)
    def crash(self, kill_at):
        self.kill_at = kill_at

    @rule(fault=st.sampled_from(["before", "after"]))
    def a_commit_fails(self, fault):
        self.log.commit_fault = fault

    @rule()
    def another_takes_over(self):
        self.kill_at = None
        other = self._aggregator(self.log, PACE)
        other.step()
        if self.running:
            self.running.step()
        self.running = other

    def teardown(self):
        self.log.commit_fault = self.kill_at = None
        for event in self.held:
            self._append(event)
        survivor = self._aggregator(self.log, PACE)
        for _ in range(12):
            self.clock.now += 1_000
            while survivor.step():
                pass
        never_killed = self.memory_log(self.clock)
        events = [where for where in self.log.records if where.topic == "events"]
        never_killed.records |= {where: self.log.records[where] for where in events}
        whole = self._aggregator(never_killed, NO_TICKS)
        while whole.step() or whole.step():
            pass

        assert self.log.table() == never_killed.table()
        self._each_impression_was_rewarded_exactly_once()
        for key in (self.shop.KEY, self.shop.STRANGER):
            self._each_banner_has_what_its_events_earned(key)

    def _each_banner_has_what_its_events_earned(self, key):
        """Both twins may be wrong in the same way, so hold one against a plain reducer.

        It knows of no lateness, so a shopper who met it is passed over, and of no erasure: one who
        is erased keeps what was earned until then.
        """
        [events] = [there for where, there in self.log.records.items() if where.topic == "events"]
        told = [
            (event, record.appended_at_ms)
            for record in events
            if record.key == key and not isinstance(event := decode_event(record.value), Tick)
        ]
        before = list(takewhile(lambda each: not isinstance(each[0], UserErased), told))
        earliest = min((min(event.occurred_at_ms, ms) for event, ms in before), default=0)
        if not before or before[-1][1] - earliest >= SPECIFICATION.horizon_ms:
            return
        got, of_key = {}, [value for at, value in self.log.table() if at == key]
        for reward in map(decode_reward, of_key):
            points = got.get(reward.recommendation_id, (0.0,) * len(reward.points))
            summed = [sum(parts) for parts in zip(points, reward.delta, strict=True)]
            assert summed == pytest.approx(reward.points, abs=1e-12)
            got[reward.recommendation_id] = reward.points
        expected = expected_rewards(before, key, window_ms=SPECIFICATION.window_ms)
        assert got.keys() >= expected.keys()
        assert got.keys() == expected.keys() or before != told
        for rec, points in expected.items():
            assert got[rec] == pytest.approx(points, abs=1e-12)
        Twin.held_against += any(any(points) for points in expected.values())

    def _each_impression_was_rewarded_exactly_once(self):
        settled = [r.recommendation_id for r in self.log.rewards() if r.revision == 0]
        assert len(settled) == len(set(settled))
        first_ms = {}
        [events] = [there for where, there in self.log.records.items() if where.topic == "events"]
        for record in events:
            first_ms.setdefault(record.value, record.appended_at_ms)
        for event, key in self.sent:
            if isinstance(event, Recommended) and not event.deferred:
                ms = first_ms[self.shop.message(event, key).value]
                in_time = event.occurred_at_ms + SPECIFICATION.horizon_ms > ms
                assert (event.recommendation_id in settled) == in_time


def test_promise_2_under_crashes_duplicates_and_reordering(shop, memory_log, standing_clock):
    Twin.shop, Twin.memory_log, Twin.standing_clock = shop, memory_log, standing_clock
    Twin.held_against = 0

    run_state_machine_as_test(
        Twin, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )
    assert Twin.held_against
