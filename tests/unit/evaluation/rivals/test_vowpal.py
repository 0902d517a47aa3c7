"""Vowpal Wabbit as a rival."""

import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from evaluation.errors import RivalNotInstalled
from evaluation.rivals import VowpalSettings, VowpalWabbit
from evaluation.shop import Outcome, Situation
from policy.serving import ServingPolicy
from schemas.history import History, pack
from simulator.world import Visit
from tests.policies import features_of, weights_of

PRODUCTS = 30
PAYING = 17
FEATURES = features_of(PRODUCTS, seed=1)


def vowpal(candidates: int = PRODUCTS, seed: int = 3) -> VowpalWabbit:
    policy = ServingPolicy.compile(weights_of(PRODUCTS, seed=2), FEATURES, version=0)
    return VowpalWabbit(policy, FEATURES, VowpalSettings(candidates=candidates), seed=seed)


def situation(number: int = 0, viewed_row: int = -1) -> Situation:
    visit = Visit(0, 0, None, None, (), datetime(2026, 1, 1, tzinfo=UTC), {})
    history = pack(History(recent=np.array([1, 2], np.uint32)))
    return Situation(number, visit, viewed_row, history)


def earned(rival: VowpalWabbit, banners: int) -> np.ndarray:
    """Return (banners,) points where one product pays wherever it stands."""
    found = []
    for number in range(banners):
        asked = situation(number, viewed_row=number % 5)
        rows = rival.banner(asked)
        points = tuple(float(row == PAYING) for row in rows.tolist())
        rival.learn(asked, rows, Outcome(points, (), ()))
        found.append(sum(points))
    return np.array(found)


def test_what_pays_comes_to_be_shown_far_more_often_than_by_chance() -> None:
    found = earned(vowpal(), 1_000)

    by_chance = 5 / (PRODUCTS - 1)
    assert found[-300:].mean() > 4 * by_chance


def test_five_distinct_candidates_are_shown_and_never_the_product_viewed() -> None:
    rival = vowpal(candidates=8)

    shown = [rival.banner(situation(viewed_row=4)).tolist() for _ in range(100)]

    assert all(len(set(rows)) == 5 for rows in shown)
    assert 4 not in {row for rows in shown for row in rows}
    assert len({row for rows in shown for row in rows}) <= 8


def test_the_same_seed_gives_the_same_run() -> None:
    np.testing.assert_array_equal(earned(vowpal(), 100), earned(vowpal(), 100))


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vowpalwabbit", None)

    with pytest.raises(RivalNotInstalled, match=r"pip install 'quintet\[rivals\]'"):
        vowpal()


def test_a_reward_for_a_banner_that_was_not_shown_is_refused() -> None:
    rival = vowpal()
    rival.banner(situation())

    with pytest.raises(ValueError, match="not the last one shown"):
        rival.learn(situation(), np.arange(5), Outcome((0.0,) * 5, (), ()))
