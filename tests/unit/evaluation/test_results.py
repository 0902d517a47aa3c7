"""What a study says: shares at marks, paired ratios, and what changed since an earlier one."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from evaluation.plot import write_plot
from evaluation.results import LearnResults, Run, in_bins, ratio
from policy.pairs import CategoryPair


def results(better: float = 1.0) -> LearnResults:
    """Two seeds of 2,000 banners: the oracle earns 2 and 4, a rival half, the policy ever more."""
    runs = []
    for seed, best in ((5, 2.0), (6, 4.0)):
        rising = best * np.linspace(0.2, 0.9, 8) * better
        runs += [
            Run(contender="linucb", seed=seed, earned=(best / 2,) * 8, distinct=20, milliseconds=1),
            Run(
                contender="policy",
                seed=seed,
                earned=tuple(rising.tolist()),
                distinct=50,
                milliseconds=1,
            ),
        ]
    return LearnResults(
        world="synthetic",
        products=1000,
        banners=2000,
        bin_banners=250,
        seeds=(5, 6),
        oracle=((2.0,) * 8, (4.0,) * 8),
        runs=tuple(runs),
    )


def test_a_mark_is_the_last_quarter_before_it_as_a_share_of_the_oracle() -> None:
    found = results()

    assert found.marks == (1000, 2000)
    assert found.before("policy", 1000) == pytest.approx([0.5, 0.5])
    assert found.before("policy", 2000) == pytest.approx([0.85, 0.85])
    assert found.before("linucb", 2000) == pytest.approx([0.5, 0.5])
    with pytest.raises(KeyError):
        found.before("nobody", 1000)


def test_quarters_are_of_the_run() -> None:
    assert results().quarter("policy", 0) == pytest.approx([0.5, 1.0])
    assert results().quarter("policy", 3) == pytest.approx([1.7, 3.4])


def test_the_table_tells_the_best_last_and_the_policy_against_each() -> None:
    rows = results().rows()

    assert [row["contender"] for row in rows] == ["linucb", "policy"]
    assert rows[0]["policy over it"] == "1.70 (1.70..1.70)"
    assert rows[1]["at 2,000"] == "0.850"
    assert rows[1]["distinct products"] == "50"


def test_a_ratio_has_the_interval_of_its_seeds() -> None:
    found = ratio(np.array([1.1, 1.3, 1.2]), np.array([1.0, 1.0, 1.0]))

    assert found.estimate == pytest.approx(1.2)
    # Student's t with 2 degrees of freedom: 4.3027 * .1 / sqrt(3)
    assert (found.low, found.high) == pytest.approx((1.2 - 0.24841, 1.2 + 0.24841), abs=1e-4)
    assert (found.worst, found.median) == pytest.approx((1.1, 1.2))
    assert str(ratio(np.array([2.0]), np.array([1.0]))) == "2.00"


def test_what_changed_since_an_earlier_run_is_told_for_contenders_of_both() -> None:
    changes = results(better=1.1).changes(results())

    assert [row["contender"] for row in changes] == ["linucb", "policy"]
    assert changes[0]["at 1,000"] == "0.500 (+0.000)"
    assert changes[1]["at 1,000"] == "0.550 (+0.050)"


def test_results_come_back_from_their_file() -> None:
    assert msgspec.json.decode(msgspec.json.encode(results()), type=LearnResults) == results()


def test_bins_are_means_of_neighbours_and_the_last_may_be_short() -> None:
    assert in_bins([1.0, 3.0, 5.0, 7.0, 10.0], 2) == (2.0, 6.0, 10.0)


def test_a_plot_needs_no_other_host(tmp_path: Path) -> None:
    write_plot(results(), tmp_path / "plot.html")

    page = (tmp_path / "plot.html").read_text()
    assert "<script src=" not in page
    assert "linucb" in page


def test_pairs_have_a_row_each_and_survive_the_file() -> None:
    plain = results()
    first = msgspec.structs.replace(plain.runs[1], pairs=(CategoryPair("pasta", "sauce", 1.5),))
    found = msgspec.structs.replace(plain, runs=(plain.runs[0], first, *plain.runs[2:]))

    again = msgspec.json.decode(msgspec.json.encode(found), type=LearnResults)

    assert plain.pair_rows() == []
    assert again == found
    assert [list(row.values()) for row in again.pair_rows()] == [
        ["policy", 5, "pasta", "sauce", "4.48"]
    ]
