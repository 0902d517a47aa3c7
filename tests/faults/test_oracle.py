"""The judge of the faults is itself judged: each thing that may go wrong in a log turns it red."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from schemas.codec import encode
from schemas.events import Click, Recommended
from schemas.rewards import Reward
from streams.port import Partition, Record
from tests.faults.suite import reducer
from tests.faults.suite.finding import Finding
from tests.faults.suite.judge import (
    REMEMBERED,
    check_counted,
    check_versions,
    hold_against,
    remembered,
)
from tests.faults.suite.kills import check_failed_under_way
from tests.faults.suite.ledger import BannerNoted, Ledger, Note, OutcomeNoted, Sending, read
from tests.faults.suite.load import Answer
from trainer.open_batch import Seen

KEY = bytes(8)
PRODUCTS = ("a", "b", "c", "d", "e")
ZERO = (0.0,) * 5


def rec(number: int) -> str:
    return f"{number:026d}-{KEY.hex()}"


def banner(number: int) -> Recommended:
    return Recommended(
        event_id=rec(number), recommendation_id=rec(number), occurred_at_ms=1, user_key=KEY,
        unit="u", arm="policy", source="policy", trainable=True, policy_version=1,
        catalogue_version=5, viewed_row=-1, history=b"", candidates=b"", product_ids=PRODUCTS,
        rows=(0, 1, 2, 3, 4), log_probs=(-1.0,) * 5,
    )  # fmt: skip


def click(number: int, product: str) -> Click:
    return Click(
        event_id=f"{number}-{product}", occurred_at_ms=1, received_at_ms=1,
        recommendation_id=rec(number), product_id=product,
    )  # fmt: skip


def reward(number: int, revision: int, delta: tuple[float, ...]) -> Reward:
    return Reward(
        recommendation_id=rec(number), revision=revision, settled_at_ms=1, specification="1",
        unit="u", arm="policy", source="policy", trainable=True, points=delta, delta=delta,
        policy_version=1, catalogue_version=5, viewed_row=-1, history=b"", candidates=b"",
        rows=(0, 1, 2, 3, 4), log_probs=(-1.0,) * 5,
    )  # fmt: skip


def sending(number: int, product: str, **changes: object) -> Sending:
    event = Sending(
        event_id=f"{number}-{product}", about=rec(number), type="click", product_ids=(product,)
    )
    return msgspec.structs.replace(event, **changes)


class Story:
    """Three banners: one clicked and corrected, one without anything, one with a lost answer."""

    def __init__(self) -> None:
        self.notes: list[Note] = [
            BannerNoted(recommendation_id=rec(n), user_id="u", product_ids=PRODUCTS, answered_at=9)
            for n in range(3)
        ]
        self.notes += [sending(0, "a"), sending(0, "b"), sending(2, "c")]
        self.notes += [OutcomeNoted(event_id=f"0-{p}", outcome="accepted") for p in "ab"]
        self.events: list[msgspec.Struct] = [*(banner(n) for n in range(3)), click(0, "a")]
        self.events += [click(0, "b"), click(2, "c")]
        self.rewards = [
            reward(0, 0, (0.1, 0.0, 0.0, 0.0, 0.0)),
            reward(0, 1, (0.0, 0.1, 0.0, 0.0, 0.0)),
            reward(1, 0, ZERO),
            reward(2, 0, (0.0, 0.0, 0.1, 0.0, 0.0)),
        ]
        self.kills: list[float] = []

    def judged(self) -> Finding:
        finding = Finding(fault="F0", seed=1)
        records = [
            [Record(Partition(topic, 0), n, 1, KEY, encode(each)) for n, each in enumerate(all_of)]
            for topic, all_of in (("events", self.events), ("rewards", self.rewards))
        ]
        hold_against(finding, self.notes, *records, kills=self.kills)
        return finding


def test_a_log_that_is_as_it_should_be_is_green() -> None:
    found = Story().judged()

    assert (found.verdict, found.wrong) == ("green", [])
    assert (found.banners, found.events, found.lost, found.doubled) == (3, 3, 0, 0)


def test_an_event_that_was_never_answered_counts_once_or_not() -> None:
    story = Story()
    story.rewards[-1] = reward(2, 0, ZERO)

    assert story.judged().verdict == "green"


def never_settled(story: Story) -> None:
    del story.rewards[2]


def a_click_forgotten(story: Story) -> None:
    del story.rewards[1]


def settled_twice(story: Story) -> None:
    story.rewards.append(reward(1, 0, ZERO))


def a_click_counted_twice(story: Story) -> None:
    story.rewards.append(reward(0, 2, (0.1, 0.0, 0.0, 0.0, 0.0)))


def a_click_for_another_product(story: Story) -> None:
    story.rewards[0] = reward(0, 0, (0.0, 0.0, 0.1, 0.0, 0.0))


def a_click_nobody_sent(story: Story) -> None:
    story.rewards[2] = reward(1, 0, (0.1, 0.0, 0.0, 0.0, 0.0))


def an_accepted_event_that_is_gone(story: Story) -> None:
    del story.events[3]


def a_banner_that_is_gone(story: Story) -> None:
    del story.events[1], story.rewards[2]


def a_banner_logged_twice(story: Story) -> None:
    story.events.append(banner(1))


def a_reward_of_a_banner_nobody_logged(story: Story) -> None:
    story.rewards.append(reward(7, 0, ZERO))


def a_reward_of_a_banner_nobody_saw(story: Story) -> None:
    story.events.append(banner(8))
    story.rewards.append(reward(8, 0, (0.1, 0.0, 0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("harm", "lost", "doubled"),
    [
        (never_settled, 1, 0),
        (a_click_forgotten, 1, 0),
        (settled_twice, 0, 1),
        (a_click_counted_twice, 0, 1),
        (a_click_for_another_product, 1, 1),
        (a_click_nobody_sent, 0, 1),
        (an_accepted_event_that_is_gone, 0, 0),
        (a_banner_that_is_gone, 0, 0),
        (a_banner_logged_twice, 0, 0),
        (a_reward_of_a_banner_nobody_logged, 0, 1),
        (a_reward_of_a_banner_nobody_saw, 0, 1),
    ],
)
def test_whatever_is_lost_or_doubled_turns_it_red(
    harm: Callable[[Story], None], lost: int, doubled: int
) -> None:
    story = Story()
    harm(story)

    found = story.judged()

    assert found.verdict == "red"
    assert (found.lost, found.doubled) == (lost, doubled)


def test_a_banner_of_a_killed_servers_last_moments_may_be_gone_and_no_other() -> None:
    story = Story()
    a_banner_that_is_gone(story)

    story.kills = [9.15]
    assert story.judged().verdict == "green"
    story.kills = [9.3]
    assert story.judged().verdict == "red"


def test_an_order_for_a_lost_banner_counts_once_for_another_of_its_shopper_or_not() -> None:
    story = Story()
    order = {"type": "purchase", "event_id": "o"}
    story.notes += [sending(1, "b", **order), OutcomeNoted(event_id="o", outcome="accepted")]
    del story.events[1], story.rewards[2]  # banner 1
    story.events.append(msgspec.structs.replace(click(1, "b"), event_id="o"))
    story.kills = [9.1]
    assert story.judged().verdict == "green"

    story.rewards.append(reward(2, 1, (0.0, 1.0, 0.0, 0.0, 0.0)))
    assert story.judged().verdict == "green"
    story.rewards.append(reward(2, 2, (0.0, 1.0, 0.0, 0.0, 0.0)))
    assert story.judged().verdict == "red"
    story.rewards[-1] = reward(2, 2, (0.0, 0.0, 0.0, 0.1, 0.0))
    assert story.judged().verdict == "red"


def test_what_comes_late_or_under_a_used_id_earns_nothing() -> None:
    notes = [
        *Story().notes[:3],
        sending(0, "a"),
        OutcomeNoted(event_id="0-a", outcome="accepted"),
        sending(0, "e", event_id="0-a", earns=False),
        OutcomeNoted(event_id="0-a", outcome="accepted"),
        sending(1, "e", earns=False),
        OutcomeNoted(event_id="1-e", outcome="accepted"),
        sending(2, "e"),
        OutcomeNoted(event_id="2-e", outcome="forged"),
    ]

    assert reducer.expected(notes) == {
        rec(0): [(0.1, 0.0, 0.0, 0.0, 0.0)], rec(1): [ZERO], rec(2): [ZERO],
    }  # fmt: skip


def test_a_version_that_goes_back_is_seen_and_answers_under_way_together_are_not_blamed() -> None:
    def answer(sent_at: float, version: int) -> Answer:
        return Answer(sent_at, 1.0, 200, version, "policy", "policy")

    together, back = Finding(fault="F0", seed=1), Finding(fault="F0", seed=1)
    check_versions(together, [answer(0.0, 3), answer(0.5, 2)])
    check_versions(back, [answer(0.0, 3), answer(1.5, 2)])

    assert (together.verdict, back.verdict) == ("green", "red")


@pytest.mark.parametrize(
    ("counted", "restarts", "verdict"),
    [(7, 0, "green"), (6, 0, "red"), (8, 0, "red"), (6, 1, "green"), (0, 1, "red"), (8, 1, "red")],
)
def test_what_aggregators_counted_is_the_table_or_less_where_an_answer_was_lost(
    counted: int, restarts: int, verdict: str
) -> None:
    found = Finding(fault="F0", seed=1)
    first = Counter({("aggregate_rewards_total", "settlement"): max(counted - 2, 0)})
    second = Counter({("aggregate_rewards_total", "settlement"): min(counted, 2)})
    second["aggregate_restarts_total", ""] = restarts

    check_counted(found, [first, second], settled=7)

    assert found.verdict == verdict


def test_a_trainer_remembers_the_last_rewards_each_once() -> None:
    made = [reward(number, 0, ZERO) for number in range(REMEMBERED + 3)]
    told = [*made, made[-1], msgspec.structs.replace(made[0], revision=9, trainable=False)]
    records = [
        Record(Partition("rewards", 0), offset, 1, KEY, encode(each))
        for offset, each in enumerate(told)
    ]

    seen = Seen()
    for each in told:
        if each.trainable:
            seen.add(each)

    assert remembered(records) == set(seen.fingerprints().tolist())


def test_requests_may_fail_that_a_killed_worker_had_and_no_others() -> None:
    def judged(*failed: float) -> str:
        found = Finding(fault="F0", seed=1)
        check_failed_under_way(found, failed, [10.0, 50.0])
        return found.verdict

    assert judged(9.9, 10.1, 49.5) == "green"
    assert judged(9.9, 10.3) == "red"
    assert judged(30.0) == "red"


def test_a_ledger_that_was_cut_off_is_read_up_to_its_last_whole_line(tmp_path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.note([sending(0, "a"), sending(0, "b")])
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"kind":"sending","event')

    assert list(read(ledger.path)) == [sending(0, "a"), sending(0, "b")]
