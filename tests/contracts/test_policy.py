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

from policy import reference
from policy.architecture import FULL_CANDIDATES, TOP_CANDIDATES
from policy.candidates import choose_candidates
from policy.context import Context
from policy.features import ProductFeatures
from policy.kernels.plackett_luce import draw_positions
from policy.serving import UNIFORMS, Draw, ServingPolicy
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
        self, candidate_scores: npt.NDArray[np.float32], banner: npt.NDArray[np.int64]
    ) -> Doubles:
        """Return (K,) log-probability of each position given those before."""
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
        self, candidate_scores: npt.NDArray[np.float32], banner: npt.NDArray[np.int64]
    ) -> Doubles:
        count = len(candidate_scores)
        drawn, log_probs = np.zeros(5, np.int32), np.zeros(5, np.float32)
        draw_positions(
            candidate_scores.copy(), count, len(banner), leading_to(candidate_scores, banner),
            np.zeros(count, np.int32), np.zeros(count, np.float32), np.zeros(count), drawn,
            log_probs,
        )  # fmt: skip
        assert drawn[: len(banner)].tolist() == banner.tolist()
        return log_probs[: len(banner)].astype(np.float64)


def leading_to(scores: npt.NDArray[np.float32], banner: npt.NDArray[np.int64]) -> Doubles:
    """Return the uniform numbers that make an inverse-CDF draw choose this banner."""
    left = scores.astype(np.float64)
    uniforms = []
    for chosen in banner:
        weights = np.exp(left - left.max())
        middle = weights[:chosen].sum() + weights[chosen] / 2
        uniforms.append(middle / weights.sum())
        left[chosen] = -np.inf
    return np.array(uniforms)


IMPLEMENTATIONS = [pytest.param(Serving(), id="serving")]
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
@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("candidates", [1, 4, 5, 64, 65, 700])
def test_log_probabilities_agree_with_the_reference(
    implementation: Implementation, candidates: int, spread: float
) -> None:
    rng = np.random.default_rng(candidates)
    scores = rng.normal(0.0, spread, candidates).astype(np.float32)
    likely = np.argsort(-scores)[: max(5, candidates // 20)]
    banner = rng.permutation(likely)[: min(5, candidates)] if spread < 2 else likely[:5]

    found = implementation.position_log_prob(scores, banner)

    expected = reference.position_log_prob(scores.astype(np.float64), banner)
    np.testing.assert_allclose(found, expected, atol=AIMED_AT, rtol=1e-6)


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
        expected = reference.position_log_prob(scores, np.searchsorted(rows, draw.rows))
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
        expected = draws * np.exp(reference.position_log_prob(scores, np.array(banner)).sum())
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
    expected = reference.position_log_prob(
        scores[draw.candidates].astype(np.float64), np.searchsorted(draw.candidates, draw.rows)
    )
    np.testing.assert_allclose(draw.log_probs, expected, atol=AIMED_AT)
