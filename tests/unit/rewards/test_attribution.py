import pytest

from rewards.specification import RewardSpecification

DAY = 86_400
HORIZON = DAY + 3_600


def final(told):
    """Return the points of each banner's last revision, by its number."""
    return {number: points for number, _, points in told.revisions()}


def test_a_click_earns_its_position_a_tenth_and_a_second_click_nothing_more(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(1, shop.click("b", rec=shop.rec(1), event_id="e1"))
    told.at(2, shop.click("b", rec=shop.rec(1), event_id="e2"))

    assert told.revisions() == [("1", 0, (0.0, 0.1, 0.0))]


def test_a_line_belongs_to_the_banner_it_names_though_a_later_one_showed_the_product(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.recommended(2))

    told.at(2, shop.purchase("a", rec=shop.rec(1)))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0))]


def test_a_line_that_names_no_banner_belongs_to_the_latest_impression_that_showed_it(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.recommended(2))
    told.at(2, shop.recommended(3, products=("x", "y", "z")))

    told.at(3, shop.purchase("a"))

    assert told.revisions() == [("2", 0, (1.0, 0.0, 0.0))]


def test_a_line_whose_banner_did_not_show_it_belongs_to_the_latest_that_did(shop, story):
    told = story().at(0, shop.recommended(1))
    told.at(1, shop.recommended(2, products=("x", "y", "z")))

    told.at(2, shop.purchase("a", "x", rec=shop.rec(2)))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0)), ("2", 0, (1.0, 0.0, 0.0))]


def test_one_order_may_reward_several_banners_but_each_line_once(shop, story):
    told = story().at(0, shop.recommended(1, products=("a", "b")))
    told.at(1, shop.recommended(2, products=("b", "c")))

    told.at(2, shop.purchase("a", "b", "c"))

    assert final(told) == {"1": (1.0, 0.0), "2": (1.25, 1.25)}


@pytest.mark.parametrize(("seconds", "points"), [(DAY, (1.0, 0.0, 0.0)), (DAY + 0.001, (0, 0, 0))])
def test_the_attribution_window_ends_a_day_after_the_impression(shop, story, seconds, points):
    told = story().at(0, shop.recommended(1))

    told.at(seconds, shop.purchase("a", rec=shop.rec(1)))

    assert final(told) == {"1": points}


def test_a_click_after_the_window_is_late_and_earns_nothing(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(DAY + 0.001, shop.click(rec=shop.rec(1)))

    assert told.outcomes[-1] == "late"
    assert final(told) == {"1": (0.0, 0.0, 0.0)}


def test_a_purchase_before_the_impression_earns_nothing(shop, story):
    told = story().at(0, shop.purchase("a"))

    told.at(1, shop.recommended(1, at=shop.T0 + 1_000)).at(10)

    assert final(told) == {"1": (0.0, 0.0, 0.0)}


def test_a_recommendation_logged_later_takes_the_line_from_an_earlier_banner(shop, story):
    told = story().at(0, shop.recommended(1)).at(10, shop.purchase("a"))
    assert final(told) == {"1": (1.0, 0.0, 0.0)}

    told.at(12, shop.recommended(2, at=shop.T0 + 9_000))

    assert told.revisions()[-2:] == [("1", 2, (0.0, 0.0, 0.0)), ("2", 0, (1.0, 0.0, 0.0))]
    assert told.rewards[-2].delta == (-1.0, 0.0, 0.0)


def test_an_impression_counts_from_the_services_stamp_but_never_after_its_append_time(shop, story):
    told = story().at(0, shop.recommended(1, at=shop.T0 + 3_600_000))

    told.at(1, shop.purchase("a"))

    assert final(told) == {"1": (1.0, 0.0, 0.0)}


def test_a_click_logged_before_its_recommendation_counts_once_that_is_logged(shop, story):
    told = story().at(0, shop.click(rec=shop.rec(1)))
    assert told.outcomes == ["unattributed"]

    told.at(1, shop.recommended(1))

    assert told.revisions() == [("1", 0, (0.1, 0.0, 0.0))]


def test_a_purchase_that_names_a_banner_logged_later_counts_once_that_is_logged(shop, story):
    told = story().at(0, shop.purchase("a", rec=shop.rec(1)))

    told.at(1, shop.recommended(1, at=shop.T0 - 50))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0))]


def test_a_refund_takes_the_line_back_and_carries_the_difference(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.purchase("a", "b", order_id="o1"))

    told.at(2, shop.refund("b", order_id="o1"))

    assert told.revisions() == [("1", 0, (1.25, 1.25, 0.0)), ("1", 1, (1.0, 0.0, 0.0))]
    assert told.rewards[1].delta == (-0.25, -1.25, 0.0)
    assert (told.rewards[0].bought, told.rewards[1].bought) == ((0, 1), (0,))


def test_a_refund_may_come_before_its_purchase(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.refund("a", order_id="o1"))

    told.at(2, shop.purchase("a", order_id="o1")).at(10)

    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]


def test_a_refund_of_one_of_two_orders_of_a_product_leaves_it_bought(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.purchase("a", order_id="o1"))
    told.at(2, shop.purchase("a", order_id="o2", event_id="e2"))

    told.at(3, shop.refund("a", order_id="o1"))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0))]


def test_an_order_without_an_id_is_refunded_by_the_id_of_its_event(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.purchase("a", event_id="e1"))

    told.at(2, shop.refund("a", order_id="e1"))

    assert final(told) == {"1": (0.0, 0.0, 0.0)}


def test_a_refund_counts_until_the_banner_is_forgotten_and_then_is_late(shop, story):
    def refunded_at(seconds):
        told = story().at(0, shop.recommended(1)).at(1, shop.purchase("a", order_id="o1"))
        return told.at(seconds, shop.refund("a", order_id="o1"))

    assert final(refunded_at(HORIZON - 1)) == {"1": (0.0, 0.0, 0.0)}
    assert final(refunded_at(HORIZON)) == {"1": (1.0, 0.0, 0.0)}
    assert refunded_at(2 * HORIZON).outcomes[-1] == "late"


def test_one_order_reported_twice_under_two_event_ids_counts_once(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.purchase("a", order_id="o1"))

    told.at(2, shop.purchase("a", "b", order_id="o1", event_id="again"))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0)), ("1", 1, (1.25, 1.25, 0.0))]


def test_imported_purchases_earn_nothing(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(1, shop.purchase("a", source="import")).at(10)

    assert told.outcomes[-1] == "ignored"
    assert final(told) == {"1": (0.0, 0.0, 0.0)}


def test_the_same_event_id_with_another_payload_is_a_conflict_and_the_first_wins(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.click("a", rec=shop.rec(1)))

    told.at(2, shop.click("b", rec=shop.rec(1)))
    told.at(3, shop.purchase("b", event_id="click"))

    assert told.outcomes[-2:] == ["conflict", "conflict"]
    assert final(told) == {"1": (0.1, 0.0, 0.0)}


def test_an_event_delivered_again_with_new_stamps_of_intake_is_a_duplicate(shop, story):
    told = story().at(0, shop.recommended(1)).at(1, shop.click(rec=shop.rec(1), at=shop.T0))

    told.at(2, shop.click(rec=shop.rec(1), at=shop.T0 + 700))

    assert told.outcomes[-1] == "duplicate"


def test_another_banner_under_a_known_recommendation_id_is_a_conflict(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(1, shop.recommended(1), shop.recommended(1, products=("x", "y")))
    told.at(10)

    assert told.outcomes == ["applied", "duplicate", "conflict"]
    assert told.revisions() == [("1", 0, (0.0, 0.0, 0.0))]


def test_ratings_count_by_the_weight_of_their_source_and_the_latest_of_a_source_holds(shop, story):
    told = story(RewardSpecification(rating_weights={"judge": 2.0})).at(0, shop.recommended(1))

    told.at(1, shop.rating(0.5, rec=shop.rec(1), product_id="b", event_id="e1"))
    told.at(2, shop.rating(0.25, rec=shop.rec(1), product_id="b", event_id="e2"))
    told.at(3, shop.rating(9.0, rec=shop.rec(1), source="shadow", event_id="e3"))

    assert told.outcomes[-1] == "ignored"
    assert told.revisions() == [("1", 0, (0.0, 1.0, 0.0)), ("1", 1, (0.0, 0.5, 0.0))]


def test_a_deferred_banner_without_confirmation_is_never_rewarded(shop, story):
    told = story().at(0, shop.recommended(1, deferred=True))

    told.at(1, shop.purchase("a")).at(10).at(2 * HORIZON)

    assert told.revisions() == []


@pytest.mark.parametrize("confirmation", ["impression", "click", "purchase"])
def test_a_deferred_banner_counts_from_what_confirms_it(shop, story, confirmation):
    told = story().at(0, shop.recommended(1, deferred=True))
    confirm = {
        "impression": (shop.impression(rec=shop.rec(1)), 0.0),
        "click": (shop.click(rec=shop.rec(1)), 0.1),
        "purchase": (shop.purchase("a", rec=shop.rec(1)), 1.0),
    }
    event, points = confirm[confirmation]

    told.at(100, event).at(104.9)
    waiting = len(told.rewards)
    told.at(105)

    assert waiting == (1 if points else 0)
    assert told.revisions() == [("1", 0, (points, 0.0, 0.0))]


def test_a_confirmation_gives_the_banner_the_lines_that_came_after_it(shop, story):
    told = story().at(0, shop.recommended(1), shop.recommended(2, deferred=True))
    told.at(1, shop.impression(rec=shop.rec(2)))

    told.at(2, shop.purchase("a"))

    assert told.revisions() == [("2", 0, (1.0, 0.0, 0.0))]


def test_promise_9_a_forged_replayed_or_cross_user_event_earns_nothing(shop, story):
    rec = shop.rec(1)
    told = story().at(0, shop.recommended(1)).at(1, shop.click("a", rec=rec))

    told.at(2, shop.click("a", rec=rec))
    told.at(3, shop.click("z", rec=rec, event_id="not shown"))
    told.at(4, shop.click("b", rec=rec, event_id="cross-user", user_key=shop.STRANGER))
    told.at(5, shop.purchase("b", rec=rec, event_id="paid", user_key=shop.STRANGER))
    told.at(6, shop.click("b", rec=shop.rec(1, key=shop.STRANGER), event_id="another's"))

    assert told.outcomes[2:] == ["duplicate", "forged", "forged", "forged", "forged"]
    assert told.revisions() == [("1", 0, (0.1, 0.0, 0.0))]


def test_a_shopper_who_signs_in_after_an_anonymous_banner_still_rewards_it(shop, story):
    told = story().at(0, shop.recommended(1, user_key=None))

    told.at(1, shop.purchase("a", rec=shop.rec(1), user_key=shop.STRANGER))

    assert told.revisions() == [("1", 0, (1.0, 0.0, 0.0))]


def test_the_copy_of_an_order_that_lies_with_its_shopper_earns_nothing(shop, story):
    told = story().at(0, shop.recommended(1))

    told.at(1, shop.purchase("a", rec=shop.rec(7, key=shop.STRANGER), user_key=shop.KEY))

    assert told.outcomes[1:] == ["ignored"]
    assert told.at(60).revisions() == [("1", 0, (0.0, 0.0, 0.0))]


def test_an_event_that_names_a_banner_of_long_ago_is_late(shop, story):
    told = story()

    told.at(HORIZON, shop.click(rec=shop.rec(1, at=shop.T0)))
    told.at(HORIZON + 1, shop.recommended(1, at=shop.T0)).at(HORIZON + 60)

    assert told.outcomes == ["late", "late"]
    assert told.revisions() == []
