"""Dead letters are listed in pages, shown as they are, and replayed once."""

from pathlib import Path

from cli.wiring import open_log
from streams.dead_letters import bury
from streams.port import Log, Message, Partition, Record
from tests.unit.cli.called import Call, settings_of


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
