"""Where each running process shows its metrics: files in the data directory that Prometheus reads.

Each is a target list of Prometheus' file-based discovery, so a ring on one machine is found by
`processes/*.json` whatever ports it got. The file of a process that ended by itself is gone; that
of a killed one stays, and its target is down.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

_PID = "__meta_quintet_pid"
_HOST = "__meta_quintet_host"
_FOLDER = "processes"


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
    def port(self) -> int:
        """Of its metrics."""
        return int(self.targets[0].rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process."""
        return int(self.labels[_PID])

    @property
    def elsewhere(self) -> str:
        """The host that it is on; empty: this one, on which `targets` and `pid` mean something."""
        host = self.labels.get(_HOST, "")
        return "" if host == socket.gethostname() else host

    @property
    def is_alive(self) -> bool:
        """Whether a process of this host has its id now."""
        if self.elsewhere:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def described(path: Path, *, target: str, job: str) -> Iterator[None]:
    """Write down that this process is up; take it back when it ends.

    Args:
        path: the file; its name becomes the label `instance`, the same after a restart.
        target: host and port of its metrics.
        job: which of the ring's processes it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pid, host = str(os.getpid()), socket.gethostname()
    labels = {"job": job, "instance": path.stem, _PID: pid, _HOST: host}
    content = msgspec.json.encode([ProcessFile((target,), labels)])
    unfinished = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            if path.read_bytes() == content:  # else it is a successor's
                path.unlink()


def find(data_dir: Path, process: str) -> ProcessFile | None:
    """Return what a process of a kind wrote on this host; None: none is up yet."""
    return next(iter(of_kind(data_dir, process)), None)


def of_kind(data_dir: Path, process: str) -> list[ProcessFile]:
    """Return what the processes of a kind wrote on this host, the living first, then by name."""
    files = [file for _, file in sorted(found(data_dir / _FOLDER).items())]
    here = [file for file in files if file.labels.get("job") == process and not file.elsewhere]
    return sorted(here, key=lambda file: not file.is_alive)


def found(folder: Path) -> dict[str, ProcessFile]:
    """Return what the processes of a folder wrote, by name."""
    files = {path.stem: _read(path) for path in folder.glob("*.json")}
    return {name: file for name, file in files.items() if file is not None}


def forget(data_dir: Path, process: str) -> None:
    """Remove what the processes of a kind wrote."""
    for name, file in found(data_dir / _FOLDER).items():
        if file.labels.get("job") == process:
            path_of(data_dir, name).unlink(missing_ok=True)


def path_of(data_dir: Path, name: str) -> Path:
    """Return where the process of a name writes."""
    return data_dir / _FOLDER / f"{name}.json"


def free_path(data_dir: Path, name: str, port: int) -> Path:
    """Return where a process writes whose name another may have: then with its port behind it.

    The name of one that was killed is free again, so a restart has the same.
    """
    path = path_of(data_dir, name)
    told = _read(path)
    is_taken = told is not None and (
        told.elsewhere != "" or (told.pid != os.getpid() and told.is_alive)
    )
    return path_of(data_dir, f"{name}-{port}") if is_taken else path


def _read(path: Path) -> ProcessFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[ProcessFile])[0]
    except (FileNotFoundError, msgspec.DecodeError):
        return None
