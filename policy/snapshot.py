"""A snapshot on disk: a folder of weights (safetensors) and a manifest of what they must be.

Nothing is believed: size, digest, names, shapes, types, finite numbers, ranges, a probe.
safetensors by itself loads flipped bits and NaN without a word. Nothing is ever unpickled.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from policy import canary
from policy.architecture import TENSORS, expected_shapes
from policy.errors import SnapshotRejected, SnapshotUnreadable
from schemas.codec import decode_manifest, encode
from schemas.errors import SchemaError
from schemas.policies import Manifest, TensorSpec

WEIGHTS_FILE: Final = "weights.safetensors"
MANIFEST_FILE: Final = "manifest.json"
_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_HEADER_BYTES: Final = 64 * 1024
"""Room for safetensors' own header beside the tensors."""
_NOT_A_FILE: Final = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.ENXIO}
)

Weights = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Verified weights and their manifest.

    Attributes:
        manifest: what the snapshot says of itself.
        weights: the tensors of `policy.architecture`, read-only views of one buffer.
    """

    manifest: Manifest
    weights: dict[str, npt.NDArray[np.generic]]


def serialise(weights: Weights) -> bytes:
    """Return weights as safetensors, the same bytes for the same weights.

    Raises:
        SnapshotRejected: the weights could not serve (see `verify_weights`).
    """
    verify_weights(weights)
    ordered = {name: np.ascontiguousarray(weights[name]) for name in sorted(TENSORS)}
    return safetensors.numpy.save(ordered)


def tensor_specs(weights: Weights) -> dict[str, TensorSpec]:
    """Return the shape and dtype of every tensor, for the manifest."""
    return {
        name: TensorSpec(shape=weights[name].shape, dtype=str(weights[name].dtype))
        for name in sorted(weights)
    }


def write_snapshot(folder: Path, manifest: Manifest, content: bytes) -> None:
    """Write a snapshot's two files into an existing empty folder and wait until they are on disk.

    The folder is nobody's until it is renamed; see `registry`.
    """
    _write(folder / WEIGHTS_FILE, content)
    _write(folder / MANIFEST_FILE, encode(manifest))
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """Return a snapshot's manifest.

    Raises:
        SnapshotRejected: there is none, it is not a regular file, or not readable.
    """
    try:
        return decode_manifest(_read(folder, MANIFEST_FILE, _MANIFEST_BYTES))
    except SchemaError as problem:
        raise SnapshotRejected(f"{MANIFEST_FILE}: {problem}") from problem


def read_snapshot(folder: Path) -> Snapshot:
    """Return the snapshot in `folder`, verified.

    Raises:
        SnapshotRejected: a check refused it; the text says which.
        SnapshotUnreadable: the disk does not give it just now.
    """
    manifest = read_manifest(folder)
    shapes = _declared(manifest)
    sizes = (int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())
    most = sum(sizes) + _HEADER_BYTES
    if not 0 < manifest.size_bytes <= most:
        raise SnapshotRejected(f"size: {manifest.size_bytes} bytes, expected at most {most}")
    content = _read(folder, WEIGHTS_FILE, manifest.size_bytes)
    if len(content) != manifest.size_bytes:
        raise SnapshotRejected(f"size: {len(content)} bytes, not {manifest.size_bytes}")
    if digest(content) != manifest.sha256:
        raise SnapshotRejected("sha256: the weights are not those the manifest was made for")
    weights = _parse(content)
    verify_weights(weights, products=manifest.products)
    return Snapshot(manifest, weights)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a snapshot's weights in hex."""
    return hashlib.sha256(content).hexdigest()


def verify_weights(weights: Weights, *, products: int | None = None) -> None:
    """Check names, shapes, types, numbers and ranges, then let the weights answer a probe.

    Args:
        weights: the tensors of `policy.architecture`.
        products: rows they must have; None: as many as `popularity` has.

    Raises:
        SnapshotRejected: a check refused them; the text says which.
    """
    if set(weights) != set(TENSORS):
        raise SnapshotRejected(f"names: {', '.join(sorted(set(weights) ^ set(TENSORS)))}")
    rows = weights["popularity"].size if products is None else products
    for name, (shape, dtype) in expected_shapes(rows).items():
        tensor = weights[name]
        if tensor.shape != shape:
            raise SnapshotRejected(f"shape: {name} is {tensor.shape}, expected {shape}")
        if tensor.dtype != np.dtype(dtype):
            raise SnapshotRejected(f"dtype: {name} is {tensor.dtype}, expected {dtype}")
        if not np.isfinite(tensor).all():
            raise SnapshotRejected(f"finite: {name} holds NaN or infinity")
    _verify_ranges(weights, rows)
    canary.probe(weights)


def _verify_ranges(weights: Weights, products: int) -> None:
    neighbours = weights["neighbour_rows"]
    if neighbours.size and not -1 <= neighbours.min() <= neighbours.max() < products:
        raise SnapshotRejected(f"range: neighbour_rows must be from -1 to {products - 1}")
    if neighbours.size and weights["neighbour_weights"].min() < 0:
        raise SnapshotRejected("range: neighbour_weights must not be below 0")
    if not weights["sharpness"][0] > 0:
        raise SnapshotRejected("range: sharpness must be above 0")


def _declared(manifest: Manifest) -> dict[str, tuple[tuple[int, ...], str]]:
    if manifest.products < 0:
        raise SnapshotRejected(f"shape: {manifest.products} products")
    expected = expected_shapes(manifest.products)
    declared = {name: (spec.shape, spec.dtype) for name, spec in manifest.tensors.items()}
    if declared != expected:
        wrong = sorted(
            name for name in set(declared) | set(expected)
            if declared.get(name) != expected.get(name)
        )  # fmt: skip
        raise SnapshotRejected(f"manifest: unexpected {', '.join(wrong)}")
    return expected


def _parse(content: bytes) -> dict[str, npt.NDArray[np.generic]]:
    try:
        return dict(safetensors.numpy.load(content))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise SnapshotRejected(f"safetensors: {problem}") from problem


def _read(folder: Path, name: str, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes, never through a link."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
        finally:
            os.close(opened)
    except OSError as problem:
        missing = problem.errno in _NOT_A_FILE
        kind = SnapshotRejected if missing else SnapshotUnreadable
        raise kind(f"{folder.name}/{name}: {problem.strerror}") from problem
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotRejected(f"{folder.name}/{name}: not a regular file")
        if status.st_size > limit:
            raise SnapshotRejected(f"size: {name} has {status.st_size} bytes, at most {limit}")
        try:
            return stream.read(limit + 1)
        except OSError as problem:
            raise SnapshotUnreadable(f"{folder.name}/{name}: {problem.strerror}") from problem


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
