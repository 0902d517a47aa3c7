import msgspec
import numpy as np
import pytest

from schemas import candidates, history
from schemas.events import Recommended
from schemas.requests import RecommendResponse


def shown(answer: dict) -> list[str]:
    return [product["product_id"] for product in answer["products"]]


def test_a_banner_has_five_distinct_products_and_all_the_contract_names(shop):
    answer = shop.send("POST", "/recommend", {})

    decoded = msgspec.json.decode(answer.body, type=RecommendResponse, strict=True)
    assert len(set(shown(answer.json))) == 5
    assert [p.position for p in decoded.products] == [0, 1, 2, 3, 4]
    assert decoded.products[0].title.startswith("Product ")
    assert (decoded.policy_version, decoded.arm, decoded.source) == (7, "policy", "policy")
    assert decoded.reason is None
    assert decoded.expires_at == "2023-11-15T22:13:20Z"
    assert set(answer.json) == set(RecommendResponse.__struct_fields__)


def test_the_log_keeps_what_the_probabilities_are_given(shop, key_of):
    packed = history.pack(history.History(orders=3, recent=np.array([4], np.uint32)))
    shop.histories.packed[key_of("u1")] = packed

    answer = shop.recommend(
        user_id="u1", viewed_product_id="p9", placement="home", exclude_product_ids=["p3"]
    )

    (record,) = shop.records("events")
    (fact,) = shop.facts()
    assert isinstance(fact, Recommended)
    assert record.key == key_of("u1") == fact.user_key
    assert fact.recommendation_id == answer["recommendation_id"] == fact.event_id
    assert fact.viewed_row == 9
    assert fact.history == packed
    assert candidates.unpack(fact.candidates).tolist() == [
        row for row in range(20) if row not in (3, 9)
    ]
    assert fact.product_ids == tuple(shown(answer))
    assert fact.rows == tuple(int(product_id[1:]) for product_id in shown(answer))
    assert np.allclose(fact.log_probs, -np.log([18, 17, 16, 15, 14]))
    assert (fact.trainable, fact.deferred, fact.placement) == (True, False, "home")
    assert (fact.policy_version, fact.catalogue_version) == (7, 20)


def test_nothing_is_drawn_or_recorded_for_a_shopper_who_has_left(shop):
    asked = len(shop.policy.asked)

    gone = shop.send("POST", "/recommend", {"user_id": "u1"}, has_left=True)

    assert gone.status == 499  # seen by metrics alone
    assert len(shop.policy.asked) == asked
    assert shop.facts() == []
    shop.recommend(user_id="u1")
    assert len(shop.facts()) == 1


def test_an_anonymous_recommendation_is_keyed_and_counted_by_itself(shop):
    answer = shop.recommend()

    (record,) = shop.records("events")
    (fact,) = shop.facts()
    ulid, key = answer["recommendation_id"].split("-")
    assert fact.user_key is None
    assert record.key.hex() == key
    assert fact.unit == ulid


def test_products_viewed_excluded_or_unavailable_are_never_shown(make_shop, product):
    shop = make_shop(products=8)
    shop.sell(product(0, available=False))
    shop.serve()

    for _ in range(20):
        answer = shop.recommend(viewed_product_id="p1", exclude_product_ids=["p2", "p2"])
        assert set(shown(answer)) == {"p3", "p4", "p5", "p6", "p7"}


def test_every_filter_must_be_passed(shop, product):
    shop.sell(
        *(product(n, category="dairy/milk", brand="acme", price_cents=100 * n) for n in range(8))
    )
    shop.serve()

    answer = shop.recommend(
        filter={"category": ["dairy"], "brand": ["acme"], "max_price_cents": 300}
    )

    assert sorted(shown(answer)) == ["p0", "p1", "p2", "p3"]
    assert answer["reason"] == "fewer_than_five_eligible"


def test_nothing_eligible_is_an_empty_banner_not_an_error(shop):
    answer = shop.recommend(filter={"brand": ["nobody"]})

    assert answer["products"] == []
    assert answer["reason"] == "none_eligible"
    assert shop.facts()[0].trainable is False


def test_purchases_given_replace_the_recent_ones_and_leave_the_repeats(shop, key_of):
    repeats = history.History(
        orders=9,
        recent=np.array([1, 2], np.uint32),
        rows=np.array([5], np.uint32),
        decayed=np.array([1.5], np.float32),
        counts=np.array([2], np.uint32),
        first=np.array([1], np.uint32),
        last=np.array([8], np.uint32),
    )
    shop.histories.packed[key_of("u1")] = history.pack(repeats)
    bought = [f"p{n}" for n in range(12)]

    shop.recommend(user_id="u1", purchased_product_ids=["gone", *bought, "gone too"])

    asked = history.unpack(shop.policy.asked[-1]["history"])
    assert asked.recent.tolist() == list(range(2, 12))
    assert (asked.orders, asked.rows.tolist(), asked.last.tolist()) == (9, [5], [8])
    assert shop.metric("service_unknown_ids_total") == 2


def test_an_empty_list_of_purchases_is_not_the_same_as_none_given(shop, key_of):
    shop.histories.packed[key_of("u1")] = history.pack(
        history.History(orders=1, recent=np.array([1], np.uint32))
    )

    shop.recommend(user_id="u1", purchased_product_ids=[])
    shop.recommend(user_id="u1")

    asked = [history.unpack(question["history"]) for question in shop.policy.asked]
    assert [context.recent.tolist() for context in asked] == [[], [1]]


def test_unknown_ids_in_the_context_are_ignored_and_counted(shop):
    answer = shop.recommend(viewed_product_id="nope", exclude_product_ids=["nada", "p1"])

    assert len(answer["products"]) == 5
    assert shop.policy.asked[-1]["viewed_row"] == -1
    assert shop.metric("service_unknown_ids_total") == 2


def test_pins_stand_at_their_positions_and_are_not_drawn(shop):
    answer = shop.recommend(
        viewed_product_id="p7",
        exclude_product_ids=["p8"],
        filter={"brand": ["nobody"]},
        pinned=[{"product_id": "p7", "position": 3}, {"product_id": "p8", "position": 0}],
    )

    assert shown(answer) == ["p8", "p7"]

    answer = shop.recommend(pinned=[{"product_id": "p7", "position": 3}])

    fact = shop.facts()[-1]
    assert shown(answer)[3] == "p7"
    assert len(set(shown(answer))) == 5
    assert fact.log_probs[3] is None
    assert 7 not in candidates.unpack(fact.candidates)
    assert np.allclose([p for p in fact.log_probs if p is not None], -np.log([19, 18, 17, 16]))
    assert fact.trainable


def test_a_banner_of_pins_alone_never_trains(shop):
    shop.recommend(pinned=[{"product_id": f"p{n}", "position": n} for n in range(5)])

    (fact,) = shop.facts()
    assert fact.rows == (0, 1, 2, 3, 4)
    assert not fact.trainable


@pytest.mark.parametrize(
    "pinned",
    [
        [{"product_id": "nope", "position": 0}],
        [{"product_id": "p0", "position": 0}],
        [{"product_id": "p1", "position": 0}, {"product_id": "p1", "position": 1}],
        [{"product_id": "p1", "position": 0}, {"product_id": "p2", "position": 0}],
    ],
    ids=["unknown", "unavailable", "product twice", "position twice"],
)
def test_a_pin_that_cannot_stand_is_refused(shop, pinned, product):
    shop.sell(product(0, available=False))
    shop.serve()

    answer = shop.send("POST", "/recommend", {"pinned": pinned})

    assert answer.status == 422
    assert "pinned" in answer.json["detail"]
    assert shop.facts() == []


def test_learn_false_and_the_control_arm_are_logged_and_never_train(make_shop):
    quiet, control = make_shop(), make_shop(control_share=1.0)

    quiet.recommend(learn=False)
    answer = control.recommend(user_id="u1")

    (quiet_fact,), (control_fact,) = quiet.facts(), control.facts()
    assert not quiet_fact.trainable
    assert not control_fact.trainable
    assert (answer["arm"], answer["policy_version"]) == ("control", 1)
    assert control_fact.rows == (0, 1, 2, 3, 4)
    assert control_fact.log_probs == (None,) * 5


def test_deferred_is_recorded(shop):
    shop.recommend(deferred=True)

    assert shop.facts()[0].deferred


def test_a_policy_that_fails_is_answered_by_what_is_popular(make_shop):
    shop = make_shop(serving=False)
    shop.serve(broken=True)

    answer = shop.recommend(exclude_product_ids=["p19"])

    assert shown(answer) == ["p18", "p17", "p16", "p15", "p14"]
    assert (answer["source"], answer["reason"]) == ("popular", "policy_failed")
    assert shop.metric("service_draw_failures_total") == 1
    assert not shop.facts()[0].trainable


def test_without_weights_the_catalogue_itself_answers(make_shop):
    shop = make_shop(serving=False)

    answer = shop.recommend()

    assert shown(answer) == ["p0", "p1", "p2", "p3", "p4"]
    assert (answer["source"], answer["policy_version"]) == ("static", 0)
    assert answer["reason"] == "no_policy, no_popularity"


def test_an_unreadable_history_costs_the_history_and_nothing_else(shop):
    shop.histories.reachable = False

    answer = shop.recommend(user_id="u1")

    assert (answer["source"], answer["reason"]) == ("policy", "history_unavailable")
    assert shop.metric("service_recommendation_reasons_total", reason="history_unavailable") == 1


def test_answers_carry_nothing_of_the_propensities(shop):
    body = shop.send("POST", "/recommend", {"user_id": "u1"}).body

    assert b"log_prob" not in body
    assert b"candidates" not in body


def test_titles_are_escaped_as_json(shop, product):
    title = 'A "quoted"\\ title é \u2028'
    shop.sell(*(product(n, title=title) for n in range(20)))
    shop.serve()

    assert shop.recommend()["products"][0]["title"] == title
