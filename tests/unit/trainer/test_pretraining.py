"""Pretraining: replayed histories, co-purchases of other shoppers, the held-out report."""

from typing import Any

import numpy as np
import pytest
import torch

from policy.features import ProductFeatures, encode_products
from policy.snapshot import verify_weights
from projections.orders import with_order
from schemas import history as histories
from schemas.products import Product
from trainer.copurchases import copurchase_table
from trainer.errors import NotEnoughPastOrders
from trainer.held_out import own_frequent, quality
from trainer.initial_weights import initial_weights
from trainer.past_orders import PastOrder, replay
from trainer.pretraining import PretrainingSettings, pretrain
from trainer.sharpness import Drawn, choose_sharpness
from trainer.supervision import Supervision, SupervisionSettings, logistic_loss, softmax_loss

PRODUCTS = 40
SETTINGS = PretrainingSettings(
    softmax_epochs=2,
    logistic_epochs=1,
    threads=1,
    supervision=SupervisionSettings(batch_orders=32),
)


@pytest.fixture(scope="module")
def features() -> ProductFeatures:
    return encode_products(
        [
            Product(product_id=f"p{row}", title=f"thing {row}", category=f"c{row % 4}")
            for row in range(PRODUCTS)
        ]
    )


def habitual_orders(shoppers: int = 60, orders: int = 8) -> list[PastOrder]:
    """Shoppers who buy their own two products again and again, and something at random."""
    rng = np.random.default_rng(0)
    made = []
    for shopper in range(shoppers):
        own = rng.choice(PRODUCTS, 2, replace=False).tolist()
        for number in range(orders):
            rows = [*own, int(rng.integers(PRODUCTS))]
            made.append(PastOrder(b"%8d" % shopper, 1000 * number + shopper, tuple(rows)))
    return made


def unheard(done: float) -> None:
    assert 0.0 <= done <= 1.0


def test_every_order_is_replayed_with_the_history_the_projection_would_give() -> None:
    orders = habitual_orders(5)

    past = replay(list(reversed(orders)), unheard)

    known: dict[bytes, histories.History] = {}
    for place, order in enumerate(sorted(orders, key=lambda order: order.at_ms)):
        before = known.get(order.user_key)
        assert past.histories[place] == (histories.pack(before) if before else b"")
        known[order.user_key] = with_order(before or histories.EMPTY, order.rows)
        assert past.baskets[place].tolist() == list(dict.fromkeys(order.rows))


def test_neighbours_are_what_is_bought_together_closest_first() -> None:
    baskets = [np.array(rows) for rows in ([0, 1], [0, 1], [0, 1, 2], [0, 3], [3])]

    table = copurchase_table(baskets, 5)

    assert table.rows[0, :4].tolist() == [1, 2, 3, -1]
    assert table.rows[4, 0] == -1
    assert table.weights[0, 0] == pytest.approx(3 / 14)
    assert table.weights[0, 3] == 0.0


def test_an_order_is_trained_with_co_purchases_of_other_shoppers_alone(
    features: ProductFeatures,
) -> None:
    # each shopper has a pair of their own, which nobody else buys
    orders = [
        PastOrder(b"%8d" % shopper, number, (2 * shopper, 2 * shopper + 1))
        for shopper in range(PRODUCTS // 2)
        for number in range(3)
    ]
    past = replay(orders, unheard)
    places = np.arange(len(past))
    settings = SupervisionSettings(folds=3)
    supervision = Supervision(
        past, places, features, settings, np.random.default_rng(0), torch.device("cpu")
    )

    for fold in range(3):
        for place in places[past.folds % 3 == fold]:
            assert (supervision._tables[fold].rows[past.baskets[place]] == -1).all()
    assert supervision._published.rows[0, 0] == 1


def test_losses_are_those_of_the_plain_formulas() -> None:
    scores = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -1e30]])
    order, slot, size = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), torch.tensor([2, 2, 1])

    softmax = softmax_loss(scores, order, slot, size)
    logistic = logistic_loss(scores, order, slot, size, torch.ones(3))

    log_p = scores.double().log_softmax(dim=1)
    expected = -((log_p[0, 0] + log_p[0, 2]) / 2**0.5 + log_p[1, 1]) / 2
    assert softmax.item() == pytest.approx(expected.item(), rel=1e-5)
    odds = torch.sigmoid(scores.double())
    bought = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    likelihood = bought * odds.log().clamp(min=-100) + (1 - bought) * (1 - odds).log()
    counts = torch.tensor([2**-0.5, 1.0], dtype=torch.float64)
    losses = -likelihood.sum(dim=1) * counts / counts.mean()
    assert logistic.item() == pytest.approx(losses.mean().item(), rel=1e-5)


def test_habits_are_learned_and_reported(features: ProductFeatures) -> None:
    told: list[tuple[float, str]] = []

    weights, report = pretrain(
        habitual_orders(),
        features,
        seed=1,
        device="cpu",
        settings=SETTINGS,
        progress=lambda share, text: told.append((share, text)),
    )

    verify_weights(weights, products=PRODUCTS)
    assert report.policy.recall_at_5 > 2 * report.popularity.recall_at_5
    assert report.orders_trained + report.orders_held_out == 480
    assert report.figures()["own_frequent_hits"] == report.own_frequent.hits
    assert weights["sharpness"][0] == report.sharpness
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_equal_seeds_give_equal_weights(features: ProductFeatures) -> None:
    orders = habitual_orders(30)

    one, _ = pretrain(orders, features, seed=3, device="cpu", settings=SETTINGS)
    other, _ = pretrain(orders, features, seed=3, device="cpu", settings=SETTINGS)

    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_large_catalogue_is_trained_on_a_part_of_it(features: ProductFeatures) -> None:
    settings = PretrainingSettings(
        threads=1, supervision=SupervisionSettings(batch_orders=8, every_product_up_to=5)
    )

    weights, report = pretrain(habitual_orders(), features, seed=1, device="cpu", settings=settings)

    verify_weights(weights, products=PRODUCTS)
    assert report.policy.recall_at_5 > report.popularity.recall_at_5


@pytest.mark.parametrize(
    "orders",
    [[], habitual_orders(2, 3), habitual_orders(40, 1)],
    ids=["none", "few", "nobody ordered twice"],
)
def test_too_few_past_orders_are_refused_with_what_to_do(
    features: ProductFeatures, orders: list[PastOrder]
) -> None:
    with pytest.raises(NotEnoughPastOrders, match="import"):
        pretrain(orders, features, seed=1, device="cpu", settings=SETTINGS)


def test_own_frequent_products_are_filled_up_with_popular_ones() -> None:
    history = with_order(with_order(histories.EMPTY, [7, 3]), [3])

    found = own_frequent(histories.pack(history), np.array([3, 9, 8, 1, 2, 4]))

    assert found.tolist() == [3, 7, 9, 8, 1]


def test_quality_of_a_perfect_banner_is_one() -> None:
    found = quality([np.arange(5)], [np.arange(5)])

    assert (found.recall_at_5, found.hits) == (1.0, 5.0)
    assert found.ndcg_at_5 == pytest.approx(1.0)


def test_sharpness_trades_hits_for_spread() -> None:
    weak = [Drawn(1.0, 0.10, 6.0), Drawn(4.0, 0.15, 1.0)]
    strong = [Drawn(1.0, 0.30, 6.0), Drawn(4.0, 0.80, 1.0)]

    assert choose_sharpness(weak) == 1.0
    assert choose_sharpness(strong) == 4.0


def test_a_product_nobody_bought_is_no_better_than_its_like(features: ProductFeatures) -> None:
    counts = np.full(PRODUCTS, 50.0)
    counts[:3] = 0.0

    weights = initial_weights(features, counts, np.random.default_rng(0))

    bias: Any = weights["bias_rows"] + np.einsum(
        "nf,nf->n", features.weights, weights["bias_features"][features.buckets]
    )
    assert (bias[:3] < bias[3:].min()).all()
