"""A shop is imported and pretrained, its policies are operated, its banners explained."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.clock import now_ms
from cli.wiring import open_log, open_registry
from schemas import identity
from schemas.codec import encode
from schemas.events import Recommended
from streams.port import Message
from tests.policies import weights_of
from tests.unit.cli.called import Call, Done, settings_of
from tests.unit.cli.tiny_shop import PRODUCTS, USERS, write_files


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
