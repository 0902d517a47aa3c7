import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from simulator.environment import BannerEnvironment, register
from simulator.synthetic import SyntheticWorld


def small(**options) -> gymnasium.Env:
    register()
    return gymnasium.make("Quintet/Synthetic-v0", products=60, visits=20, **options).unwrapped


def test_the_synthetic_environment_passes_gymnasiums_own_check():
    check_env(small(), skip_render_check=True)


def test_the_environment_of_aisles_passes_gymnasiums_own_check():
    register()
    made = gymnasium.make("Quintet/Aisles-v0", products=60, visits=20)

    check_env(made.unwrapped, skip_render_check=True)


def test_the_grocer_environment_passes_gymnasiums_own_check(grocery_cache):
    register()
    made = gymnasium.make("Quintet/Grocer-v0", cache=grocery_cache, visits=20)

    check_env(made.unwrapped, skip_render_check=True)


def test_the_same_seed_and_actions_give_the_same_episode():
    def episode(seed):
        env = small()
        observed, _ = env.reset(seed=seed)
        env.action_space.seed(0)
        steps = [env.step(env.action_space.sample()) for _ in range(20)]
        return [(observed["viewed"], step[0]["viewed"], step[1], step[4]) for step in steps]

    assert episode(5) == episode(5)
    assert episode(5) != episode(6)


def test_an_episode_is_truncated_after_its_visits_and_needs_a_reset():
    env = small()
    env.reset(seed=1)

    ends = [env.step(env.oracle())[2:4] for _ in range(20)]

    assert ends == [(False, False)] * 19 + [(False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(5, np.int64))


def test_a_repeated_row_earns_nothing_and_later_products_move_forward():
    world = SyntheticWorld(60, shoppers=20, past=50)
    env, twin = BannerEnvironment(world), BannerEnvironment(world)
    env.reset(seed=1)
    twin.reset(seed=1)
    rows = [row for row in range(7) if row != _viewed(twin)][:3]

    repeated = env.step(np.array([rows[0], rows[0], rows[1], rows[1], rows[2]]))

    visit = next(iter(world.visits(_stream_seed(1))))
    banner = [world.products[row].product_id for row in rows]
    assert repeated[4]["expected_reward"] == world.expected_reward(visit, banner)


def test_the_product_viewed_is_left_out_of_the_banner():
    world = SyntheticWorld(60, shoppers=20, past=50)
    env = BannerEnvironment(world)
    seed = next(seed for seed in range(50) if env.reset(seed=seed)[0]["viewed"] < 60)
    observed, _ = env.reset(seed=seed)

    _, reward, _, _, told = env.step(np.full(5, observed["viewed"]))

    assert reward == 0.0
    assert told["expected_reward"] == 0.0


def test_the_oracle_earns_more_than_random_rows():
    env = small()

    def total(act):
        env.reset(seed=3)
        return sum(env.step(act())[4]["expected_reward"] for _ in range(20))

    assert total(env.oracle) > 3 * total(env.action_space.sample)


def _viewed(env) -> int:
    return int(env.reset(seed=1)[0]["viewed"])


def _stream_seed(seed: int) -> int:
    rng, _ = gymnasium.utils.seeding.np_random(seed)
    return int(rng.integers(2**31))
