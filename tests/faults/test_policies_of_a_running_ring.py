"""Bad weights and roll-backs while shoppers come and the trainer learns."""

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest

from policy.registry import Registry
from schemas.codec import decode_announcement, decode_live, encode
from schemas.policies import Live
from tests.rings import Ring, open_shop, records_of, until

CORRUPT = 900


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """A ring that learns from shoppers, in small batches, and has swapped weights already."""
    folder = tmp_path_factory.mktemp("running")
    ring = Ring(folder, batch_banners="32", control_share="0.05", settlement_seconds="1")
    open_shop(ring)
    try:
        ring.start("run")
        until(ring.is_ready, "the service is ready")
        ring.start_beside("simulate", "--url", ring.url, "--rate", "60")
        until(lambda: live(ring).version >= 3, "policies are learned")
        yield ring
    finally:
        ring.end()


def live(ring: Ring) -> Live:
    found = ring.registry().live()
    assert found is not None
    return found


def serving(ring: Ring) -> int:
    """Return the version that drew a banner just now."""
    for number in range(200):
        status, answer = ring.post("/recommend", {"user_id": f"visitor-{number}"})
        assert status == 200
        assert len(answer["products"]) == 5
        if answer["arm"] == "policy":
            assert answer["source"] == "policy"
            return int(answer["policy_version"])
    raise AssertionError("nobody is in the policy arm")


def newest(ring: Ring) -> int:
    return ring.registry().manifests()[-1].version


def announced(ring: Ring, kind: str) -> list[int]:
    with closing(ring.log()) as log:
        told = [decode_announcement(record.value) for record in records_of(log, "policies")]
    return [each.version for each in told if each.kind == kind]


def ancestors(ring: Ring, version: int) -> list[int]:
    parents = {manifest.version: manifest.parent for manifest in ring.registry().manifests()}
    found = [version]
    while (parent := parents.get(found[-1])) is not None:
        found.append(parent)
    return found


def corrupt_by_hand(ring: Ring, registry: Registry) -> None:
    """Make a snapshot whose weights have a flipped bit, and name it in `live.json`."""
    snapshots = ring.data_dir / "registry" / "snapshots"
    now = registry.live()
    assert now is not None
    folder = snapshots / f"{CORRUPT:08d}"
    shutil.copytree(snapshots / f"{now.version:08d}", folder)
    manifest = folder / "manifest.json"
    text = manifest.read_text().replace(f'"version":{now.version},', f'"version":{CORRUPT},', 1)
    manifest.write_text(text)
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    pointer = Live(
        version=CORRUPT, foundation=now.foundation, previous=(*now.previous, now.version),
        changed_at_ms=now.changed_at_ms + 1, reason="by hand",
    )  # fmt: skip
    (ring.data_dir / "registry" / "live.json").write_bytes(encode(pointer))


def test_promise_5_corrupt_weights_never_serve_and_a_roll_back_holds_until_somebody_resumes(
    ring: Ring,
) -> None:
    served_before = serving(ring)
    registry = ring.registry()
    with registry.still():  # or the trainer may put another pointer there before anyone has looked
        corrupt_by_hand(ring, registry)
        until(lambda: CORRUPT in announced(ring, "rejected"), "the service refuses it")

    serves = serving(ring)
    assert serves >= served_before
    assert CORRUPT not in ancestors(ring, serves)
    assert CORRUPT not in announced(ring, "served")

    trained_before = newest(ring)
    done = ring.command("policies", "rollback", "--reason", "damaged", "--json")
    assert done.returncode == 0, done.stderr
    back = decode_live(done.stdout.encode())
    assert back.hold
    assert CORRUPT not in ancestors(ring, back.version)
    until(lambda: serving(ring) == back.version, "what was rolled back to serves")

    until(lambda: newest(ring) > trained_before + 2, "the trainer goes on")
    assert live(ring) == back
    assert serving(ring) == back.version
    refused = ring.command("policies", "promote", str(newest(ring)))
    assert refused.returncode == 1
    assert "quintet policies resume" in refused.stderr

    assert ring.command("policies", "resume").returncode == 0
    until(lambda: live(ring).version > back.version, "policies are promoted again")
    promoted = live(ring).version
    assert back.version in ancestors(ring, promoted)
    assert CORRUPT not in ancestors(ring, promoted)
    between = range(back.version + 1, trained_before + 1)
    assert not set(between) & set(ancestors(ring, promoted))
    until(lambda: serving(ring) >= promoted, "they serve")


def test_promise_5_a_live_pointer_that_is_no_json_changes_nothing_that_serves_and_is_mended(
    ring: Ring,
) -> None:
    before = serving(ring)
    (ring.data_dir / "registry" / "live.json").write_bytes(b"{")

    assert min(serving(ring) for _ in range(20)) >= before
    assert "live.json" in ring.command("policies", "list").stderr

    assert ring.command("policies", "rollback", "--to", str(before)).returncode == 0
    until(lambda: serving(ring) == before, "what was rolled back to serves")
    assert ring.command("policies", "resume").returncode == 0
    until(lambda: serving(ring) > before, "learning goes on")
