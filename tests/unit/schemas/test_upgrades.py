"""Old and new versions on one log: what the version before wrote is read, what the next adds too.

The bytes in `fixtures/1` were written by that version and never change.
"""

import runpy
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rewards.aggregator import Aggregator
from rewards.ledger import LAYOUT, Ledger, pack, unpack
from rewards.specification import RewardSpecification
from schemas import candidates, codec, history
from schemas.errors import SchemaError, UnknownSchemaVersion
from streams.dead_letters import read_all, replay
from streams.local import LocalLog
from streams.port import Message
from trainer.checkpoint import Progress

FOLDER = Path(__file__).parent / "fixtures" / "1"
RECORDS = runpy.run_path(str(Path(__file__).with_name("write_fixtures.py")))["RECORDS"]
KEY = bytes(range(8))


def progress(data: bytes) -> Progress:
    return msgspec.json.decode(data, type=Progress)


DECODERS = {
    "reward": codec.decode_reward, "dead_letter": codec.decode_dead_letter,
    "product_upserted": codec.decode_product, "product_removed": codec.decode_product,
    "announcement": codec.decode_announcement, "live": codec.decode_live,
    "manifest": codec.decode_manifest, "progress": progress,
}  # fmt: skip
VERSIONED = sorted(set(RECORDS) - {"progress"})


def read(name: str, data: bytes) -> Any:
    return DECODERS.get(name, codec.decode_event)(data)


def fixture(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def test_every_kind_of_record_is_among_the_fixtures() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RECORDS)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_what_the_version_before_wrote_is_read_with_every_field(name: str) -> None:
    assert read(name, fixture(name)) == RECORDS[name]


def test_packed_forms_of_the_version_before_are_read() -> None:
    past = history.unpack((FOLDER / "history.bin").read_bytes())
    rows = candidates.unpack((FOLDER / "candidates.bin").read_bytes())

    assert (past.orders, past.recent.tolist(), past.counts.tolist()) == (7, [4, 2], [3, 1])
    assert past.decayed.tolist() == [1.5, 0.5]
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 900])


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_field_that_the_next_version_adds_is_passed_over(name: str) -> None:
    newer = with_new_fields(msgspec.json.decode(fixture(name)))

    assert read(name, msgspec.json.encode(newer)) == RECORDS[name]


def with_new_fields(value: Any) -> Any:
    """Return JSON with a field more in every object that has fields of its own."""
    if isinstance(value, dict):
        named = "bias" in value or "entropy_nats" in value  # names given by the data
        added = {} if named else {"a_field_of_tomorrow": [1]}
        return {key: with_new_fields(each) for key, each in value.items()} | added
    return [with_new_fields(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", VERSIONED)
def test_a_record_of_another_version_says_so(name: str) -> None:
    newer = fixture(name).replace(b'"schema_version":1', b'"schema_version":2')

    with pytest.raises(UnknownSchemaVersion, match="upgrade this process"):
        read(name, newer)


def test_an_unknown_kind_of_event_is_refused_and_not_taken_for_another() -> None:
    with pytest.raises(SchemaError):
        codec.decode_event(fixture("click").replace(b'"click"', b'"hover"'))


def test_a_ledger_says_its_layout_so_that_another_is_not_misread() -> None:
    assert unpack(pack(Ledger())).layout == LAYOUT == 1


class Clock:
    now_ms = 1_790_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[LocalLog]:
    with closing(LocalLog(tmp_path / "log.db", clock=clock)) as opened:
        yield opened


def settle(log: LocalLog, clock: Clock) -> list[tuple[int, float]]:
    """Let an aggregator read everything; return (revision, reward) of every reward so far."""
    aggregator = Aggregator(log, RewardSpecification(), clock=clock)
    for _ in range(4):
        while aggregator.step():
            pass
        clock.now_ms += 10_000
    aggregator.close()
    with closing(log.consumer(["rewards"], group=None)) as reader:
        found = reader.poll(max_records=99, timeout_seconds=0.0)
    rewards = [codec.decode_reward(record.value) for record in found]
    return [(reward.revision, reward.reward) for reward in rewards]


def test_events_of_a_newer_version_wait_as_dead_letters_and_count_after_the_upgrade(
    log: LocalLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer was upgraded before the readers: against the rule, and nothing is lost by it."""
    newer_click = fixture("click").replace(b'"schema_version":1', b'"schema_version":2')
    newer_minor = msgspec.json.encode(with_new_fields(msgspec.json.decode(fixture("impression"))))
    log.append("events", [Message(KEY, fixture("recommended")), Message(KEY, newer_minor)])
    log.append("events", [Message(KEY, newer_click)])

    assert settle(log, clock) == [(0, 0.0)]
    (letter,) = read_all(log)
    assert letter.letter.value == newer_click
    assert "upgrade this process" in letter.letter.reason

    def of_tomorrow(data: bytes | None, *, today: Any = codec.decode_event) -> Any:
        return today((data or b"").replace(b'"schema_version":2', b'"schema_version":1'))

    monkeypatch.setattr(codec, "decode_event", of_tomorrow)
    assert replay(log) == 1

    assert settle(log, clock) == [(0, 0.0), (1, pytest.approx(0.1))]
    assert replay(log) == 0
