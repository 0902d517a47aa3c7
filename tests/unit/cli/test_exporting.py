"""The log as tables: what every row says, that days and spans are kept, that nothing is half."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cli import export_files
from cli.commands.export import moment_ms
from cli.errors import BadUsage
from cli.exporting import Exported, Span, export
from console.audit import AuditSettings
from console.experiment import Experiment
from console.reading import read_to_end
from rewards.aggregator import Aggregator
from rewards.specification import RewardSpecification
from schemas import candidates, history
from schemas.codec import encode
from schemas.events import Click, Line, Purchase, Recommended, UserErased
from schemas.identity import recommendation_id, ulid
from schemas.products import Product, ProductUpserted
from streams.local import LocalLog
from streams.port import Message
from tests.servers import REPOSITORY

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
BANNERS = 60
SHOPPERS = 12
PARTITIONS = {"events": 2}


class Clock:
    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def key_of(shopper: int) -> bytes:
    return bytes([shopper] * 8)


def fill(log: LocalLog, clock: Clock) -> None:
    """Three days of banners, every third clicked, every sixth bought from twice."""
    products = [Product(product_id=f"p{n}", title=f"Product {n}") for n in range(10)]
    log.append("products", [Message(None, encode(ProductUpserted(product=p))) for p in products])
    past = history.History(
        orders=4, recent=np.array([1, 2], np.uint32), rows=np.array([1], np.uint32),
        decayed=np.ones(1, np.float32), counts=np.ones(1, np.uint32),
        first=np.ones(1, np.uint32), last=np.ones(1, np.uint32),
    )  # fmt: skip
    for number in range(BANNERS):
        clock.now_ms = START_MS + number * 3 * DAY_MS // BANNERS
        key = key_of(number % SHOPPERS)
        name = recommendation_id(ulid(clock.now_ms, number.to_bytes(10, "big")), key)
        arm: Any = "control" if number % 4 == 0 else "policy"
        banner = Recommended(
            event_id=name, occurred_at_ms=clock.now_ms - 3, recommendation_id=name, user_key=key,
            unit=f"{key.hex()}:{number // 40}", arm=arm, source="policy", trainable=arm == "policy",
            policy_version=1 + number // 50, catalogue_version=10, viewed_row=7,
            history=history.pack(past), candidates=candidates.pack(np.arange(10)),
            product_ids=("p3", "p5"), rows=(3, 5), log_probs=(-1.5, None),
        )  # fmt: skip
        told: dict[str, Any] = {"occurred_at_ms": clock.now_ms, "received_at_ms": clock.now_ms,
                                "recommendation_id": name, "user_key": key}  # fmt: skip
        facts: list[Any] = [banner]
        if number % 3 == 0:
            facts.append(Click(event_id=f"c{number}", product_id="p5", **told))
        if number % 6 == 0:
            lines = (Line(product_id="p3", quantity=2, price_cents=99), Line(product_id="p5"))
            facts.append(Purchase(event_id=f"o{number}", order_id="o", lines=lines, **told))
        log.append("events", [Message(key, encode(fact)) for fact in facts])


def settle(log: LocalLog, clock: Clock) -> None:
    clock.now_ms += 60_000
    aggregator = Aggregator(log, RewardSpecification(), clock=clock)
    while aggregator.step():
        pass
    clock.now_ms += 60_000
    for _ in range(3):
        aggregator.step()  # the tick, and what it settles
        clock.now_ms += 10_000
    aggregator.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clock, path = Clock(), tmp_path_factory.mktemp("shop") / "log.db"
    with closing(LocalLog(path, clock=clock, partitions=PARTITIONS)) as log:
        fill(log, clock)
        settle(log, clock)
    return path


@pytest.fixture
def log(filled: Path, tmp_path: Path) -> Iterator[LocalLog]:
    """A log of one's own, filled."""
    (tmp_path / "log").mkdir()
    path = Path(shutil.copy(filled, tmp_path / "log"))
    with closing(LocalLog(path, clock=Clock(), partitions=PARTITIONS)) as log:
        yield log


def write(log: LocalLog, folder: Path, **span: Any) -> Exported:
    return export(log, folder, Span(**span), lambda *_: None)


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / table).to_pylist()
    return found


def test_a_notebook_finds_what_the_console_reports(
    log: LocalLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = Experiment(AuditSettings())
    for record in read_to_end(log, ("events", "rewards", "policies")):
        experiment.apply(record)
    arms = experiment.report().arms
    text = (REPOSITORY / "docs" / "operating.md").read_text()
    (example,) = re.findall(r"```python\n(import pandas.*?)```", text, re.DOTALL)

    exported = write(log, tmp_path / "november")
    monkeypatch.chdir(tmp_path)
    notebook: dict[str, Any] = {}
    exec(example, notebook)  # noqa: S102 - the documented example

    assert exported.banners == BANNERS == arms.policy.banners + arms.control.banners
    for name, arm in (("policy", arms.policy), ("control", arms.control)):
        found = notebook["by_arm"].loc[name]
        assert found["banners"] == arm.banners > 0
        assert found["reward"] == pytest.approx(arm.reward, abs=1e-9)
        assert found["reward_per_banner"] == pytest.approx(arm.reward_per_banner)
    assert notebook["places"]["points"].sum() == pytest.approx(
        arms.policy.reward + arms.control.reward
    )


def test_a_row_says_what_the_record_says(log: LocalLog, tmp_path: Path) -> None:
    write(log, tmp_path / "out")

    banners, events = rows_of(tmp_path / "out", "banners"), rows_of(tmp_path / "out", "events")
    rewards = rows_of(tmp_path / "out", "rewards")
    first = min(banners, key=lambda row: row["appended_at"])
    assert first["appended_at"] == datetime.fromtimestamp(START_MS / 1000, UTC)
    assert first["user"] == "00" * 8
    assert (first["viewed_product_id"], first["purchased_product_ids"]) == ("p7", ["p1", "p2"])
    assert (first["orders"], first["repeats"], first["candidates"]) == (4, 1, 10)
    assert (first["product_ids"], first["rows"]) == (["p3", "p5"], [3, 5])
    assert first["log_probs"] == [-1.5, None]
    order = next(row for row in events if row["event_id"] == "o0")
    assert order["lines"][0] == {
        "product_id": "p3", "row": None, "quantity": 2, "price_cents": 99,
    }  # fmt: skip
    assert {row["type"] for row in events} == {"click", "purchase"}
    mine = [row for row in rewards if row["recommendation_id"] == first["recommendation_id"]]
    last = max(mine, key=lambda row: row["revision"])
    assert last["points"] == pytest.approx([1.25, 1.35])
    assert last["reward"] == pytest.approx(2.6)
    assert (last["clicked"], sorted(last["bought"])) == ([1], [0, 1])
    assert [p["title"] for p in rows_of(tmp_path / "out", "products.parquet")][3] == "Product 3"


def test_every_column_is_explained(log: LocalLog, tmp_path: Path) -> None:
    exported = write(log, tmp_path / "out")

    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["rows"]["banners"] == exported.banners
    for table in ("banners", "events", "rewards"):
        columns = set(pd.read_parquet(tmp_path / "out" / table).columns) - {"day"}
        assert set(told["columns"][table]) == columns
        assert all(column["meaning"] for column in told["columns"][table].values())


def test_rows_lie_by_day_and_a_span_takes_its_own(log: LocalLog, tmp_path: Path) -> None:
    whole = write(log, tmp_path / "whole")
    since_ms, until_ms = START_MS + DAY_MS // 2, START_MS + 2 * DAY_MS
    part = write(log, tmp_path / "part", since_ms=since_ms, until_ms=until_ms)

    all_rows = rows_of(tmp_path / "whole", "banners")
    days = {path.name for path in (tmp_path / "whole" / "banners").iterdir()}
    assert days == {f"day={row['appended_at']:%Y-%m-%d}" for row in all_rows}
    assert len(days) >= 3
    inside = [
        row for row in all_rows
        if since_ms <= row["appended_at"].timestamp() * 1000 < until_ms
    ]  # fmt: skip
    assert 0 < part.banners == len(inside) < whole.banners
    assert rows_of(tmp_path / "part", "banners") == inside


def test_many_days_are_written_with_few_open_files_and_little_in_memory(
    log: LocalLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, tmp_path / "usual")
    monkeypatch.setattr(export_files, "OPEN_FILES", 1)
    monkeypatch.setattr(export_files, "ROWS_IN_MEMORY", 7)

    write(log, tmp_path / "scant")

    def sorted_rows(folder: Path) -> list[Any]:
        return sorted(rows_of(folder, "rewards"), key=lambda row: int(row["offset"]))

    assert sorted_rows(tmp_path / "scant") == sorted_rows(tmp_path / "usual")


def test_what_an_erased_shopper_did_before_is_left_out(log: LocalLog, tmp_path: Path) -> None:
    erased = key_of(5)
    fact = UserErased(event_id="e", occurred_at_ms=START_MS, user_key=erased)
    before = write(log, tmp_path / "before")
    log.append("events", [Message(erased, encode(fact)), Message(erased, b"\xff")])

    after = write(log, tmp_path / "after")
    early = write(log, tmp_path / "early", until_ms=START_MS + DAY_MS)

    assert after.banners == before.banners - BANNERS // SHOPPERS
    assert after.erased > BANNERS // SHOPPERS  # with events and rewards
    assert after.unreadable == 1
    for folder, table in (("after", "banners"), ("after", "rewards"), ("early", "banners")):
        named = [row["recommendation_id"] for row in rows_of(tmp_path / folder, table)]
        assert named
        assert not any(name.endswith(erased.hex()) for name in named)
    assert early.erased > 0


def test_an_export_that_fails_leaves_nothing(
    log: LocalLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(export_files.DayTable, "finish", full)
    before = set(tmp_path.iterdir())

    with pytest.raises(OSError, match="no space"):
        write(log, tmp_path / "out")

    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_not_written_over(log: LocalLog, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")

    with pytest.raises(BadUsage, match="not empty"):
        write(log, out)


def test_an_empty_folder_and_an_empty_log_are_fine(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with closing(LocalLog(tmp_path / "log.db", clock=Clock())) as empty:
        exported = write(empty, tmp_path / "out")

    assert exported.banners == exported.rewards == 0
    assert list(pd.read_parquet(tmp_path / "out" / "rewards")["points"]) == []


def test_a_time_that_is_none_says_what_to_write() -> None:
    with pytest.raises(BadUsage, match="--since yesterday: write 2026-11-01"):
        moment_ms("yesterday", "--since")
