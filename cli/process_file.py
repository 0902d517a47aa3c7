"""Where a process without a port of its own shows its metrics: a file in the data directory."""

import os
from pathlib import Path

import msgspec


class ProcessFile(msgspec.Struct, frozen=True):
    """What a running process says of itself."""

    pid: int
    metrics_port: int


def describe(data_dir: Path, process: str, *, metrics_port: int) -> None:
    """Write down that this process is up."""
    path = _path(data_dir, process)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(ProcessFile(os.getpid(), metrics_port)))


def described(data_dir: Path, process: str) -> ProcessFile | None:
    """Return what a process wrote; None: it is not up yet."""
    try:
        return msgspec.json.decode(_path(data_dir, process).read_bytes(), type=ProcessFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def all_described(data_dir: Path) -> dict[str, ProcessFile]:
    """Return what every process wrote, those that have ended included, by name."""
    names = sorted(path.stem for path in (data_dir / "processes").glob("*.json"))
    found = {name: described(data_dir, name) for name in names}
    return {name: process for name, process in found.items() if process is not None}


def forget(data_dir: Path, process: str) -> None:
    """Remove what an earlier process wrote."""
    _path(data_dir, process).unlink(missing_ok=True)


def _path(data_dir: Path, process: str) -> Path:
    return data_dir / "processes" / f"{process}.json"
