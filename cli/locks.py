"""One process at a time: a lock that the kernel frees when its holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import BadUsage


@contextmanager
def exclusive(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs.

    Args:
        path: made when it is missing; it stays.
        what: who holds it, for the message to the second one.

    Raises:
        BadUsage: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadUsage(
                f"another {what} works on {path.parent}: end it first, or give another --data-dir"
            ) from None
        yield
