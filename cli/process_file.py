"""Where each running process shows its metrics: files in the data directory that Prometheus reads.

Each is a target list of Prometheus' file-based discovery, so a ring on one machine is found by
`processes/*.json` whatever ports it got. The file of a process that ended by itself is gone; that
of a killed one stays, and its target is down.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_PID = "__meta_quintet_pid"


class ProcessFile(msgspec.Struct, frozen=True):
    """What a running process says of itself.

    Attributes:
        targets: host and port of its metrics.
        labels: of everything scraped there; what begins with `__` is dropped after the scrape.
    """

    targets: tuple[str, ...]
    labels: dict[str, str]

    @property
    def url(self) -> str:
        """Where it shows its metrics, without the path."""
        return f"http://{self.targets[0]}"

    @property
    def pid(self) -> int:
        """The process."""
        return int(self.labels[_PID])


@contextmanager
def described(path: Path, *, target: str, job: str) -> Iterator[None]:
    """Write down that this process is up; take it back when it ends.

    Args:
        path: the file; its name becomes the label `instance`, the same after a restart.
        target: host and port of its metrics.
        job: which of the ring's processes it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = {"job": job, "instance": path.stem, _PID: str(os.getpid())}
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(msgspec.json.encode([ProcessFile((target,), labels)]))
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find(data_dir: Path, process: str) -> ProcessFile | None:
    """Return what a process wrote; None: it is not up yet."""
    return _read(path_of(data_dir, process))


def found(folder: Path) -> dict[str, ProcessFile]:
    """Return what the processes of a folder wrote, by name."""
    files = {path.stem: _read(path) for path in folder.glob("*.json")}
    return {name: file for name, file in files.items() if file is not None}


def forget(data_dir: Path, process: str) -> None:
    """Remove what a process wrote."""
    path_of(data_dir, process).unlink(missing_ok=True)


def path_of(data_dir: Path, process: str) -> Path:
    """Return where a process writes."""
    return data_dir / "processes" / f"{process}.json"


def _read(path: Path) -> ProcessFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[ProcessFile])[0]
    except (FileNotFoundError, msgspec.DecodeError):
        return None
