"""What a trainer needs to go on as if it had never stopped: one file, replaced atomically.

A checkpoint is a safetensors file: tensors, and in its header the progress and a checksum. It is
written beside, synced, renamed, and the folder synced, so a crash leaves the one before; the last
two are kept, and one that cannot be read is passed over.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import structlog
from safetensors.numpy import save

from trainer.errors import CheckpointNotReadable

log = structlog.get_logger(__name__)
Tensors = Mapping[str, npt.NDArray[Any]]
_KEPT: Final = 2
_SUFFIX: Final = ".safetensors"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the trainer is, beside what the learner knows."""

    schema_version: int = 1
    number: int
    """Of the checkpoint, from 1."""
    offset: int
    """Next record of topic `rewards` to read; everything before is learned from or left out."""
    next_version: int
    """What the next snapshot is called."""
    parent: int
    """The version the weights are: the last published, or the one training went on from."""
    promoted: int
    """The live version as the trainer last made or took it."""
    foundation: int
    catalogue_version: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as read."""

    progress: Progress
    tensors: dict[str, npt.NDArray[Any]]

    def part(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors whose names begin so, without the prefix."""
        return {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }


def _checksum(tensors: Tensors) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(
            np.ascontiguousarray(tensors[name]).tobytes(), zlib.crc32(name.encode(), total)
        )
    return f"{total:08x}"


class CheckpointFolder:
    """The folder `path`, made when missing, that one trainer owns."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path

    def save(self, progress: Progress, tensors: Tensors) -> None:
        """Make a checkpoint durable and forget all but the last two.

        Raises:
            OSError: the disk is full or broken; the checkpoint before still stands.
        """
        header = {"progress": msgspec.json.encode(progress).decode(), "crc32": _checksum(tensors)}
        target = self._path / f"{progress.number:012d}{_SUFFIX}"
        beside = target.with_suffix(".tmp")
        with beside.open("wb") as file:
            file.write(save(dict(tensors), metadata=header))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for old in self._files()[:-_KEPT]:
            old.unlink()

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be read; None: there is none."""
        for file in reversed(self._files()):
            try:
                return _read(file)
            except CheckpointNotReadable as problem:
                log.warning("checkpoint_passed_over", file=file.name, reason=str(problem))
        return None

    def _files(self) -> list[Path]:
        return sorted(self._path.glob(f"*{_SUFFIX}"))


def _read(file: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(file, framework="numpy") as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        progress = msgspec.json.decode(header["progress"], type=Progress)
    except (OSError, KeyError, safetensors.SafetensorError, msgspec.MsgspecError) as problem:
        raise CheckpointNotReadable(f"{file.name}: {problem}") from problem
    if _checksum(tensors) != header.get("crc32"):
        raise CheckpointNotReadable(f"{file.name}: the checksum differs")
    return Checkpoint(progress=progress, tensors=tensors)
