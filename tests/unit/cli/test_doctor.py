"""The doctor looks at everything, changes nothing, and answers in time whatever is away."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cli.clock import now_ms
from cli.doctor.findings import Finding, ok
from cli.doctor.running import Check, examine
from cli.settings import Settings
from cli.wiring import open_log, open_registry
from schemas import identity
from schemas.codec import encode
from schemas.events import Recommended
from streams.dead_letters import bury
from streams.port import Message, Partition, Record
from tests.policies import weights_of
from tests.servers import REPOSITORY, free_ports


def test_a_check_that_raises_or_hangs_costs_its_own_line_alone() -> None:
    hangs = threading.Event()

    def breaks() -> list[Finding]:
        raise OSError("disk on fire")

    started = time.monotonic()
    findings = examine(
        [
            Check("broken", breaks, "put it out"),
            Check("hanging", lambda: [ok("x", "y")] if hangs.wait(60) else [], "wake it"),
            Check("torch", lambda: [ok("x", "y")] if hangs.wait(60) else [], "", optional=True),
            Check("sound", lambda: [ok("sound", "all well")], ""),
        ],
        seconds=0.3,
    )
    hangs.set()

    assert time.monotonic() - started < 10
    assert [(each.area, each.status) for each in findings] == [
        ("broken", "fail"), ("hanging", "fail"), ("torch", "warn"), ("sound", "ok"),
    ]  # fmt: skip
    assert findings[0].found == "disk on fire"
    assert findings[1].found == "no answer within 0 s"


def doctor(data_dir: Path, *more: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run `quintet doctor --json`; return its status, the worst finding of each area, stderr."""
    port, console_port = free_ports(2)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--json", "--quick",
         "--data-dir", str(data_dir), "--port", str(port),
         "--console-port", str(console_port), *more],
        capture_output=True, text=True, check=False, timeout=90, cwd=data_dir.parent,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    rank = {"ok": 0, "warn": 1, "fail": 2}
    findings = sorted(json.loads(done.stdout)["findings"], key=lambda one: rank[one["status"]])
    return done.returncode, {each["area"]: each for each in findings}, done.stderr


def filled(data_dir: Path) -> None:
    """Put a live policy, a banner that nobody rewarded and a dead letter into a data directory."""
    settings = Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]
    registry = open_registry(settings)
    registry.publish_foundation(weights_of(8, seed=1), catalogue_version=8)
    registry.promote(1, reason="the foundation")
    key = b"8 bytes!"
    name = identity.recommendation_id(identity.ulid(now_ms(), bytes(10)), key)
    banner = Recommended(
        event_id=name, occurred_at_ms=now_ms(), recommendation_id=name, unit="u", arm="control",
        source="policy", trainable=False, policy_version=1, catalogue_version=8,
        product_ids=("p3",), rows=(3,), log_probs=(None,),
    )  # fmt: skip
    letter = bury(Record(Partition("events", 0), 7, 1, key, b"\xff"), "not JSON", "aggregate")
    log = open_log(settings, member="test")
    log.append("events", [Message(key, encode(banner))])
    log.append(letter.topic, [Message(letter.key, letter.value)])
    log.close()


def test_the_doctor_looks_at_everything_and_changes_nothing(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    before = {path: path.read_bytes() for path in data_dir.rglob("*.json")}

    status, found, _ = doctor(data_dir, QUINTET_CONTROL_SHAER=".2")

    assert status == 0, found
    assert set(found) == {
        "settings", "data directory", "clock", "ports", "log", "history",
        "registry", "processes", "banners", "rewards", "training", "serving", "exactly once",
        "dead letters",
    }  # fmt: skip
    assert found["settings"]["remedy"] == "did you mean QUINTET_CONTROL_SHARE?"
    assert found["registry"]["status"] == "ok"
    assert "recommended" in found["banners"]["found"]
    assert "not JSON" in found["dead letters"]["found"]
    assert {path: path.read_bytes() for path in data_dir.rglob("*.json")} == before
    assert not (data_dir / "secret").exists()
    assert not (data_dir / "history.db").exists()


def test_damaged_parts_fail_by_name_with_exit_status_1(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    filled(data_dir)
    weights = next(data_dir.rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    (data_dir / "history.db").write_bytes(b"no database at all" * 100)
    (data_dir / "secret").write_text("x" * 64)
    (data_dir / "secret").chmod(0o644)

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        status, found, said = doctor(data_dir, "--console-port", str(port))

    assert status == 1
    assert {area for area, each in found.items() if each["status"] == "fail"} == {
        "ports", "registry", "history", "secret",
    }  # fmt: skip
    assert "checks failed" in said
    assert all(each["remedy"] for each in found.values() if each["status"] == "fail")


def test_the_doctor_answers_in_time_where_kafka_and_redis_are_away(tmp_path: Path) -> None:
    """A refused port for Redis, and one that takes connections and never answers for Kafka."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        status, found, _ = doctor(
            tmp_path / "data", "--seconds", "5", "--streams", "kafka", "--history", "redis",
            QUINTET_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{silent.getsockname()[1]}",
            QUINTET_REDIS_URL=f"redis://127.0.0.1:{free_ports(1)[0]}/0",
        )  # fmt: skip

    assert time.monotonic() - started < 40
    assert status == 1
    assert found["log"]["status"] == found["history"]["status"] == "fail"
    assert found["data directory"]["status"] == "warn"


def test_settings_that_cannot_be_read_are_a_finding(tmp_path: Path) -> None:
    status, found, _ = doctor(tmp_path / "data", QUINTET_BATCH_BANNERS="many")

    assert status == 1
    assert found["settings"]["status"] == "fail"
    assert "QUINTET_BATCH_BANNERS" in found["settings"]["found"]
    assert set(found) == {"settings"}
