"""A ring is upgraded process by process under load, backed up meanwhile, and goes on elsewhere."""

import http.client
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest

from console.audit import AuditSettings, Counts, audit
from streams.port import Record
from tests import ring_checks
from tests.rings import Ring, open_shop, records_of, until
from trainer.checkpoint import CheckpointFolder, Progress

WINDOW_SECONDS = 20
SETTINGS = {
    "workers": "2", "batch_banners": "32", "settlement_seconds": "1",
    "attribution_window_seconds": str(WINDOW_SECONDS), "lateness_seconds": "60",
}  # fmt: skip
AUDIT = AuditSettings(settlement_seconds=1, horizon_seconds=WINDOW_SECONDS + 60)


class Storefront:
    """Asks for banners and reports clicks, one connection each, until it is stopped."""

    def __init__(self, ring: Ring, *, shoppers: int = 2) -> None:
        self.banners = 0
        self.failures: list[str] = []
        self._address = urlsplit(ring.url)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._shop, args=(number,)) for number in range(shoppers)
        ]

    def __enter__(self) -> "Storefront":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def reach(self, more: int) -> None:
        goal = self.banners + more
        until(lambda: self.banners >= goal, f"{more} more banners")

    def _shop(self, number: int) -> None:
        for visit in itertools.count():
            if self._stop.wait(0.005):
                return
            user = f"u{number}-{visit % 40}"
            status, answer = self._post("/recommend", {"user_id": user})
            if status != 200 or len(answer["products"]) != 5:
                self.failures.append(f"/recommend: {status} {answer}")
                continue
            self.banners += 1
            if visit % 4 == 0:
                click = {
                    "event_id": f"{number}-{visit}-{time.monotonic_ns()}", "type": "click",
                    "occurred_at": "2026-11-22T12:00:00Z", "user_id": user,
                    "recommendation_id": answer["recommendation_id"],
                    "product_id": answer["products"][0]["product_id"],
                }  # fmt: skip
                status, answer = self._post("/events", [click])
                if status != 202 or answer["results"][0]["outcome"] != "accepted":
                    self.failures.append(f"/events: {status} {answer}")

    def _post(self, path: str, body: object) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=30
        )
        with closing(connection):
            try:
                connection.request(
                    "POST", path, msgspec.json.encode(body), {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                return answer.status, msgspec.json.decode(answer.read())
            except (OSError, http.client.HTTPException) as problem:
                return 0, repr(problem)


def has_answered(process: psutil.Process) -> bool:
    """Whether a serving process has an open connection besides what it listens on."""
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(connection.status != psutil.CONN_LISTEN for connection in found)


def upgrade_servers(ring: Ring) -> None:
    """Let each serving process end and be started again, one after the other."""
    parent = ring.children()["serve"]
    for old in parent.children():
        before = parent.children()
        old.send_signal(signal.SIGTERM)
        until(lambda old=old: not old.is_running(), "the old one ends")
        until(lambda: len(parent.children()) == 2, "a new one is started")
        new = next(child for child in parent.children() if child not in before)
        until(lambda new=new: has_answered(new), "it answers")


def upgrade(ring: Ring, name: str) -> None:
    old = ring.children()[name]
    old.send_signal(signal.SIGTERM)
    ring.restarted(name, killed=old.pid)


def topics(ring: Ring) -> dict[str, list[Record]]:
    with closing(ring.log()) as log:
        return {name: list(records_of(log, name)) for name in ("events", "rewards", "products")}


def checkpoint(ring: Ring) -> Progress:
    found = CheckpointFolder(ring.data_dir / "checkpoints").latest()
    assert found is not None
    return found.progress


def settled(ring: Ring, banners: int) -> Counts:
    """Return the audit once so many banners are logged and every one has its reward."""
    with closing(ring.log()) as log:

        def is_settled() -> bool:
            told = ring_checks.read(log)
            rewarded = set(ring_checks.revisions(told))
            return rewarded == set(told.banners) and len(rewarded) >= banners

        until(is_settled, "everything is settled")
        return audit(log, AUDIT)


def end(ring: Ring) -> None:
    ring.interrupt()
    assert ring.wait(30) == 0
    ring.end()


@dataclass(frozen=True)
class Upgraded:
    """A ring that was upgraded under load and ended, and what was seen of it."""

    ring: Ring
    backup: Path
    failures: list[str]
    banners: int
    counts: Counts
    topics: dict[str, list[Record]]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp("upgraded")
    ring, backup = Ring(folder / "ring", **SETTINGS), folder / "backup"
    open_shop(ring)
    try:
        ring.start("run")
        until(ring.is_ready, "the service is ready")
        until(lambda: len(ring.children()) == 4, "four processes")
        with Storefront(ring) as storefront:
            storefront.reach(100)
            upgrade_servers(ring)
            for name in ("aggregate", "train", "console"):
                upgrade(ring, name)
            until(lambda: len(ring.registry().manifests()) >= 3, "policies are learned")
            done = ring.command("backup", str(backup), "--json")
            assert done.returncode == 0, done.stderr
            storefront.reach(100)
        until(ring.is_ready, "the service is ready")
        until(lambda: ring.get("/readyz", console=True)[0] == 200, "the console has read the log")
        counts = settled(ring, storefront.banners)
        end(ring)
        yield Upgraded(ring, backup, storefront.failures, storefront.banners, counts, topics(ring))
    finally:
        ring.end()


def test_no_request_fails_while_every_process_is_restarted_under_load(upgraded: Upgraded) -> None:
    assert upgraded.failures == []
    assert upgraded.banners > 200


def test_nothing_is_lost_or_doubled_by_restarts(upgraded: Upgraded) -> None:
    assert upgraded.counts == Counts(expected=upgraded.banners)
    with closing(upgraded.ring.log()) as log:
        told = ring_checks.read(log)
    ring_checks.check_every_impression_is_rewarded_once(told)


def test_a_ring_goes_on_elsewhere_from_a_backup_that_was_taken_under_load(
    upgraded: Upgraded, tmp_path: Path
) -> None:
    ring = Ring(tmp_path, **SETTINGS)
    done = ring.command("restore", str(upgraded.backup), "--json")
    assert done.returncode == 0, done.stderr
    before, learned = topics(ring), checkpoint(ring)
    shown_before = sum(b'"type":"recommended"' in (r.value or b"") for r in before["events"])
    for topic, records in before.items():
        assert 0 < len(records) <= len(upgraded.topics[topic])
        assert records == upgraded.topics[topic][: len(records)]
    assert len(before["events"]) < len(upgraded.topics["events"])
    assert learned.offset <= len(before["rewards"])
    kept = {manifest.version: manifest for manifest in ring.registry().manifests()}
    try:
        ring.start("run")
        until(ring.is_ready, "the service is ready")
        with Storefront(ring) as storefront:
            until(
                lambda: ring.registry().manifests()[-1].version > max(kept) + 1,
                "learning goes on",
            )
            doctor = ring.command("doctor", "--quick", "--json")
        counts = settled(ring, shown_before + storefront.banners)
        end(ring)
    finally:
        ring.end()

    assert storefront.failures == []
    assert (counts.lost, counts.doubled) == (0, 0)
    findings = msgspec.json.decode(doctor.stdout)["findings"]
    assert {each["area"] for each in findings} >= {"processes", "rewards", "exactly once"}
    assert [each for each in findings if each["status"] == "fail"] == [], doctor.stderr
    with closing(ring.log()) as log:
        told = ring_checks.read(log)
    ring_checks.check_every_impression_is_rewarded_once(told)
    ring_checks.check_rewards_are_what_the_events_earned(told, window_seconds=WINDOW_SECONDS)
    # The trainer took up its checkpoint: the next version is the next update of the same weights.
    after = {manifest.version: manifest for manifest in ring.registry().manifests()}
    assert after[learned.next_version].parent == learned.parent
    assert after[learned.next_version].updates == kept[learned.parent].updates + 1
    assert after[max(kept)] == kept[max(kept)]
    assert "training_goes_on_from_live" not in ring.said
