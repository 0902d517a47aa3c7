"""Clients in processes of their own: a spec goes in, what they measured comes out."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from load.errors import ProcessFailed
from load.processes import pinned

S = TypeVar("S", bound=msgspec.Struct)
_PATIENCE_SECONDS: Final = 120.0


@contextmanager
def client(
    module: str, spec: msgspec.Struct, folder: Path, core: int | None = None
) -> Iterator[Callable[[type[S]], S]]:
    """Run one of this package's clients beside the block; yield what waits for its result."""
    name = module.rpartition(".")[2]
    given, result = folder / f"{name}.spec.json", folder / f"{name}.result.json"
    given.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", module, str(given), str(result)]
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            pinned(command, core), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def finished(kind: type[S]) -> S:
        seconds = float(getattr(spec, "seconds", 0.0)) + _PATIENCE_SECONDS
        if process.wait(seconds) != 0:
            said = (folder / f"{name}.log").read_text(errors="replace")[-2_000:]
            raise ProcessFailed(f"{module} failed:\n{said}")
        return msgspec.json.decode(result.read_bytes(), type=kind)

    try:
        yield finished
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def run_client(
    module: str, spec: msgspec.Struct, folder: Path, kind: type[S], core: int | None = None
) -> S:
    """Run a client to its end and return what it measured."""
    with client(module, spec, folder, core) as finished:
        return finished(kind)
