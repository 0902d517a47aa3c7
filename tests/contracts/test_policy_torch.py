"""Torch holds to the float64 reference: scores, log-probabilities, gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import reference
from policy.architecture import PAIR_GROUPS, TENSORS
from policy.context import Context
from policy.errors import BannerNotDrawable
from policy.features import ProductFeatures, encode_products
from policy.torch_context import every_product, pack_candidates, pack_contexts
from policy.torch_distribution import PairLifts, entropy, kl_divergence, position_log_prob
from policy.torch_network import TorchPolicy
from schemas import history as histories
from schemas.history import History
from schemas.products import Product

TOLERANCE = 1e-4


def products(count: int) -> ProductFeatures:
    return encode_products(
        [
            Product(
                product_id=f"p{row}",
                title=f"word{row % 7} word{row % 11} thing",
                category=f"a{row % 3}/b{row % 5}" if row % 4 else None,
                brand=f"brand{row % 6}" if row % 3 else None,
                price_cents=100 + 37 * row,
            )
            for row in range(count)
        ]
    )


def weights_of(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    weights = {
        name: rng.normal(0, 0.3, tensor.sizes(count)).astype(tensor.dtype)
        for name, tensor in TENSORS.items()
    }
    weights["neighbour_rows"] = rng.integers(-1, count, TENSORS["neighbour_rows"].sizes(count))
    weights["neighbour_rows"] = weights["neighbour_rows"].astype(np.int32)
    weights["neighbour_weights"] = np.abs(weights["neighbour_weights"])
    weights["sharpness"] = np.array([1.7], np.float32)
    return weights


def history_of(rng: np.random.Generator, count: int) -> History:
    repeats = int(rng.integers(0, min(count, 60)))
    orders = int(rng.integers(1, 50))
    rows = np.sort(rng.choice(count + 5, repeats, replace=False)).astype(np.uint32)
    first = rng.integers(1, orders + 1, repeats)
    last = rng.integers(first, orders + 1)
    return History(
        orders=orders,
        recent=rng.integers(0, count + 5, rng.integers(0, 11)).astype(np.uint32),
        rows=rows,
        decayed=rng.uniform(0.1, 6, repeats).astype(np.float32),
        counts=rng.integers(1, 20, repeats).astype(np.uint32),
        first=first.astype(np.uint32),
        last=last.astype(np.uint32),
    )


def contexts_of(rng: np.random.Generator, count: int, size: int) -> list[Context]:
    found = [
        Context(viewed_row=int(rng.integers(-1, count)), history=history_of(rng, count))
        for _ in range(size)
    ]
    return [Context(), *found]


def test_scores_agree_with_the_reference_for_every_context_and_candidate() -> None:
    rng = np.random.default_rng(3)
    count, known = 80, 70  # ten products came after the weights
    features, weights = products(count), weights_of(rng, known)
    contexts = contexts_of(rng, count, 24)
    candidates = [
        np.sort(rng.choice(count, rng.integers(5, count), replace=False)).astype(np.int32)
        for _ in contexts
    ]

    policy = TorchPolicy.from_weights(weights, features)
    batch = pack_contexts(
        [context.viewed_row for context in contexts],
        [histories.pack(context.history) for context in contexts],
        features,
    )
    with torch.no_grad():
        found = policy.scores(policy.prepare(batch, pack_candidates(candidates, count))).numpy()

    compiled = reference.compile_products(weights, features)
    for place, (context, rows) in enumerate(zip(contexts, candidates, strict=True)):
        expected = reference.scores(weights, compiled, features, context)[rows]
        np.testing.assert_allclose(found[place, : len(rows)], expected, atol=TOLERANCE)


def test_scores_over_every_product_leave_out_the_one_viewed() -> None:
    rng = np.random.default_rng(4)
    features, weights = products(40), weights_of(rng, 40)
    context = Context(viewed_row=3, history=history_of(rng, 40))
    policy = TorchPolicy.from_weights(weights, features)
    batch = pack_contexts([3], [histories.pack(context.history)], features)

    with torch.no_grad():
        found = policy.scores(policy.prepare(batch, every_product(batch, 40))).numpy()[0]

    compiled = reference.compile_products(weights, features)
    expected = reference.scores(weights, compiled, features, context)
    assert found[3] < -1e29
    np.testing.assert_allclose(np.delete(found, 3), np.delete(expected, 3), atol=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    candidates=st.integers(5, 40),
    spread=st.floats(0.01, 30),
)
def test_log_probabilities_agree_with_the_reference(
    seed: int, candidates: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, spread, candidates).astype(np.float32)
    banner = rng.choice(candidates, 5, replace=False)

    found = position_log_prob(
        torch.from_numpy(scores)[None],
        torch.from_numpy(banner)[None],
        torch.ones(1, candidates, dtype=torch.bool),
    )

    expected = reference.position_log_prob(scores.astype(np.float64), banner)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=TOLERANCE, rtol=1e-5)


def test_a_position_that_was_not_drawn_has_no_log_probability_and_changes_no_other() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.1]])
    eligible = torch.tensor([[True, True, True, True]])
    drawn = torch.tensor([[True, False, True]])

    found = position_log_prob(scores, torch.tensor([[2, 0, 0]]), eligible, drawn)

    expected = reference.position_log_prob(scores[0].double().numpy(), np.array([2, 0]))
    assert found[0, 1] == 0.0
    np.testing.assert_allclose(found[0, [0, 2]].numpy(), expected, atol=1e-6)


def test_lifts_of_a_batch_are_those_of_the_reference_and_pinned_products_lift_nothing() -> None:
    rng = np.random.default_rng(8)
    features, weights = products(40), weights_of(rng, 40)
    candidates = [np.arange(0, 40, 2, dtype=np.int32), np.arange(7, 31, dtype=np.int32)]
    banner = np.array([[3, 0, 9, 1, 19], [5, 0, 2, 0, 23]])
    drawn = np.array([[True] * 5, [True, False, True, False, True]])
    policy = TorchPolicy.from_weights(weights, features)
    contexts = pack_contexts([-1, -1], [histories.pack(histories.EMPTY)] * 2, features)
    batch = policy.prepare(contexts, pack_candidates(candidates, 40))
    places, mask = torch.from_numpy(banner), torch.from_numpy(drawn)

    lifts = policy.pair_lifts(batch, places, mask)
    assert lifts is not None
    scores = policy.scores(batch)
    found = position_log_prob(scores, places, batch.candidates.mask, mask, lifts).detach().numpy()

    for number, rows in enumerate(candidates):
        shown = banner[number][drawn[number]]
        expected = reference.position_log_prob(
            scores[number, : len(rows)].detach().numpy().astype(np.float64),
            shown,
            reference.pair_lifts(weights, features, rows, shown),
        )
        np.testing.assert_allclose(found[number][drawn[number]], expected, atol=1e-5)
    assert not found[~drawn].any()


def no_lifts(candidates: int) -> PairLifts:
    groups = torch.arange(candidates)[None] % 4
    return PairLifts(groups, torch.zeros(1, 5, PAIR_GROUPS + 1))


def test_a_table_of_zeros_costs_no_lifts_and_changes_nothing() -> None:
    rng = np.random.default_rng(9)
    features, weights = products(30), weights_of(rng, 30)
    weights["value_pairs"][:] = 0.0
    policy = TorchPolicy.from_weights(weights, features)
    contexts = pack_contexts([-1], [histories.pack(histories.EMPTY)], features)
    batch = policy.prepare(contexts, pack_candidates([np.arange(30, dtype=np.int32)], 30))
    banner = torch.tensor([[4, 20, 11, 0, 29]])
    scores = policy.scores(batch)

    lifts = policy.pair_lifts(batch, banner, torch.ones_like(banner, dtype=torch.bool))

    assert lifts is None
    mask = batch.candidates.mask
    torch.testing.assert_close(
        position_log_prob(scores, banner, mask),
        position_log_prob(scores, banner, mask, lifts=no_lifts(30)),
    )


@pytest.mark.parametrize("lifts", [None, no_lifts(5)], ids=["at once", "one by one"])
def test_a_banner_of_all_candidates_has_finite_gradients(lifts: PairLifts | None) -> None:
    scores = torch.randn(1, 5, requires_grad=True)

    log_prob = position_log_prob(
        scores, torch.tensor([[4, 2, 0, 1, 3]]), torch.ones(1, 5, dtype=torch.bool), lifts=lifts
    )
    log_prob.sum().backward()

    assert log_prob[0, -1].item() == 0.0
    assert scores.grad is not None
    assert bool(torch.isfinite(scores.grad).all())


@pytest.mark.parametrize("banner", [[1, 1], [0, 2]], ids=["shown twice", "not eligible"])
def test_a_banner_that_cannot_be_drawn_is_refused(banner: list[int]) -> None:
    eligible = torch.tensor([[True, True, False]])

    with pytest.raises(BannerNotDrawable):
        position_log_prob(torch.zeros(1, 3), torch.tensor([banner]), eligible)


def test_gradients_agree_with_finite_differences_of_the_reference() -> None:
    rng = np.random.default_rng(5)
    count = 12
    features, weights = products(count), weights_of(rng, count)
    context = Context(viewed_row=2, history=history_of(rng, count))
    candidates = np.delete(np.arange(count), 2).astype(np.int32)
    banner = np.array([4, 0, 7])
    policy = TorchPolicy.from_weights(weights, features)
    batch = pack_contexts([2], [histories.pack(context.history)], features)
    packed = pack_candidates([candidates], count)

    prepared = policy.prepare(batch, packed)
    shown = torch.from_numpy(banner)[None]
    drawn = torch.ones_like(shown, dtype=torch.bool)
    lifts = policy.pair_lifts(prepared, shown, drawn)
    assert lifts is not None
    scores = policy.scores(prepared)
    position_log_prob(scores, shown, packed.mask, drawn, lifts).sum().backward()

    def loss(changed: dict[str, np.ndarray]) -> float:
        compiled = reference.compile_products(changed, features)
        scores = reference.scores(changed, compiled, features, context)[candidates]
        lifts = reference.pair_lifts(changed, features, candidates, banner)
        return float(reference.position_log_prob(scores, banner, lifts).sum())

    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    exact["neighbour_rows"] = weights["neighbour_rows"]
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        flat = parameter.grad.numpy().reshape(-1)
        places = np.argsort(-np.abs(flat))[:3]  # where it matters most
        for place in places:
            difference = []
            for step in (1e-5, -1e-5):
                changed = {**exact, name: exact[name].copy()}
                changed[name].reshape(-1)[place] += step
                difference.append(loss(changed))
            slope = (difference[0] - difference[1]) / 2e-5
            assert flat[place] == pytest.approx(slope, rel=2e-3, abs=1e-4), name


def test_kl_to_itself_is_zero_and_entropy_of_even_odds_is_the_logarithm() -> None:
    even = torch.zeros(1, 8).log_softmax(dim=1)
    other = torch.arange(8.0)[None].log_softmax(dim=1)

    assert kl_divergence(other, other).item() == 0.0
    assert kl_divergence(other, even).item() > 0.0
    assert entropy(even).item() == pytest.approx(np.log(8))


def test_weights_go_in_and_come_out_unchanged_and_grow_with_zero_rows() -> None:
    rng = np.random.default_rng(6)
    weights = weights_of(rng, 10)
    policy = TorchPolicy.from_weights(weights, products(10))
    before = policy.weights()

    policy.grow(products(13))

    assert before.keys() == TENSORS.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(before[name], value)
    after = policy.weights()
    assert {name: value.shape for name, value in after.items()} == {
        name: tensor.sizes(13) for name, tensor in TENSORS.items()
    }
    assert not after["output_rows"][10:].any()
    assert (after["neighbour_rows"][10:] == -1).all()
