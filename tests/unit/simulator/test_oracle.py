from itertools import permutations

import numpy as np
import pytest

from simulator.circumstances import SyntheticShare
from simulator.oracle import best_banner
from simulator.synthetic import STRONG_PULL, SyntheticWorld


@pytest.mark.parametrize("pull", [0.0, STRONG_PULL])
def test_greedy_and_swaps_come_within_one_percent_of_brute_force_on_small_shops(pull):
    ratios = []
    for seed in range(8):
        everywhere = SyntheticShare(viewed=0.0)
        world = SyntheticWorld(7, seed=seed, shoppers=5, past=10, share=everywhere, pull=pull)
        world._assortment.category[:] %= 4  # few categories, so that many products go together
        visit = next(iter(world.visits(seed)))
        ids = [product.product_id for product in world.products]

        best = max(world.expected_reward(visit, banner) for banner in permutations(ids, 5))

        ratios.append(world.expected_reward(visit, world.oracle(visit)) / best)

    assert min(ratios) >= 0.99
    assert np.median(ratios) == pytest.approx(1.0, abs=1e-12)


def test_a_swap_repairs_what_greed_gets_wrong():
    # alone 0 is best; together 1 and 2 are worth more
    worth = {(0,): 3.0, (1,): 2.0, (2,): 2.0}

    def expected(banners):
        pairs = [tuple(sorted(banner)) for banner in banners.tolist()]
        return np.array(
            [9.0 if pair == (1, 2) else sum(worth[(i,)] for i in pair) for pair in pairs]
        )

    banner = best_banner(3, 2, expected)

    assert sorted(banner) == [1, 2]


def test_a_beginning_finds_what_greed_and_single_swaps_do_not():
    # 0 and 1 are best alone; 2, 3 and 4 are worth most, but only all three together
    def expected(banners):
        rewards = []
        for banner in banners.tolist():
            together = {2, 3, 4} <= set(banner)
            rewards.append(9.0 if together else sum(i < 2 for i in banner) + 0.1 * len(banner))
        return np.array(rewards)

    assert not {2, 3, 4} <= set(best_banner(9, 3, expected))
    assert set(best_banner(9, 3, expected, beginnings=[np.array([2, 3, 4])])) == {2, 3, 4}


def test_fewer_candidates_than_positions_make_a_shorter_banner():
    banner = best_banner(3, 5, lambda banners: banners.sum(axis=1).astype(float))

    assert sorted(banner) == [0, 1, 2]
