"""The real thing: a process on the local log, killed with `kill -9` at every named point."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from schemas.codec import decode_reward
from streams.local import LocalLog
from streams.port import Message

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]


def aggregate(path, point="never", passing=1):
    """Run the process; return how it ended (negative: the signal)."""
    command = [sys.executable, HERE.with_name("killed_aggregator.py"), path, point, str(passing)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


def fill(path, shop):
    """Write the same 200 records, with their times, into a new log."""
    now = [shop.T0]
    events = LocalLog(path, clock=lambda: now[0])
    for number in range(60):
        key = (number % 7).to_bytes(8, "big")
        banner = shop.recommended(number, at=now[0], key=key)
        rec = banner.recommendation_id
        told = [
            shop.message(banner, key),
            shop.message(shop.click("b", rec=rec, event_id=f"c{number}", user_key=key), key),
            Message(key, b"{broken"),
        ]
        if number % 4 == 0:
            told.append(shop.message(banner, key))
            order = shop.purchase("a", "c", event_id=f"p{number}", user_key=key)
            told.append(shop.message(order, key))
        for message in told[number % 3 == 1 :]:
            events.append("events", [message])
            now[0] += 300
    return events


def table(events):
    """Return (key, value) of every reward."""
    reader = events.consumer(["rewards"], group=None)
    found = reader.poll(max_records=10_000, timeout_seconds=0)
    reader.close()
    return [(record.key, record.value) for record in found]


def test_promise_2_killed_with_kill_9_the_table_is_byte_equal_to_the_run_never_killed(
    tmp_path, shop
):
    whole, killed = fill(tmp_path / "whole.db", shop), fill(tmp_path / "killed.db", shop)
    assert aggregate(tmp_path / "whole.db") == 0

    ends = [
        aggregate(tmp_path / "killed.db", point, passing)
        for point, passing in (
            ("after_poll", 2),
            ("before_commit", 1),
            ("after_commit", 2),
            ("before_commit", 3),
        )
    ]
    ends.append(aggregate(tmp_path / "killed.db"))

    assert ends == [-signal.SIGKILL] * 4 + [0]
    assert {decode_reward(value).revision for _, value in table(whole)} == {0, 1}
    assert table(killed) == table(whole)
    whole.close()
    killed.close()
