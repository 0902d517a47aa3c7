"""What must hold: each measure on made-up results, the verdicts, and parts that are kept."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from evaluation import measures
from evaluation.contenders import maker
from evaluation.knobs import read_knobs
from evaluation.measures import Reached
from evaluation.musts import MUSTS, Judged, Must, judged
from evaluation.parts import PARTS, Part, PartsFolder, play, smoke
from evaluation.plot import write_page
from evaluation.results import LearnResults, Run
from trainer.learner_settings import LearnerSettings

BIN = 250
LEARNER = LearnerSettings()
PART = Part("tiny", "synthetic", (1, 2), 4_000, ("rival", "policy"))


def results(banners: int = 4_000, **earned: Callable[[int, int], float]) -> LearnResults:
    """Two seeds in which the oracle earns 1 always; contenders what they do by seed and banner."""
    bins = range(0, banners, BIN)
    return LearnResults(
        world="synthetic",
        products=1_000,
        banners=banners,
        bin_banners=BIN,
        seeds=(1, 2),
        oracle=((1.0,) * len(bins),) * 2,
        runs=tuple(
            Run(
                contender=name,
                seed=seed,
                earned=tuple(of(seed, start) for start in bins),
                distinct=9,
                milliseconds=1.0,
                covered=40 + 10 * seed,
                outside=0.1 * seed,
            )
            for name, of in earned.items()
            for seed in (1, 2)
        ),
        oracle_covered=(100, 120),
        settings=str(LEARNER),
    )


def steady(value: float) -> Callable[[int, int], float]:
    return lambda _seed, _start: value


def by_seed(first: float, second: float) -> Callable[[int, int], float]:
    return lambda seed, _start: first if seed == 1 else second


def test_the_share_is_the_mean_of_the_seeds_with_the_worst_beside() -> None:
    found = results(policy=by_seed(0.4, 0.6))

    assert measures.share(found, mark=2_000) == Reached(0.5, "worst 0.400")


def test_over_a_rival_is_a_ratio_with_its_seeds_beside() -> None:
    found = results(policy=by_seed(0.4, 0.6), rival=steady(0.25))

    reached = measures.over(found, rival="rival", mark=2_000)
    assert reached is not None
    assert reached.value == pytest.approx(2.0)
    assert reached.beside.startswith("worst 1.600, median 2.000")


def test_over_the_foundation_the_median_and_the_worst_seed_are_asked_for() -> None:
    found = results(policy=by_seed(0.4, 0.6), foundation=steady(0.2))

    for of_seeds, value in (("median", 2.5), ("worst", 2.0)):
        reached = measures.over_foundation(found, mark=2_000, of_seeds=of_seeds)  # type: ignore[arg-type]
        assert reached is not None
        assert reached.value == pytest.approx(value)


def test_a_quarter_is_compared_with_the_same_quarter() -> None:
    found = results(policy=lambda _, start: 0.5 if start < 1_000 else 0.6, foundation=steady(0.5))

    first, last = (
        measures.over_in_quarter(found, rival="foundation", quarter=number) for number in (0, 3)
    )
    assert first is not None
    assert last is not None
    assert (first.value, last.value) == pytest.approx((1.0, 1.2))


def test_a_loss_is_of_the_banners_asked_for() -> None:
    def worse(_: int, start: int) -> float:
        return 0.4 if 1_000 <= start < 2_000 else 0.5

    found = results(**{"policy": steady(0.5), "policy:stale=1": worse})

    within = measures.loss(found, contender="policy:stale=1", start=1_000, end=2_000)
    after = measures.loss(found, contender="policy:stale=1", start=2_000, end=3_000)
    assert within is not None
    assert after is not None
    assert (within.value, after.value) == pytest.approx((0.2, 0.0))


def moved(_: int, start: int) -> float:
    """Return what is earned where tastes move at 3,000."""
    if start < 3_000:
        return 0.6
    return 0.2 if start < 4_000 else 0.65


def test_what_came_back_after_a_drift_is_a_share_of_what_was_lost() -> None:
    found = results(banners=8_000, policy=lambda _, start: min(moved(_, start), 0.5))

    reached = measures.recovered(found, moment=3_000)
    assert reached is not None
    assert reached.value == pytest.approx(1.0)
    assert reached.beside == "0.500 before, 0.200 after, 0.500 at the end"

    found = results(banners=8_000, policy=lambda _, start: moved(_, start) - 0.3 * (start >= 5_000))
    reached = measures.recovered(found, moment=3_000)
    assert reached is not None
    assert reached.value == pytest.approx((0.35 - 0.2) / (0.6 - 0.2))


def test_what_a_drift_cost_is_told_against_shops_that_stayed() -> None:
    unmoved = results(banners=8_000, policy=lambda _, start: 0.6 if start < 4_000 else 0.75)

    reached = measures.caught_up(results(banners=8_000, policy=moved), unmoved, moment=3_000)
    assert reached is not None
    assert reached.value == pytest.approx(0.75)
    assert reached.beside == "0.200 for 0.600 at first, 0.650 for 0.750 at the end"


def test_a_drift_that_cost_nothing_is_overcome() -> None:
    found = results(banners=8_000, policy=steady(0.5))

    assert measures.recovered(found, moment=3_000) == Reached(
        1.0, "0.500 before, 0.500 after, 0.500 at the end"
    )
    assert measures.caught_up(found, found, moment=3_000) == Reached(
        1.0, "0.500 for 0.500 at first, 0.500 for 0.500 at the end"
    )
    shorter = results(banners=4_000, policy=steady(0.5))
    assert measures.caught_up(found, shorter, moment=3_000) is None


def test_what_is_reached_in_the_end_is_told_beside_other_shops() -> None:
    found = results(banners=8_000, policy=moved)

    reached = measures.beside_other_shops(found, results(banners=8_000, policy=steady(0.5)))
    assert reached is not None
    assert reached.value == pytest.approx(1.3)
    assert measures.beside_other_shops(found, results(banners=4_000, policy=steady(0.5))) is None


def test_coverage_is_told_beside_the_oracles() -> None:
    found = results(policy=steady(0.5))

    assert measures.covered(found, after=4_000) == Reached(55.0, "oracle 110")
    assert measures.outside(found) == Reached(pytest.approx(0.15))  # type: ignore[arg-type]
    assert measures.covered(found, after=20_000) is None


def test_what_was_not_played_is_not_judged() -> None:
    found = results(policy=steady(0.5))

    assert measures.share(found, mark=5_000) is None
    assert measures.over(found, rival="rival", mark=1_000) is None
    assert measures.over_foundation(found, mark=1_000, of_seeds="worst") is None
    assert measures.over_in_quarter(found, rival="rival", quarter=0) is None
    assert measures.loss(found, contender="policy:stale=1", start=0, end=1_000) is None
    assert measures.recovered(found, moment=1_000) is None
    assert measures.recovered(results(banners=8_000, policy=steady(0.5)), moment=2_000) is None
    assert measures.caught_up(found, found, moment=1_000) is None
    assert measures.outside(results(rival=steady(0.5))) is None


@pytest.mark.parametrize(
    ("reached", "gain", "loss"),
    [(0.1, "not met", "aim met"), (0.5, "must met", "must met"), (0.9, "aim met", "not met")],
)
def test_a_verdict_knows_gains_from_losses(reached: float, gain: str, loss: str) -> None:
    must = Must("", "", measures.share, must=0.4, aim=0.8)

    assert must.verdict(Reached(reached)) == gain
    assert replace(must, must=0.8, aim=0.4, is_loss=True).verdict(Reached(reached)) == loss
    assert replace(must, must=None, aim=None).verdict(Reached(reached)) == "shown"
    assert replace(must, aim=None).verdict(Reached(0.9)) == "must met"


def test_a_verdict_stands_in_one_line() -> None:
    must = Must("loss", "tiny", measures.share, must=0.15, aim=0.05, is_loss=True)

    line = Judged(must, Reached(0.1234, "worst 0.2")).row()

    assert line == {
        "what": "loss", "must": "<= 0.150", "aim": "<= 0.050", "reached": "0.123",
        "beside": "worst 0.2", "verdict": "must met",
    }  # fmt: skip
    assert Judged(must, None).row()["verdict"] == "not played"
    assert Judged(must, Reached(0.1234)).told()["reached"] == 0.1234


def test_every_must_has_a_part_that_can_tell_it() -> None:
    """The parts as planned, with made-up figures, leave no must unplayed."""
    played = {
        part.name: msgspec.structs.replace(
            results(
                part.banners,
                **{
                    name: (lambda _, start: 0.3 if 20_000 <= start < 21_000 else 0.5)
                    for name in part.contenders
                },
            ),
            world=part.world,
        )
        for part in PARTS
    }

    found = judged(played)

    assert len(found) == len(MUSTS)
    assert {each.must.what for each in found if each.verdict == "not played"} == set()
    assert len({each.must.what for each in found}) == len(MUSTS)
    assert {part for must in MUSTS for part in must.parts} == {part.name for part in PARTS}


@pytest.mark.parametrize("part", [*PARTS, *smoke()], ids=lambda part: f"{part.name} {part.banners}")
def test_every_part_can_be_played(part: Part) -> None:
    for name in part.contenders:
        maker(name)
    read_knobs(part.world, part.knobs)


def test_a_part_that_was_played_is_not_played_again(tmp_path: Path) -> None:
    found = results(rival=steady(0.2), policy=steady(0.5))
    again, asked = replace(PART, name="again"), []

    def learn(part: Part) -> LearnResults:
        asked.append(part.name)
        if part is again and asked.count("again") == 1:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        list(play([PART, again], PartsFolder(tmp_path, LEARNER), learn))
    assert list(play([PART, again], PartsFolder(tmp_path, LEARNER), learn)) == [
        (PART, found),
        (again, found),
    ]
    assert asked == ["tiny", "again", "again"]

    PartsFolder(tmp_path, LEARNER).forget([PART])
    list(play([PART, again], PartsFolder(tmp_path, LEARNER), learn))
    assert asked == ["tiny", "again", "again", "tiny"]


@pytest.mark.parametrize(
    "other",
    [
        {"banners": 5_000},
        {"seeds": (1, 3)},
        {"knobs": "bots=.1"},
        {"products": 300},
        {"world": "aisles"},
        {"contenders": ("rival", "policy:stale=1")},
        {"households": "even"},
    ],
    ids=str,
)
def test_results_of_another_study_are_played_anew(tmp_path: Path, other: dict[str, object]) -> None:
    folder = PartsFolder(tmp_path, LEARNER)
    folder.keep(PART, results(rival=steady(0.2), policy=steady(0.5)))

    assert folder.found(PART) is not None
    assert folder.found(replace(PART, **other)) is None  # type: ignore[arg-type]


def test_results_of_other_settings_are_played_anew(tmp_path: Path) -> None:
    PartsFolder(tmp_path, LEARNER).keep(PART, results(rival=steady(0.2), policy=steady(0.5)))

    assert PartsFolder(tmp_path, LearnerSettings(batch_banners=1_024)).found(PART) is None


def test_a_damaged_file_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text('{"world": "synth')

    assert PartsFolder(tmp_path, LEARNER).found(PART) is None


def test_one_page_holds_the_table_and_the_curves_of_all_parts(tmp_path: Path) -> None:
    found = results(rival=steady(0.2), policy=steady(0.5))
    rows = [Judged(Must("<share>", "tiny", partial(measures.share, mark=1_000), 0.4), None).row()]

    write_page("musts", rows, {"one": found, "two": found}, tmp_path / "new" / "page.html")

    page = (tmp_path / "new" / "page.html").read_text()
    assert "&lt;share&gt;" in page
    assert page.count("Plotly.newPlot(") >= 2
    assert page.count("plotly.js v") == 1
    assert "<script src=" not in page
    assert "<h2>one</h2>" in page
    assert "<h2>two</h2>" in page


def test_over_all_takes_the_whole_run() -> None:
    found = results(foundation=by_seed(0.3, 0.5), own=steady(0.2))

    reached = measures.over_all(found, rival="own", contender="foundation")
    assert reached is not None
    assert reached.value == pytest.approx(2.0)
    assert reached.beside.startswith("worst 1.500, median 2.000, ")
    assert measures.over_all(found, rival="own", contender="policy") is None


def test_what_exploring_widens_is_a_ratio_of_covered_products() -> None:
    found = results(**{"policy": steady(0.5), "policy:exploration=0": steady(0.5)})
    narrow = [msgspec.structs.replace(run, covered=22) for run in found.runs[2:]]
    found = msgspec.structs.replace(found, runs=(*found.runs[:2], *narrow))

    assert measures.widened(found) == Reached(2.5, "55, 22")
    assert measures.widened(results(policy=steady(0.5))) is None
