"""A folder that is there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import BadUsage


@contextmanager
def whole_folder(target: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes it when the block ends well.

    Args:
        target: does not exist, or is an empty folder.
        mode: its permissions.

    Raises:
        BadUsage: there is something in it, or it is no folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadUsage(
            f"{target} is there already and not empty: name another folder, or remove it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.rename(target)  # takes the place of an empty folder too
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
