"""The commands as people and scripts call them: exit status, standard output, standard error."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog
import typer

from cli import main as quintet
from cli import options
from cli.clock import now_ms
from cli.commands import processes
from cli.demo_marker import read_marker
from cli.settings import Settings
from cli.wiring import open_log, open_registry
from evaluation.parts import PARTS
from evaluation.results import LearnResults, Run
from schemas import identity
from schemas.codec import encode
from schemas.events import Recommended
from streams.dead_letters import bury
from streams.port import Log, Message, Partition, Record
from tests.policies import weights_of
from trainer.learner_settings import LearnerSettings

USERS, PRODUCTS = 40, 30


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run `quintet` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "configure_logs", lambda *_, **__: None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["quintet", *map(str, arguments)])
        try:
            quintet.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return Done(status, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Any:
    yield
    structlog.reset_defaults()


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write a tiny shop whose shoppers buy what they bought before."""
    rng = np.random.default_rng(3)
    products, purchases = folder / "products.csv", folder / "purchases.csv"
    products.write_text(
        "product_id,title,category,brand,price_cents\n"
        + "".join(f"p{n},Product {n},c{n % 3},b{n % 5},{100 + n}\n" for n in range(PRODUCTS))
    )
    lines = [
        f"u{user},p{product},2025-01-0{day + 1}T08:{user:02d}:00Z,o{user}-{day}"
        for user in range(USERS)
        for day in range(6)
        for product in sorted({int(rng.integers(PRODUCTS)), user % PRODUCTS})
    ]
    purchases.write_text("user_id,product_id,occurred_at,order_id\n" + "\n".join(lines) + "\n")
    return products, purchases


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done, Done]:
    """A tiny shop, imported and pretrained by commands of their own; what they answered."""
    folder = tmp_path_factory.mktemp("shop")
    products, purchases = write_files(folder)
    data = ["--data-dir", str(folder / "data"), "--json"]

    def run(*arguments: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, *data],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    imported = run("import", "--products", str(products), "--purchases", str(purchases))
    return folder / "data", imported, run("pretrain", "--device", "cpu", "--seed", "1")


@pytest.fixture
def shop(pretrained: tuple[Path, Done, Done], tmp_path: Path) -> Path:
    """A copy of the pretrained shop's data directory."""
    return Path(shutil.copytree(pretrained[0], tmp_path / "data"))


def settings_of(data_dir: Path) -> Settings:
    return Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    script = (
        "import sys; from cli import main; sys.argv = ['quintet', '--help']\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'kafka', 'redis', 'fastapi', 'pyarrow', 'scipy',"
        " 'plotly', 'pandas', 'gymnasium'} & set(sys.modules)), len(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    heavy, _, modules = done.stderr.rpartition("] ")
    assert heavy == "["
    assert int(modules) < 900


def test_every_command_says_what_it_does() -> None:
    def commands(group: Any, name: str) -> dict[str, Any]:
        if not hasattr(group, "commands"):
            return {name: group}
        found: dict[str, Any] = {}
        for each, command in group.commands.items():
            found |= commands(command, f"{name} {each}")
        return found

    found = commands(typer.main.get_command(quintet.app), "quintet")

    assert set(found) == {
        f"quintet {name}"
        for name in (
            "demo", "import", "export", "pretrain", "serve", "aggregate", "train", "console", "run",
            "simulate", "learn", "explain", "doctor", "backup", "restore",
            "settings", "policies list", "policies show",
            "policies promote", "policies rollback", "policies resume", "dead-letters list",
            "dead-letters show", "dead-letters replay", "topics list", "topics apply",
        )
    }  # fmt: skip
    for name, command in found.items():
        assert command.help, name
        own = [p for p in command.params if not p.hidden and p.param_type_name == "option"]
        assert all(option.help for option in own), name


def test_the_version_is_printed(call: Call) -> None:
    done = call("--version")

    assert done.status == 0
    assert done.out.startswith("quintet 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["import", "--nonsense"],
        ["policies", "show", "one"],
        ["learn", "--seeds", "x"],
        ["learn", "--rivals", "policy,nobody"],
        ["learn", "--rivals", "policy:patience=1"],
        ["learn", "--knobs", "gravity=1"],
        ["learn", "--knobs", "bots=2"],
        ["learn", "--world", "grocer", "--knobs", "bots=.1"],
        ["learn", "--musts", "--parts", "everything"],
        ["learn", "--strict"],
        ["learn", "--seeds", ""],
        ["learn", "--compare", "nowhere.json"],
    ],
)
def test_what_is_no_command_line_exits_2(call: Call, arguments: list[str]) -> None:
    done = call(*arguments)

    assert done.status == 2
    assert done.out == ""
    assert done.err != ""


@pytest.mark.parametrize("command", ["serve", "aggregate", "train", "console"])
def test_nothing_listens_beyond_loopback_without_keys_whatever_the_command(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def begun(*_: object, **__: object) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr(processes, "configure_logs", begun)

    done = call(command, "--host", "0.0.0.0")

    assert done.status == 2
    assert "set QUINTET_API_KEYS, or listen on 127.0.0.1" in done.err


def test_import_counts_what_it_took_and_names_what_it_refused(call: Call, tmp_path: Path) -> None:
    products, purchases = tmp_path / "products.csv", tmp_path / "purchases.csv"
    products.write_text("product_id,title,price_cents\np1,One,100\np2,Two,cheap\n,Three,5\n")
    purchases.write_text(
        "user_id,product_id,occurred_at\nu1,p1,2025-01-01T00:00:00Z\nu1,p9,2025-01-02T00:00:00Z\n"
        "u1,p1,yesterday\n"
    )

    done = call("import", "--products", products, "--purchases", purchases, "--json")

    assert done.status == 0, done.err
    assert {name: done.json[name] for name in ("products", "lines", "refused_rows")} == {
        "products": 1, "lines": 2, "refused_rows": 3,
    }  # fmt: skip
    assert done.json["unknown_products"] == 1
    assert [line.partition(":")[0] for line in done.err.splitlines() if "refused" in line] == [
        "refused"
    ] * 3
    assert "products.csv" in done.err
    assert "line 3" in done.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        ("id,name\np1,One\n", "product_id"),
        ("", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_at_all_exits_2_and_changes_nothing(
    call: Call, tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "products.csv"
    if content is not None:
        file.write_text(content)

    done = call("import", "--products", file, "--data-dir", tmp_path / "data")

    assert done.status == 2
    assert "products.csv" in done.err
    assert says in done.err
    log = open_log(settings_of(tmp_path / "data"), member="test")
    assert sum(log.end_offsets("products").values()) == 0
    log.close()


def test_import_without_files_exits_2_and_without_a_catalogue_1(call: Call, tmp_path: Path) -> None:
    _, purchases = write_files(tmp_path)

    assert call("import").status == 2
    assert call("import", "--world", "synthetic", "--purchases", purchases).status == 2
    done = call("import", "--purchases", purchases)

    assert done.status == 1
    assert "--products" in done.err


def test_the_past_of_a_simulated_shop_is_imported(call: Call, tmp_path: Path) -> None:
    done = call("import", "--world", "synthetic", "--json")

    assert done.status == 0, done.err
    assert done.json["products"] == 1_000
    assert done.json["orders"] > 1_000
    assert done.json["unknown_products"] == done.json["refused_rows"] == 0
    marker = read_marker(tmp_path / "quintet-data")
    assert (marker.world, len(marker.shoppers)) == ("synthetic", 12)
    log = open_log(Settings(), member="test")
    assert sum(log.end_offsets("products").values()) == 1_000
    assert sum(log.end_offsets("events").values()) == done.json["orders"]
    log.close()

    refused = call("import", "--world", "aisles")
    assert refused.status == 2
    assert "holds the synthetic demo" in refused.err


def test_pretraining_nothing_exits_1_and_says_what_to_do(call: Call) -> None:
    done = call("pretrain")

    assert done.status == 1
    assert "quintet import --products" in done.err


def test_a_shop_is_imported_and_pretrained_with_nothing_but_json_on_standard_output(
    pretrained: tuple[Path, Done, Done],
) -> None:
    _, imported, trained = pretrained

    assert imported.status == 0, imported.err
    assert imported.json["products"] == PRODUCTS
    assert imported.json["orders"] == USERS * 6
    assert trained.status == 0, trained.err
    assert trained.json["version"] == 1
    held_out = trained.json["held_out"]
    assert 0 <= held_out["popularity"]["recall_at_5"] <= 1
    assert held_out["policy"]["recall_at_5"] > held_out["popularity"]["recall_at_5"]


def test_policies_are_listed_shown_promoted_rolled_back_and_resumed(call: Call, shop: Path) -> None:
    registry = open_registry(settings_of(shop))
    for seed in (1, 2):
        registry.publish(
            weights_of(PRODUCTS, seed=seed), parent=1, foundation=1, catalogue_version=PRODUCTS,
            updates=1, banners=10,
        )  # fmt: skip
    at = ("--data-dir", shop)

    listed = call("policies", "list", *at, "--json").json
    assert listed["live"]["version"] == 1
    assert [each["version"] for each in listed["policies"]] == [1, 2, 3]
    assert "foundation" in call("policies", "list", *at).out or "live" in listed
    assert call("policies", "show", 2, *at, "--json").json["parent"] == 1
    assert call("policies", "promote", 3, *at, "--json").json == {"live": 3}

    back = call("policies", "rollback", *at, "--reason", "worse", "--json").json
    assert (back["version"], back["hold"], back["reason"]) == (1, True, "worse")
    refused = call("policies", "promote", 2, *at)
    assert refused.status == 1
    assert "quintet policies resume" in refused.err
    assert "held" in call("policies", "list", *at).out
    assert call("policies", "resume", *at, "--json").json["hold"] is False
    assert call("policies", "promote", 2, *at).status == 0
    assert registry.live().version == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "arguments", [["show", "77"], ["promote", "77"], ["rollback", "--to", "77"]]
)
def test_a_policy_that_does_not_exist_exits_2(call: Call, shop: Path, arguments: list[str]) -> None:
    done = call("policies", *arguments, "--data-dir", shop)

    assert done.status == 2
    assert "quintet policies list" in done.err


@pytest.mark.parametrize("command", ["rollback", "resume"])
def test_without_a_live_policy_there_is_nothing_to_operate(call: Call, command: str) -> None:
    done = call("policies", command)

    assert done.status == 1
    assert "quintet pretrain" in done.err


def banner(data_dir: Path) -> str:
    """Log a banner as the service does, and return its id."""
    log = open_log(settings_of(data_dir), member="test")
    key = b"8 bytes!"
    recommendation_id = identity.recommendation_id(identity.ulid(now_ms(), bytes(10)), key)
    fact = Recommended(
        event_id=recommendation_id,
        occurred_at_ms=now_ms(),
        recommendation_id=recommendation_id,
        user_key=key,
        unit="u/0",
        arm="control",
        source="policy",
        trainable=False,
        policy_version=1,
        catalogue_version=PRODUCTS,
        product_ids=("p3", "p1"),
        rows=(3, 1),
        log_probs=(None, None),
    )
    log.append("events", [Message(key, encode(fact))])
    log.close()
    return recommendation_id


def test_explain_tells_a_banners_life(call: Call, shop: Path) -> None:
    recommendation_id = banner(shop)

    told = call("explain", recommendation_id, "--data-dir", shop, "--json")
    text = call("explain", recommendation_id, "--data-dir", shop)

    assert told.status == 0, told.err
    assert told.json["recommendation_id"] == recommendation_id
    assert [place["product_id"] for place in told.json["banner"]] == ["p3", "p1"]
    assert "Product 3" in text.out


@pytest.mark.parametrize("unknown", ["nonsense", "01BX5ZZKBKACTAV9WEVGEMMVRZ-0011223344556677"])
def test_explaining_a_banner_that_nobody_drew_exits_2(call: Call, unknown: str) -> None:
    done = call("explain", unknown)

    assert done.status == 2
    assert unknown in done.err


def bury_letters(data_dir: Path, *reasons: str, reader: str = "aggregate") -> Log:
    log = open_log(settings_of(data_dir), member="test")
    for offset, reason in enumerate(reasons, start=7):
        poison = Record(Partition("events", 0), offset, 1_000, b"8 bytes!", b"\xff not JSON")
        letter = bury(poison, reason, reader)
        log.append(letter.topic, [Message(letter.key, letter.value)])
    return log


def test_dead_letters_are_listed_shown_and_replayed_once(call: Call, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    log = bury_letters(data_dir, "not JSON")
    at = ("--data-dir", data_dir)

    listed = call("dead-letters", "list", *at, "--json").json
    assert [
        (each["number"], each["reason"], each["replayed"]) for each in listed["dead_letters"]
    ] == [(0, "not JSON", False)]
    assert (listed["total"], listed["waiting"], listed["next"]) == (1, 1, None)
    assert "not JSON" in call("dead-letters", "list", *at).out
    assert call("dead-letters", "show", 0, *at).out.splitlines()[0] == "events/0/7: not JSON"
    assert call("dead-letters", "show", 9, *at).status == 2
    assert call("dead-letters", "replay", *at, "--json").json == {
        "replayed": 1, "before": 0, "dry_run": False,
    }  # fmt: skip
    assert call("dead-letters", "replay", *at, "--json").json == {
        "replayed": 0, "before": 1, "dry_run": False,
    }  # fmt: skip

    assert sum(log.end_offsets("events").values()) == 1
    log.close()


def test_a_crafted_dead_letter_is_shown_as_it_is_and_does_nothing_to_the_terminal(
    call: Call, tmp_path: Path
) -> None:
    reasons = ("no field [/nowhere] [red]", "\x1b[2J\x07 is no type")
    log = bury_letters(tmp_path / "data", *reasons, reader="[/]aggregate")
    poison = Record(Partition("events", 0), 99, 1_000, None, b"\x1b]0;a title\x07\n\xc2\x9b2J")
    letter = bury(poison, "not JSON", "aggregate")
    log.append(letter.topic, [Message(letter.key, letter.value)])
    at = ("--data-dir", tmp_path / "data")

    listed, shown = call("dead-letters", "list", *at), call("dead-letters", "show", 2, *at)
    log.close()

    assert (listed.status, shown.status) == (0, 0)
    for part in ("no field [/nowhere] [red]", "\\x1b[2J\\x07 is no type", "[/]aggregate"):
        assert part in listed.out
        assert part in listed.err
    assert shown.out.splitlines()[1:] == ["\\x1b]0;a title\\x07", "\\x9b2J"]
    assert not {"\x1b", "\x07", "\x9b"} & set(listed.out + listed.err + shown.out)


def test_many_dead_letters_come_in_pages_with_counts_of_them_all(
    call: Call, tmp_path: Path
) -> None:
    reasons = [f"unknown field at byte {n}" for n in range(7)] + ["not JSON"] * 3
    bury_letters(tmp_path / "data", *reasons).close()
    at = ("--data-dir", tmp_path / "data", "--limit", 4, "--json")

    pages, start = [], 0
    while start is not None:
        pages.append(call("dead-letters", "list", *at, "--from", start).json)
        start = pages[-1]["next"]

    assert [[each["number"] for each in page["dead_letters"]] for page in pages] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9],
    ]  # fmt: skip
    assert all((page["total"], page["waiting"]) == (10, 10) for page in pages)
    few = call("dead-letters", "list", *at, "--reason", "JSON").json
    assert [each["number"] for each in few["dead_letters"]] == [7, 8, 9]
    assert few["reasons"] == [
        {"reader": "aggregate", "reason": "not JSON", "letters": 3, "waiting": 3}
    ]
    assert "--from 4" in call("dead-letters", "list", *at[:-1]).out


def test_a_dry_run_says_what_a_replay_would_do_and_does_nothing(call: Call, tmp_path: Path) -> None:
    log = bury_letters(tmp_path / "data", "not JSON", "unknown version 2", "not JSON")
    at = ("--data-dir", tmp_path / "data")

    dry = call("dead-letters", "replay", *at, "--reason", "version", "--dry-run", "--json")
    assert dry.json == {"replayed": 1, "before": 0, "dry_run": True}
    assert sum(log.end_offsets("events").values()) == 0

    assert call("dead-letters", "replay", 1, *at).status == 0
    again = call("dead-letters", "replay", 1, 2, *at)
    assert "replayed 1 event" in again.out
    assert "1 was replayed before" in again.err
    waiting = call("dead-letters", "list", *at, "--waiting", "--json").json
    assert [each["number"] for each in waiting["dead_letters"]] == [0]
    assert sum(log.end_offsets("events").values()) == 2
    log.close()


def test_a_replay_of_a_letter_that_is_not_there_replays_nothing(call: Call, tmp_path: Path) -> None:
    log = bury_letters(tmp_path / "data", "not JSON")

    done = call("dead-letters", "replay", 0, 77, "--data-dir", tmp_path / "data")

    assert done.status == 2
    assert "77" in done.err
    assert sum(log.end_offsets("events").values()) == 0
    log.close()


def test_nothing_but_json_stands_on_standard_output_where_things_are_logged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", "list", "--json",
         "--data-dir", str(tmp_path / "data"), "--log-level", "debug"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)["dead_letters"] == []
    assert "group_owned" in done.stderr


def test_settings_are_told_with_their_meaning_and_secrets_are_not(call: Call) -> None:
    secret, keys = "0123456789abcdef0123", "sesame:recommend"

    for format_flag in ([], ["--json"]):
        done = call("settings", "--secret", secret, "--api-keys", keys, *format_flag)
        assert done.status == 0
        assert secret not in done.out + done.err
        assert "sesame" not in done.out + done.err

    rows = {row["setting"]: row for row in done.json["settings"]}
    assert set(rows) == {f"QUINTET_{name.upper()}" for name in Settings.model_fields}
    assert rows["QUINTET_SECRET"]["value"].strip("*") == ""
    assert all(row["meaning"] for row in rows.values())


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


def test_on_the_local_log_topics_need_nothing_and_the_commands_say_so(call: Call) -> None:
    applied, listed = call("topics", "apply", "--json"), call("topics", "list")

    assert (applied.status, listed.status) == (0, 0)
    assert applied.json["streams"] == "local"
    assert {"events", "rewards"} <= {topic["name"] for topic in applied.json["topics"]}
    assert "nothing to do" in listed.out
