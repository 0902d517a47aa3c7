"""`quintet learn` plays, compares and judges, and takes no option that it would ignore."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evaluation.parts import PARTS
from evaluation.results import LearnResults, Run
from schemas.codec import encode
from tests.unit.cli.called import Call, settings_of
from trainer.learner_settings import LearnerSettings


def test_learn_plays_every_rival_and_writes_curves(call: Call, tmp_path: Path) -> None:
    plot, results = tmp_path / "learn.html", tmp_path / "learn.json"

    done = call(
        "learn", "--banners", 512, "--seeds", "3", "--products", 100, "--json",
        "--rivals", "foundation,linucb,policy", "--plot", plot, "--results", results,
    )  # fmt: skip

    assert done.status == 0, done.err
    assert [run["contender"] for run in done.json["runs"]] == ["foundation", "linucb", "policy"]
    assert json.loads(results.read_text()) == done.json
    assert "<script src=" not in plot.read_text()


def test_learn_varies_the_policy_and_the_world(call: Call, tmp_path: Path) -> None:
    results = tmp_path / "learn.json"

    done = call(
        "learn", "--banners", 256, "--seeds", "3", "--products", 60, "--json", "--rivals",
        "policy,policy:weight=0+stale=1", "--knobs", "past=300,shoppers=20,bots=.1",
        "--results", results,
    )  # fmt: skip

    assert done.status == 0, done.err
    found = json.loads(results.read_text())
    assert found["knobs"] == "past=300,shoppers=20,bots=.1"
    assert [run["contender"] for run in found["runs"]] == ["policy", "policy:weight=0+stale=1"]
    assert all(0 < run["covered"] <= 60 and run["outside"] is None for run in found["runs"])
    assert 0 < found["oracle_covered"][0] <= 60


@pytest.mark.parametrize("asked", ["--musts", "--smoke"])
@pytest.mark.parametrize(
    "option",
    [
        ("--world", "synthetic"),
        ("--banners", 20_000),
        ("--seeds", "0,1,2"),
        ("--products", 1_000),
        ("--households", "odd"),
        ("--rivals", "policy"),
        ("--knobs", "bots=.1"),
        ("--results", "results.json"),
        ("--compare", "results.json"),
    ],
    ids=lambda option: option[0],
)
def test_the_musts_take_no_option_that_they_would_ignore(
    call: Call, asked: str, option: tuple[str, object]
) -> None:
    done = call("learn", asked, *option)

    assert done.status == 2
    assert f"{asked} takes no {option[0]}" in done.err


@pytest.mark.parametrize(
    ("world", "option"),
    [
        ("the world synthetic", ("--households", "odd")),
        ("the grocer", ("--products", 1_000)),
    ],
    ids=["made-up", "grocer"],
)
def test_a_world_takes_no_option_that_it_would_ignore(
    call: Call, world: str, option: tuple[str, object]
) -> None:
    done = call("learn", "--world", world.split()[-1], *option)

    assert done.status == 2
    assert f"{world} takes no {option[0]}" in done.err


def test_what_is_played_in_tiny_is_not_judged_strictly(call: Call) -> None:
    done = call("learn", "--smoke", "--strict")

    assert done.status == 2
    assert "--smoke takes no --strict" in done.err


def results_of(path: Path, **changes: Any) -> Path:
    """Write results of a policy that earned half of what there was, on 512 banners of one seed."""
    results = LearnResults(
        world="synthetic", products=60, banners=512, bin_banners=256, seeds=(5,),
        oracle=((1.0, 1.0),), knobs="past=300,shoppers=20",
        runs=(Run(contender="random", seed=5, earned=(0.5, 0.5), distinct=9, milliseconds=1.0),),
    )  # fmt: skip
    path.write_bytes(encode(msgspec.structs.replace(results, **changes)))
    return path


def test_results_are_compared_with_those_of_other_seeds(call: Call, tmp_path: Path) -> None:
    earlier = results_of(tmp_path / "earlier.json")

    done = call(
        "learn", "--banners", 512, "--seeds", "3", "--products", 60, "--rivals", "random",
        "--knobs", "past=300,shoppers=20", "--compare", earlier, "--json",
    )  # fmt: skip

    assert done.status == 0, done.err
    said = " ".join(done.err.split())
    assert "earlier.json" in said
    assert "which played seeds 5" in said
    now = float(msgspec.convert(done.json, LearnResults).before("random", 512).mean())
    assert f"{now:.3f} ({now - 0.5:+.3f})" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"world": "aisles"}, "world aisles, not synthetic"),
        ({"knobs": ""}, "knobs as usual, not past=300,shoppers=20"),
        ({"products": 61}, "products 61, not 60"),
        ({"world": "grocer", "households": "even"}, "households even, not as usual"),
    ],
    ids=str,
)
def test_results_of_another_shop_are_not_compared(
    call: Call, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    earlier = results_of(tmp_path / "earlier.json", **changes)

    done = call("learn", "--products", 60, "--knobs", "past=300,shoppers=20", "--compare", earlier)

    assert done.status == 2
    assert says in done.err


def test_odd_and_even_households_are_not_compared(call: Call, tmp_path: Path) -> None:
    changes = {"world": "grocer", "knobs": "", "households": "even"}
    earlier = results_of(tmp_path / "earlier.json", **changes)

    done = call("learn", "--world", "grocer", "--compare", earlier)

    assert done.status == 2
    assert "households even, not odd" in done.err
    assert "products" not in done.err


def test_where_musts_are_not_met_a_strict_command_fails(call: Call, tmp_path: Path) -> None:
    part = next(part for part in PARTS if part.name == "synthetic-100k")
    bins = part.banners // 250
    runs = [
        {
            "contender": name,
            "seed": seed,
            "earned": [0.5] * bins,
            "distinct": 9,
            "milliseconds": 1.0,
        }
        for name in part.contenders
        for seed in part.seeds
    ]
    kept = {
        "world": part.world, "products": part.products, "banners": part.banners,
        "bin_banners": 250, "seeds": part.seeds, "oracle": [[1.0] * bins] * len(part.seeds),
        "runs": runs, "knobs": part.knobs,
        "settings": str(LearnerSettings(batch_banners=settings_of(tmp_path).batch_banners)),
    }  # fmt: skip
    (tmp_path / "learn").mkdir()
    (tmp_path / "learn" / "synthetic-100k.json").write_text(json.dumps(kept))

    played = ("learn", "--musts", "--parts", "synthetic-100k", "--data-dir", tmp_path, "--json")
    assert call(*played).status == 0
    done = call(*played, "--strict")

    assert done.status == 1
    assert "not met or not played" in done.err
    assert done.json["parts"] == ["synthetic-100k"]


def test_the_musts_in_tiny_are_played_once_and_judged(call: Call, tmp_path: Path) -> None:
    done = call("learn", "--smoke", "--data-dir", tmp_path, "--json")

    assert done.status == 0, done.err
    kept = tmp_path / "learn" / "smoke"
    assert {path.name for path in kept.iterdir()} == {
        "synthetic.json",
        "turnover.json",
        "musts.html",
    }
    assert done.json["parts"] == ["synthetic", "turnover"]
    by_what = {must["what"]: must for must in done.json["musts"]}
    played = by_what["over linucb_hybrid at 1,000, synthetic"]
    assert played["reached"] > 0
    assert played["verdict"] in {"not met", "must met", "aim met"}
    assert by_what["over linucb_hybrid at 2,000, synthetic"]["verdict"] == "not played"

    begun = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    again = call("learn", "--smoke", "--data-dir", tmp_path, "--json")

    assert again.status == 0, again.err
    assert "kept from before" in again.err
    assert again.json == done.json
    assert {path.name: path.stat().st_mtime_ns for path in kept.glob("*.json")} == begun
