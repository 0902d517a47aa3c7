"""One definition, several implementations: each is held against the float64 reference.

An implementation joins by an adapter with the two methods of `Implementation`, added to
IMPLEMENTATIONS. What only serving does (candidates, the draw) has its own tests below.
"""

from collections import Counter
from itertools import permutations
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pytest
import torch

from policy import reference
from policy.architecture import FULL_CANDIDATES, PAIR_GROUPS, TOP_CANDIDATES
from policy.candidates import choose_candidates
from policy.context import Context
from policy.features import ProductFeatures
from policy.kernels.layout import pair_lines
from policy.kernels.plackett_luce import draw_positions
from policy.serving import UNIFORMS, Draw, ServingPolicy
from policy.torch_context import every_product, pack_contexts
from policy.torch_distribution import PairLifts
from policy.torch_distribution import position_log_prob as torch_log_prob
from policy.torch_network import TorchPolicy
from schemas import candidates as packing
from schemas import history as histories
from tests.policies import Weights, contexts_of, features_of, history_of, weights_of

Doubles = npt.NDArray[np.float64]
PROMISED = 1e-4
AIMED_AT = 1e-5
NONE = np.empty(0, np.int32)


class Implementation(Protocol):
    """What every implementation of the policy can be asked."""

    def scores(self, weights: Weights, features: ProductFeatures, context: Context) -> Doubles:
        """Return (N,) logits of all products but the one viewed, whose place is ignored."""
        ...

    def position_log_prob(
        self,
        candidate_scores: npt.NDArray[np.float32],
        banner: npt.NDArray[np.int64],
        table: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int32],
    ) -> Doubles:
        """Return (K,) log-probability of each position given those before.

        Args:
            candidate_scores: (C,) while nothing is placed.
            banner: (K,) places among the candidates.
            table: (G, G) lifts of pairs.
            groups: (C,) of the candidates.
        """
        ...


class Serving:
    """The numba kernels."""

    def scores(self, weights: Weights, features: ProductFeatures, context: Context) -> Doubles:
        policy = ServingPolicy.compile(weights, features, version=1)
        return policy.scores(
            viewed_row=context.viewed_row,
            history=histories.pack(context.history),
            eligible=np.ones(policy.products, np.uint8),
            excluded=NONE,
        ).astype(np.float64)

    def position_log_prob(
        self,
        candidate_scores: npt.NDArray[np.float32],
        banner: npt.NDArray[np.int64],
        table: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int32],
    ) -> Doubles:
        count = len(candidate_scores)
        drawn, log_probs = np.zeros(5, np.int32), np.zeros(5, np.float32)
        uniforms = leading_to(candidate_scores, banner, lifts_of(table, groups, banner))
        draw_positions(
            candidate_scores.copy(), count, len(banner), uniforms, np.arange(count, dtype=np.int32),
            groups, pair_lines({"value_pairs": table}), np.zeros(count, np.int32),
            np.zeros(count, np.float32), np.zeros(count), drawn, log_probs,
        )  # fmt: skip
        assert drawn[: len(banner)].tolist() == banner.tolist()
        return log_probs[: len(banner)].astype(np.float64)


class Torch:
    """The distribution that training takes gradients of."""

    def scores(self, weights: Weights, features: ProductFeatures, context: Context) -> Doubles:
        policy = TorchPolicy.from_weights(weights, features)
        batch = pack_contexts([context.viewed_row], [histories.pack(context.history)], features)
        prepared = policy.prepare(batch, every_product(batch, policy.products))
        with torch.no_grad():
            return policy.scores(prepared).numpy()[0].astype(np.float64)

    def position_log_prob(
        self,
        candidate_scores: npt.NDArray[np.float32],
        banner: npt.NDArray[np.int64],
        table: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int32],
    ) -> Doubles:
        lines = torch.from_numpy(np.pad(table, (0, 1))[groups[banner]])[None]
        lifts = PairLifts(torch.from_numpy(groups.astype(np.int64))[None], lines)
        found = torch_log_prob(
            torch.from_numpy(candidate_scores)[None],
            torch.from_numpy(banner.astype(np.int64))[None],
            torch.ones(1, len(candidate_scores), dtype=torch.bool),
            lifts=lifts if table.any() else None,
        )
        return found[0].numpy().astype(np.float64)


def lifts_of(
    table: npt.NDArray[np.float32], groups: npt.NDArray[np.int32], banner: npt.NDArray[np.int64]
) -> Doubles:
    """Return (K, C) as the reference does, for candidates that are all products."""
    categories = np.where(groups == PAIR_GROUPS, -1, groups).astype(np.int32)
    features = ProductFeatures(np.empty((0, 0)), np.empty((0, 0)), categories)  # type: ignore[arg-type]
    return reference.pair_lifts({"value_pairs": table}, features, np.arange(len(groups)), banner)


def leading_to(
    scores: npt.NDArray[np.float32], banner: npt.NDArray[np.int64], lifts: Doubles
) -> Doubles:
    """Return the uniform numbers that make an inverse-CDF draw choose this banner."""
    left = scores.astype(np.float64)
    uniforms = []
    for position, chosen in enumerate(banner):
        weights = np.exp(left - left.max())
        middle = weights[:chosen].sum() + weights[chosen] / 2
        uniforms.append(middle / weights.sum())
        left += lifts[position]
        left[chosen] = -np.inf
    return np.array(uniforms)


IMPLEMENTATIONS = [pytest.param(Serving(), id="serving"), pytest.param(Torch(), id="torch")]
implementations = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


@implementations
@pytest.mark.parametrize(("known", "products"), [(150, 150), (150, 173), (0, 40)])
def test_scores_agree_with_the_reference_in_every_context(
    implementation: Implementation, known: int, products: int
) -> None:
    weights, features = weights_of(known, seed=known), features_of(products, seed=products)
    compiled = reference.compile_products(weights, features)

    for context in contexts_of(products, 12, seed=products):
        found = implementation.scores(weights, features, context)

        expected = reference.scores(weights, compiled, features, context)
        others = np.arange(products) != context.viewed_row
        np.testing.assert_allclose(found[others], expected[others], atol=3e-5, rtol=1e-6)


@implementations
@pytest.mark.parametrize("lift", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("candidates", [1, 4, 5, 64, 65, 700])
def test_log_probabilities_agree_with_the_reference(
    implementation: Implementation, candidates: int, spread: float, lift: float
) -> None:
    rng = np.random.default_rng(candidates)
    scores = rng.normal(0.0, spread, candidates).astype(np.float32)
    table, groups = pairs_of(candidates, lift=lift)
    banner = likely_banner(scores, table, groups, rng)

    found = implementation.position_log_prob(scores, banner, table, groups)

    lifts = lifts_of(table, groups, banner)
    expected = reference.position_log_prob(scores.astype(np.float64), banner, lifts)
    np.testing.assert_allclose(found, expected, atol=AIMED_AT, rtol=1e-6)


def likely_banner(
    scores: npt.NDArray[np.float32],
    table: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int32],
    rng: np.random.Generator,
    *,
    first: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return up to five places, each the best of what is left with some luck."""
    left = scores.astype(np.float64)
    banner: list[int] = []
    while len(banner) < min(5, len(scores)):
        lucky = int(np.argmax(left + rng.gumbel(size=len(left))))
        banner.append(lucky if first is None or banner else first)
        left += lifts_of(table, groups, np.array(banner))[-1]
        left[banner[-1]] = -np.inf
    return np.array(banner)


def pairs_of(
    candidates: int, *, lift: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Return a symmetric table of lifts of about so many nats, and groups, some of them none."""
    rng = np.random.default_rng(candidates)
    half = rng.normal(0.0, lift / np.sqrt(2.0), (PAIR_GROUPS, PAIR_GROUPS))
    groups = rng.integers(0, 9, candidates).astype(np.int32)
    groups[rng.random(candidates) < 0.1] = PAIR_GROUPS
    return (half + half.T).astype(np.float32), groups


@implementations
@pytest.mark.parametrize("lift", [3.0, 11.9, 12.1, 60.0, 100.0])
def test_lifts_as_long_as_they_may_be_leave_log_probabilities_exact(
    implementation: Implementation, lift: float
) -> None:
    """What is placed first makes hopeless candidates the only ones that count, and others none."""
    scores = np.concatenate([[0.0, -1.0], np.full(300, -90.0), np.full(20, 0.5)])
    scores = scores.astype(np.float32)
    groups = np.concatenate([[0, 0], np.full(300, 1), np.full(20, 2)]).astype(np.int32)
    table = np.zeros((PAIR_GROUPS, PAIR_GROUPS), np.float32)
    table[0, 1], table[0, 2] = lift, -lift
    table[1, 0], table[2, 0] = lift, -lift
    banner = likely_banner(scores, table, groups, np.random.default_rng(1), first=0)

    found = implementation.position_log_prob(scores, banner, table, groups)

    lifts = lifts_of(table, groups, banner)
    expected = reference.position_log_prob(scores.astype(np.float64), banner, lifts)
    np.testing.assert_allclose(found, expected, atol=AIMED_AT, rtol=1e-6)


def test_the_product_placed_lifts_its_partners_and_nothing_else() -> None:
    table = np.zeros((PAIR_GROUPS, PAIR_GROUPS), np.float32)
    table[3, 4] = table[4, 3] = np.log(3.0)
    groups = np.array([3, 4, PAIR_GROUPS, 5], np.int32)
    banner = np.array([0, 1])

    found = reference.position_log_prob(np.zeros(4), banner, lifts_of(table, groups, banner))

    np.testing.assert_allclose(np.exp(found), [1 / 4, 3 / 5])


def drawn_from(
    policy: ServingPolicy,
    context: Context,
    *,
    seed: int = 0,
    eligible: npt.NDArray[np.uint8] | None = None,
    excluded: npt.NDArray[np.int32] = NONE,
    size: int = 5,
    uniforms: Doubles | None = None,
) -> Draw:
    everything = np.ones(policy.products, np.uint8)
    return policy.draw(
        viewed_row=context.viewed_row,
        history=histories.pack(context.history),
        eligible=everything if eligible is None else eligible,
        excluded=excluded,
        size=size,
        uniforms=np.random.default_rng(seed).random(UNIFORMS) if uniforms is None else uniforms,
    )


def log_prob_of(
    weights: Weights,
    features: ProductFeatures,
    rows: npt.NDArray[np.int32],
    draw: Draw,
    scores: Doubles,
) -> Doubles:
    """Return (K,) in float64, of scores (C,) of the candidates."""
    places = np.searchsorted(rows, draw.rows)
    lifts = reference.pair_lifts(weights, features, rows, places)
    return reference.position_log_prob(scores, places, lifts)


@pytest.mark.parametrize(("known", "products"), [(300, 300), (4950, 5000)])
def test_promise_1_the_recorded_log_probability_is_that_of_float64(
    known: int, products: int
) -> None:
    weights, features = weights_of(known, sharpness=3.0), features_of(products)
    policy = ServingPolicy.compile(weights, features, version=1)
    compiled = reference.compile_products(weights, features)

    for number, context in enumerate(contexts_of(products, 20, seed=7)):
        draw = drawn_from(policy, context, seed=number)

        rows = packing.unpack(draw.packed_candidates)
        scores = reference.scores(weights, compiled, features, context)[rows]
        expected = log_prob_of(weights, features, rows, draw, scores)
        np.testing.assert_allclose(draw.log_probs, expected, atol=PROMISED)
        np.testing.assert_allclose(draw.log_probs, expected, atol=2 * AIMED_AT)


@pytest.mark.parametrize("products", [FULL_CANDIDATES, FULL_CANDIDATES + 1, 2600, 9001])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_candidates_follow_the_rule(products: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = ServingPolicy.compile(weights_of(products), features_of(products), version=1)
    context = contexts_of(products, 1, seed=seed)[-1]
    eligible = (rng.random(products) < (1.0, 0.9, 0.5)[seed - 1]).astype(np.uint8)
    excluded = rng.integers(0, products, 20).astype(np.int32)
    uniforms = rng.random(UNIFORMS)

    draw = drawn_from(policy, context, eligible=eligible, excluded=excluded, uniforms=uniforms)

    scores = policy.scores(
        viewed_row=context.viewed_row, history=histories.pack(context.history),
        eligible=eligible, excluded=excluded,
    )  # fmt: skip
    allowed = eligible.astype(bool)
    allowed[excluded] = False
    if context.viewed_row >= 0:
        allowed[context.viewed_row] = False
    expected = choose_candidates(
        scores, allowed, repeats=context.history.rows, uniforms=uniforms[5:]
    )
    assert draw.candidates.tolist() == expected.tolist()
    assert draw.packed_candidates == packing.pack(expected)
    assert set(draw.rows.tolist()) <= set(expected.tolist())


def test_candidates_differ_from_those_of_float64_only_where_scores_are_level() -> None:
    products = 6000
    weights, features = weights_of(products), features_of(products)
    policy = ServingPolicy.compile(weights, features, version=1)
    compiled = reference.compile_products(weights, features)

    for number, context in enumerate(contexts_of(products, 5, seed=5)):
        uniforms = np.random.default_rng(number).random(UNIFORMS)
        draw = drawn_from(policy, context, uniforms=uniforms)

        scores = reference.scores(weights, compiled, features, context)
        allowed = np.arange(products) != context.viewed_row
        expected = choose_candidates(
            scores, allowed, repeats=context.history.rows, uniforms=uniforms[5:]
        )
        last = np.sort(scores[allowed])[-TOP_CANDIDATES]
        for row in np.setxor1d(draw.candidates, expected):
            assert abs(scores[row] - last) < PROMISED


def test_banners_come_as_often_as_plackett_luce_says() -> None:
    weights, features = weights_of(5, seed=4, sharpness=0.7), features_of(5)
    policy = ServingPolicy.compile(weights, features, version=1)
    scores = reference.scores(
        weights, reference.compile_products(weights, features), features, Context()
    )
    draws = 20_000
    rng = np.random.default_rng(11)

    seen = Counter(
        tuple(drawn_from(policy, Context(), size=3, uniforms=rng.random(UNIFORMS)).rows.tolist())
        for _ in range(draws)
    )

    statistic = 0.0
    banners = list(permutations(range(5), 3))
    for banner in banners:
        places = np.array(banner)
        lifts = reference.pair_lifts(weights, features, np.arange(5), places)
        expected = draws * np.exp(reference.position_log_prob(scores, places, lifts).sum())
        statistic += (seen[banner] - expected) ** 2 / expected
    freedom = len(banners) - 1
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)  # four standard errors


def test_a_policy_peaked_beyond_float32_still_draws_five_and_says_how_likely() -> None:
    weights, features = weights_of(300, sharpness=400.0), features_of(300)
    policy = ServingPolicy.compile(weights, features, version=1)
    context = Context(3, history_of(300))

    draw = drawn_from(policy, context)

    scores = policy.scores(
        viewed_row=3, history=histories.pack(context.history),
        eligible=np.ones(300, np.uint8), excluded=NONE,
    )  # fmt: skip
    assert np.ptp(scores[draw.candidates]) > 200
    assert len(set(draw.rows.tolist())) == 5
    rows = draw.candidates
    expected = log_prob_of(weights, features, rows, draw, scores[rows].astype(np.float64))
    np.testing.assert_allclose(draw.log_probs, expected, atol=AIMED_AT)
