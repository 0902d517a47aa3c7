import pytest

from rewards.errors import LedgerNotReadable
from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification
from schemas.events import AddToCart, Tick

DAY = 86_400
HORIZON = DAY + 3_600


def test_promise_2_a_banner_without_clicks_is_a_zero_reward_not_a_gap(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(4.999)
    before = told.revisions()
    told.at(5)

    assert before == []
    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]
    assert told.rewards[0].caused_at_ms is None
    assert told.rewards[0].settled_at_ms == shop.T0 + 5_000


def test_the_first_earning_event_settles_at_once_and_later_ones_correct(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(1, shop.click("a", rec=shop.rec(1)))
    told.at(60, shop.purchase("b", rec=shop.rec(1)))

    assert told.revisions() == [("1", 0, (0.1, 0.0, 0.0)), ("1", 1, (0.1, 1.0, 0.0))]
    first, second = told.rewards
    assert first.delta == first.points
    assert second.delta == (0.0, 1.0, 0.0)
    assert (first.caused_at_ms, second.caused_at_ms) == (shop.T0 + 1_000, shop.T0 + 60_000)
    assert (second.clicked, second.bought) == ((0,), (1,))


def test_a_reward_repeats_the_banner_as_it_was_drawn(shop, story):
    banner = shop.recommended(1, log_probs=(-0.5, None, -2.0), viewed_row=9)

    reward = story().at(0, banner).at(5).rewards[0]

    assert reward.recommendation_id == banner.recommendation_id
    for name in ("unit", "arm", "source", "trainable", "policy_version", "catalogue_version"):
        assert getattr(reward, name) == getattr(banner, name)
    for name in ("viewed_row", "history", "candidates", "rows", "log_probs"):
        assert getattr(reward, name) == getattr(banner, name)
    assert reward.specification == RewardSpecification().version


@pytest.mark.parametrize(
    "kind",
    [
        {"arm": "control", "trainable": False},
        {"source": "popular", "trainable": False, "log_probs": (None, None, None)},
        {"trainable": False},
    ],
)
def test_control_fallback_and_not_to_learn_banners_are_rewarded_and_never_trained(
    shop, story, kind
):
    told = story().at(0, shop.recommended(1, **kind)).at(1, shop.click(rec=shop.rec(1)))

    assert told.revisions() == [("1", 0, (0.1, 0.0, 0.0))]
    assert not told.rewards[0].trainable


def test_an_empty_banner_is_settled_too(shop, story):
    assert story().at(0, shop.recommended(1, products=())).at(5).revisions() == [("1", 0, ())]


def test_what_is_due_together_settles_in_the_order_of_deadline_key_and_recommendation(shop, story):
    told = story().at(0, shop.recommended(3), shop.recommended(2), shop.recommended(1))
    told.at(0.5, shop.recommended(4, at=shop.T0 - 1))

    told.at(30)

    assert [number for number, _, _ in told.revisions()] == ["4", "1", "2", "3"]


def test_what_is_due_settles_before_the_record_that_made_it_due_counts(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(5, shop.click(rec=shop.rec(1)))

    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0)), ("1", 1, (0.1, 0.0, 0.0))]


def test_stream_time_never_goes_back(shop, story):
    told = story().at(10, shop.recommended(1, at=shop.T0 + 10_000))

    told.at(3, shop.click(rec=shop.rec(1))).at(4)

    assert told.fold.stream_ms == shop.T0 + 10_000


def test_ticks_and_carts_earn_nothing(shop, story):
    told = story().at(0, shop.recommended(1))
    cart = AddToCart(
        event_id="cart",
        occurred_at_ms=shop.T0,
        received_at_ms=shop.T0,
        recommendation_id=shop.rec(1),
        product_id="a",
    )

    told.at(1, cart, Tick(event_id="tick", occurred_at_ms=shop.T0)).at(5)

    assert told.outcomes[1:] == ["ignored", "ignored"]
    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]


def test_settled_banners_are_forgotten_after_window_and_lateness(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.click(rec=shop.rec(1)))

    kept = told.at(HORIZON - 1).fold.kept_banners
    told.at(HORIZON + 200)
    entries = dict(told.fold.changes())

    assert (kept, told.fold.kept_banners) == (1, 0)
    assert [value for name, value in entries.items() if name != b"stream"] == [None, None]


def test_a_line_is_not_forgotten_before_the_banner_it_was_credited_to(shop, story):
    told = story().at(0, shop.purchase("a", rec=shop.rec(1), order_id="o1"))
    told.at(1, shop.recommended(1, at=shop.T0 + 1_000))

    told.at(HORIZON + 0.5, shop.purchase("x", event_id="wakes the ledger"))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0))]


def test_a_duplicate_recommendation_is_never_rewarded_again(shop, story):
    told = story().at(0, shop.recommended(1)).at(10)

    for seconds in (11, DAY, HORIZON - 1, HORIZON, HORIZON + 500, 3 * HORIZON):
        told.at(seconds, shop.recommended(1)).at(seconds + 0.5)
    told.at(4 * HORIZON)

    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]


def test_promise_10_an_erased_user_leaves_only_ids_and_what_was_seen_still_counts(shop, story):
    told = story().at(0, shop.recommended(1), shop.recommended(2, deferred=True))
    told.at(1, shop.purchase("x"))
    told.fold.changes()

    told.at(2, shop.erased())
    entries = dict(told.fold.changes())

    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]
    assert (told.rewards[0].history, told.rewards[0].candidates) == (b"", b"")
    assert not told.rewards[0].trainable
    assert told.fold.kept_banners == 0
    assert b"history" not in b"".join(value or b"" for value in entries.values())
    assert [value for name, value in entries.items() if len(name) > 8] == [None, None]


def test_what_comes_again_after_an_erasure_is_not_rewarded_again(shop, story):
    told = story().at(0, shop.recommended(1)).at(2, shop.erased())

    told.at(3, shop.recommended(1), shop.click(rec=shop.rec(1)), shop.erased())
    told.at(10, shop.recommended(2, at=shop.T0 + 10_000)).at(20)

    assert told.outcomes[2:] == ["duplicate", "erased", "duplicate", "applied"]
    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0)), ("2", 0, (0.0, 0.0, 0.0))]


def test_an_erasure_under_another_key_is_forged(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.erased(key=shop.STRANGER))

    told.at(2, shop.click(rec=shop.rec(1)))

    assert told.outcomes[1:] == ["forged", "applied"]


def test_state_that_is_loaded_again_settles_corrects_and_remembers(shop, story):
    told = story().at(0, shop.recommended(1), shop.recommended(2)).reload()
    told.at(1, shop.click(rec=shop.rec(1)), shop.purchase("b", order_id="o1")).reload()

    told.at(2, shop.recommended(2), shop.click(rec=shop.rec(1))).reload()
    told.at(3, shop.refund("b", order_id="o1")).at(10)

    assert told.outcomes[-3:-1] == ["duplicate", "duplicate"]
    assert told.revisions() == [
        ("1", 0, (0.1, 0.0, 0.0)),
        ("2", 0, (0.0, 1.0, 0.0)),
        ("2", 1, (0.0, 0.0, 0.0)),
    ]


def test_a_click_does_not_write_the_shoppers_banners_again(shop, story):
    told = story().at(0, *(shop.recommended(n, history=bytes(5_000)) for n in range(8)))
    told.fold.changes()

    told.at(1, shop.click(rec=shop.rec(1)))

    assert sum(len(value or b"") for _, value in told.fold.changes()) < 2_000


@pytest.mark.parametrize("entry", [(b"8 bytes.", b"\xc1"), (b"8 bytes.", b"\x91\x63")])
def test_state_of_another_layout_is_refused(entry):
    with pytest.raises(LedgerNotReadable):
        PartitionRewards(RewardSpecification()).load([entry])
