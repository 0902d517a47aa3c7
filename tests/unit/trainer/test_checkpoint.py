"""Checkpoints: whole or not at all, the last two kept, a torn one passed over."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from trainer.checkpoint import CheckpointFolder, Progress


def progress(number: int) -> Progress:
    return Progress(
        number=number,
        offset=10 * number,
        next_version=number + 1,
        parent=number,
        promoted=number,
        foundation=1,
        catalogue_version=3,
    )


def tensors(number: int) -> dict[str, np.ndarray]:
    return {
        "weights": np.full((3, 4), number, np.float32),
        "counters": np.array([number, 2**60], np.int64),
        "seen": np.array([2**64 - 1], np.uint64),
        "nothing": np.empty((0, 5), np.int32),
    }


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")

    folder.save(progress(1), tensors(1))

    found = CheckpointFolder(tmp_path / "checkpoints").latest()
    assert found is not None
    assert found.progress == progress(1)
    assert found.tensors.keys() == tensors(1).keys()
    for name, value in tensors(1).items():
        np.testing.assert_array_equal(found.tensors[name], value)


def test_without_checkpoints_there_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path).latest() is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)

    for number in range(1, 13):
        folder.save(progress(number), tensors(number))

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "000000000011.safetensors",
        "000000000012.safetensors",
    ]


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def with_a_flipped_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def of_another_layout(content: bytes) -> bytes:
    return content.replace(b'\\"offset\\"', b'\\"ofset_\\"')


@pytest.mark.parametrize("damage", [cut_short, emptied, with_a_flipped_bit, of_another_layout])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(progress(1), tensors(1))
    folder.save(progress(2), tensors(2))
    newest = tmp_path / "000000000002.safetensors"
    whole = newest.read_bytes()
    newest.write_bytes(damage(whole))

    found = folder.latest()

    assert newest.read_bytes() != whole
    assert found is not None
    assert found.progress == progress(1)


def test_a_checkpoint_that_was_never_renamed_does_not_count(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(progress(1), tensors(1))
    (tmp_path / "000000000002.tmp").write_bytes(b"half")

    found = folder.latest()

    assert found is not None
    assert found.progress.number == 1


def test_progress_survives_fields_it_does_not_know() -> None:
    written = msgspec.to_builtins(progress(1)) | {"new_field": 1}

    assert msgspec.json.decode(msgspec.json.encode(written), type=Progress) == progress(1)
