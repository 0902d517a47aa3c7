"""A snapshot is believed only when every check has passed."""

import errno
import os
import pickle  # noqa: TID251 - to see that it is refused
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from policy.errors import SnapshotRejected, SnapshotUnreadable
from policy.registry import Registry
from policy.snapshot import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    digest,
    read_manifest,
    read_snapshot,
    serialise,
    tensor_specs,
    verify_weights,
)
from schemas.codec import encode
from tests.policies import Weights, weights_of

PRODUCTS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a sound snapshot."""
    Registry(tmp_path, clock=lambda: 1).publish_foundation(
        weights_of(PRODUCTS), catalogue_version=3, health={"recall": 0.2}
    )
    return tmp_path / "snapshots" / "00000001"


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(SnapshotRejected, match=reason):
        read_snapshot(folder)


def put(folder: Path, content: bytes, **changes: object) -> None:
    """Put other weights into a snapshot, with a manifest that vouches for them."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    manifest = msgspec.structs.replace(
        read_manifest(folder), sha256=digest(content), size_bytes=len(content), **changes
    )
    (folder / MANIFEST_FILE).write_bytes(encode(manifest))


def saved(weights: Weights) -> bytes:
    return safetensors.numpy.save({name: tensor.copy() for name, tensor in weights.items()})


def test_what_was_published_is_read_back_to_the_bit(folder: Path) -> None:
    snapshot = read_snapshot(folder)

    for name, tensor in weights_of(PRODUCTS).items():
        assert snapshot.weights[name].tobytes() == tensor.tobytes()
    assert snapshot.manifest.products == PRODUCTS
    assert snapshot.manifest.health == {"recall": 0.2}


def test_the_same_weights_always_give_the_same_bytes() -> None:
    weights = weights_of(PRODUCTS)
    backwards = dict(reversed(weights.items()))

    assert serialise(weights) == serialise(backwards)


@pytest.mark.parametrize("place", [3, 900, 100_000, -1])
def test_a_flipped_bit_is_refused(folder: Path, place: int) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[place] ^= 4
    (folder / WEIGHTS_FILE).write_bytes(bytes(content))

    refused(folder, "sha256")


def test_a_disk_that_fails_says_nothing_about_the_snapshot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        with pytest.raises(SnapshotUnreadable, match="Input/output error"):
            read_snapshot(folder)

    assert read_snapshot(folder).manifest.products == PRODUCTS


def test_a_snapshot_that_is_gone_is_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()

    refused(folder, "No such file")
    with pytest.raises(SnapshotRejected) as refusal:
        read_snapshot(folder)
    assert not isinstance(refusal.value, SnapshotUnreadable)


def test_weights_that_are_cut_short_are_refused(folder: Path) -> None:
    content = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(content[:-1])

    refused(folder, "size")


def test_weights_that_are_cut_short_are_refused_even_when_vouched_for(folder: Path) -> None:
    put(folder, (folder / WEIGHTS_FILE).read_bytes()[:-100])

    refused(folder, "safetensors")


def test_more_bytes_than_the_tensors_need_are_not_even_read(folder: Path) -> None:
    put(folder, bytes(50_000_000))

    refused(folder, "size")


def _nan(weights: Weights) -> None:
    weights["output_rows"][3, 4] = np.nan


def _infinite(weights: Weights) -> None:
    weights["popularity"][0] = np.inf


def _wrong_shape(weights: Weights) -> None:
    weights["user_bias"] = np.zeros(31, np.float32)


def _too_few_rows(weights: Weights) -> None:
    weights["bias_rows"] = weights["bias_rows"][:-1]


def _wrong_type(weights: Weights) -> None:
    weights["bias_rows"] = weights["bias_rows"].astype(np.float16)


def _extra(weights: Weights) -> None:
    weights["backdoor"] = np.zeros(1, np.float32)


def _missing(weights: Weights) -> None:
    del weights["sharpness"]


def _neighbour_beyond(weights: Weights) -> None:
    weights["neighbour_rows"][0, 0] = PRODUCTS


def _neighbour_below(weights: Weights) -> None:
    weights["neighbour_rows"][0, 0] = -2


def _negative_share(weights: Weights) -> None:
    weights["neighbour_weights"][0, 0] = -0.1


def _flat(weights: Weights) -> None:
    weights["sharpness"][0] = 0.0


def _huge(weights: Weights) -> None:
    weights["output_rows"][-1] = 3e38


def _huge_lift(weights: Weights) -> None:
    weights["value_pairs"][127, 0] = 3e38


def _huge_unprobed(weights: Weights) -> None:
    weights["value_bias"][-1] = -1e30


def _collapsed(weights: Weights) -> None:
    weights["bias_rows"][3] += 150


def _indifferent(weights: Weights) -> None:
    for name in set(weights) - {"popularity", "sharpness", "neighbour_rows"}:
        weights[name] = np.zeros_like(weights[name])


FAULTS = [
    (_nan, "finite: output_rows"),
    (_infinite, "finite: popularity"),
    (_wrong_shape, "shape: user_bias"),
    (_too_few_rows, "shape: bias_rows"),
    (_wrong_type, "dtype: bias_rows"),
    (_extra, "names: backdoor"),
    (_missing, "names: sharpness"),
    (_neighbour_beyond, "range: neighbour_rows"),
    (_neighbour_below, "range: neighbour_rows"),
    (_negative_share, "range: neighbour_weights"),
    (_flat, "range: sharpness"),
    (_huge, "canary"),
    (_huge_lift, "canary: value_pairs"),
    (_huge_unprobed, "canary: value_bias"),
    (_collapsed, "canary: one product is .* nats ahead"),
    (_indifferent, "canary: no product is preferred"),
]
faults = pytest.mark.parametrize(
    ("spoil", "reason"), [pytest.param(*fault, id=fault[0].__name__[1:]) for fault in FAULTS]
)


@faults
def test_weights_that_could_not_serve_are_refused_when_read(
    folder: Path, spoil: Callable[[Weights], None], reason: str
) -> None:
    weights = weights_of(PRODUCTS)
    spoil(weights)
    put(folder, saved(weights))

    refused(folder, reason)


@faults
def test_weights_that_could_not_serve_are_never_published(
    tmp_path: Path, spoil: Callable[[Weights], None], reason: str
) -> None:
    weights = weights_of(PRODUCTS)
    spoil(weights)
    registry = Registry(tmp_path, clock=lambda: 1)

    with pytest.raises(SnapshotRejected, match=reason):
        registry.publish_foundation(weights, catalogue_version=0)

    assert registry.manifests() == []
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_a_manifest_that_declares_other_tensors_is_refused(folder: Path) -> None:
    weights = weights_of(PRODUCTS)
    _wrong_shape(weights)
    put(folder, saved(weights), tensors=tensor_specs(weights))

    refused(folder, "manifest: unexpected user_bias")


def test_a_manifest_that_promises_other_rows_is_refused(folder: Path) -> None:
    put(folder, (folder / WEIGHTS_FILE).read_bytes(), products=PRODUCTS + 1)

    refused(folder, "manifest: unexpected")


class _Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(tempfile.gettempdir()) / "quintet-unpickled",)


def test_a_pickle_under_the_name_of_the_weights_is_refused_and_never_loaded(folder: Path) -> None:
    marker = Path(tempfile.gettempdir()) / "quintet-unpickled"
    marker.unlink(missing_ok=True)
    put(folder, pickle.dumps(_Bomb()))

    refused(folder, "safetensors")
    assert not marker.exists()


@pytest.mark.parametrize("name", [WEIGHTS_FILE, MANIFEST_FILE])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)

    refused(folder, name)


def test_a_linked_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(folder)

    refused(tmp_path / "elsewhere", MANIFEST_FILE)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, MANIFEST_FILE])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)

    refused(folder, "not a regular file")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "one"}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)

    refused(folder, MANIFEST_FILE)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, MANIFEST_FILE])
def test_half_a_snapshot_is_none(folder: Path, name: str) -> None:
    (folder / name).unlink()

    refused(folder, name)


def test_sound_weights_pass_for_any_number_of_products() -> None:
    for products in (0, 1, 3, 200):
        verify_weights(weights_of(products))
