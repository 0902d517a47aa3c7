"""A bounded queue of messages on disk: durable when `put` returns, and found again after `kill -9`.

A process owns one file of the folder, the first whose lock is free, and takes over what dead
processes left in others. A file exists only while it holds something.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import structlog

from streams.errors import LogError, SpoolFull
from streams.local.file import OwnerLock
from streams.port import Message
from streams.spooled.file import Batch, SpoolFile, weight

log = structlog.get_logger(__name__)


class Spool:
    """The queue of one process; may be used by several threads, one of which removes.

    Args:
        folder: holds the files of all processes; made when missing.
        limit_bytes: most that all messages of this process take, by `weight`.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._files: list[SpoolFile] = []
        self.open()

    @property
    def is_open(self) -> bool:
        """Whether what the folder holds is known."""
        return bool(self._files)

    def open(self) -> None:
        """Take what the folder holds, unless that is done; a disk may refuse it (`is_open`)."""
        try:
            self._take()
        except (LogError, OSError) as problem:
            log.warning("spool_not_opened", folder=str(self._folder), problem=str(problem))

    def _take(self) -> None:
        if not self._files:
            self._files = _taken(self._folder)

    @property
    def records(self) -> int:
        """How many messages wait."""
        return sum(file.records for file in self._files)

    @property
    def size_bytes(self) -> int:
        """What they take, by `weight`."""
        return sum(file.size_bytes for file in self._files)

    def put(self, topic: str, messages: Sequence[Message]) -> Batch:
        """Put messages at the end, all or none; when this returns they are durable.

        Returns:
            What `first` returns of an empty spool afterwards, in one piece.

        Raises:
            SpoolFull: they do not fit within the limit, or the disk has no room for them.
        """
        if self.size_bytes + sum(map(weight, messages)) > self._limit_bytes:
            raise SpoolFull(f"the spool holds its limit of {self._limit_bytes} bytes")
        try:
            self._take()
            return self._files[-1].put(topic, messages)
        except (LogError, OSError) as problem:
            raise SpoolFull(f"the disk of the spool takes nothing: {problem}") from problem

    def first(self, *, max_records: int) -> Batch | None:
        """Return the oldest messages, all of one topic and a megabyte at most; None: it is empty.

        Raises:
            LogError: the file cannot be read.
        """
        for file in self._files:
            if file.records:
                return file.first(max_records=max_records)
        return None

    def remove(self, batch: Batch) -> None:
        """Forget messages from the front, as `first` returned them; never returns them again."""
        file = next(file for file in self._files if file.records)
        file.remove(batch)
        if not file.records and file is not self._files[-1]:
            file.close()
            self._files.remove(file)

    def tidy(self) -> None:
        """Give the disk back what an empty spool holds."""
        for file in self._files:
            if not file.records:
                file.discard()

    def close(self) -> None:
        """Let go of the files; what they hold is taken over by whoever opens the folder next."""
        for file in self._files:
            file.close()
        self._files = []


def _taken(folder: Path) -> list[SpoolFile]:
    """Return what this process owns now: files left behind, and last the one it writes to.

    Raises:
        LogUnavailable: the disk does not let a file be opened; none is owned.
        OSError: nor the folder; none is owned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = {int(path.stem) for path in folder.glob("*.db") if path.stem.isdecimal()}
    own: SpoolFile | None = None
    found: list[SpoolFile] = []
    with ExitStack() as given_back:
        for number in count():
            if own is not None and not left:
                break
            left.discard(number)
            path = folder / f"{number}.db"
            lock = OwnerLock(path.with_suffix(".lock"))
            if (own is not None and not path.exists()) or not lock.acquire():
                continue
            given_back.callback(lock.release)
            file = SpoolFile(path, lock)
            given_back.callback(file.close)
            if own is None:
                own = file
            else:
                found.append(file)
        given_back.pop_all()
    for file in (*found, *([own] if own else [])):
        if file.records:
            log.info("spool_found", file=file.path.name, records=file.records)
    return [*found, *([own] if own else [])]
