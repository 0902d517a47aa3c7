"""How a started process says that it is ready, and on which ports: a file that appears whole."""

from pathlib import Path

import msgspec

Ports = dict[str, int]


def announce(folder: Path, name: str, ports: Ports) -> None:
    """Write the ports of the process called `name`."""
    temporary = folder / f"{name}.json.tmp"
    temporary.write_bytes(msgspec.json.encode(ports))
    temporary.rename(folder / f"{name}.json")


def announced(folder: Path, name: str) -> Ports | None:
    """Return the ports of the process called `name`; None: it is not ready yet."""
    try:
        return msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Ports)
    except FileNotFoundError:
        return None
