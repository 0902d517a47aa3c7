"""What `quintet learn` says of its runs."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from evaluation.learn import LearnResults, _summed_up, learn
from evaluation.plot import write_plot
from simulator.synthetic import SyntheticWorld


def results() -> LearnResults:
    """Return two seeds of 80 banners: a foundation that earns 1, a policy that comes to earn 3."""
    flat, rising = np.ones(80), np.repeat([1.0, 3.0], 40)
    return _summed_up(
        {"foundation": [flat, flat], "policy": [rising, rising + 1.0]}, seeds=(5, 6), banners=80
    )


def test_a_run_is_summed_up_as_a_whole_and_over_its_last_quarter() -> None:
    found = results()

    assert found.seeds == (5, 6)
    assert found.reward_per_banner == {"foundation": (1.0, 1.0), "policy": (2.0, 3.0)}
    assert found.last_quarter == {"foundation": (1.0, 1.0), "policy": (3.0, 4.0)}


def test_curves_are_means_over_seeds_between_the_marks() -> None:
    found = results()

    assert found.marks == tuple(range(2, 81, 2))
    assert found.curves["foundation"] == (1.0,) * 40
    assert found.curves["policy"] == (1.5,) * 20 + (3.5,) * 20


def test_the_table_tells_the_best_last_and_each_seed_against_the_foundation() -> None:
    rows = results().rows()

    assert [row["rival"] for row in rows] == ["foundation", "policy"]
    assert rows[-1]["over_foundation_by_seed"] == "3.00 4.00"


def test_a_plot_needs_no_other_host(tmp_path: Path) -> None:
    write_plot(results(), tmp_path / "plot.html")

    page = (tmp_path / "plot.html").read_text()
    assert "<script src=" not in page
    assert "foundation" in page


@pytest.fixture(scope="module")
def played() -> LearnResults:
    with Progress(console=Console(file=io.StringIO())) as progress:
        return learn(
            lambda seed: SyntheticWorld(60, seed=seed, shoppers=40, past=400),
            seeds=[2],
            banners=400,
            batch_banners=128,
            progress=progress,
        )


def test_every_rival_is_played_for_every_seed(played: LearnResults) -> None:
    assert set(played.last_quarter) == {"random", "popular", "foundation", "policy", "oracle"}
    assert all(len(values) == 1 for values in played.last_quarter.values())


def test_the_oracle_earns_most_and_chance_least(played: LearnResults) -> None:
    earned = {name: values[0] for name, values in played.reward_per_banner.items()}

    assert max(earned, key=lambda name: earned[name]) == "oracle"
    assert earned["oracle"] > 1.5 * earned["random"]
