"""A reader of the local log: ownership by a lock file, commits in one transaction.

Waiting costs next to nothing: every few milliseconds SQLite is asked whether another connection has
committed (`PRAGMA data_version`), and only then the records are.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from streams.errors import Fenced, LogError
from streams.local.file import Layout, OwnerLock, connect, translated, writing
from streams.local.records import Onward, insert, read
from streams.port import Message, Output, Ownership, Partition, Record, StateChange

log = structlog.get_logger(__name__)

_WAIT_SECONDS: Final = 0.02
_CACHE_KIB: Final = 64 * 1024
_CHECKPOINT_PAGES: Final = 4_000


class LocalConsumer:
    """One reader of some partitions, in a group or alone; made by `LocalLog.consumer`."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        partitions: Sequence[Partition],
        *,
        group: str | None,
        clock: Onward,
        busy_seconds: float,
        on_assigned: Ownership | None,
        on_revoked: Ownership | None,
    ) -> None:
        self._layout = layout
        self._partitions = frozenset(partitions)
        self._group = group
        self._clock = clock
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._lock = OwnerLock(path.with_name(path.name + ".groups") / quote(group or "", safe=""))
        self._connection = connect(path, busy_seconds=busy_seconds)
        if group is not None:
            # A commit changes state all over its table: with few pages in memory and a checkpoint
            # at each commit it took a fifth longer.
            self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB:d}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES:d}")
        self._positions: dict[Partition, int] = {}
        self._epoch = 0
        self._read_at: int | None = None
        self._assigned: frozenset[Partition] = frozenset()
        self._revoked: frozenset[Partition] = frozenset()
        if group is None:
            self._positions = dict.fromkeys(self._partitions, 0)
            self._assigned = self._partitions

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Return the next records, in order per partition; empty after the timeout.

        Raises:
            LogUnavailable: the file cannot be read.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._settle_ownership()
            if records := self._read_if_changed(max_records):
                return records
            left = deadline - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(left, _WAIT_SECONDS))

    def assignment(self) -> frozenset[Partition]:
        """Return the partitions owned now: all of them or, while another is the owner, none."""
        return frozenset(self._positions)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read `partition` from `offset` next; raises Fenced when it is not owned."""
        self._check_owned({partition})
        self._positions[partition] = offset
        self._read_at = None

    def commit(
        self,
        offsets: Mapping[Partition, int],
        *,
        outputs: Sequence[Output] = (),
        state: Sequence[StateChange] = (),
    ) -> None:
        """Make offsets, outputs and state durable in one transaction.

        Raises:
            Fenced: the group has another owner now; nothing moved.
            LogUnavailable: the disk is full or the file stayed locked. The next poll takes the
                partitions anew, from what is committed.
            TopicMismatch: an output's topic does not exist; nothing moved.
        """
        self._check_owned({*offsets, *(change.partition for change in state)})
        routed: dict[str, list[Message]] = {}
        for output in outputs:
            routed.setdefault(output.topic, []).append(Message(output.key, output.value))
        ids = {topic: self._layout.of(topic) for topic in routed}
        try:
            with writing(self._connection):
                self._check_epoch()
                for topic, messages in routed.items():
                    insert(self._connection, ids[topic], messages, self._clock)
                self._write_progress(offsets)
                self._write_state(state)
        except LogError:
            self._give_up()
            raise
        self._read_at = None

    def load_state(self, partition: Partition) -> Iterator[tuple[bytes, bytes]]:
        """Yield the group's (key, value) state of a partition; raises Fenced when not owned."""
        self._check_owned({partition})
        with translated():
            rows = self._connection.execute(
                "SELECT key, value FROM state WHERE progress ="
                " (SELECT id FROM progress WHERE group_name = ? AND partition = ?)",
                (self._group, self._layout.id_of(partition)),
            ).fetchall()
        yield from rows

    def close(self) -> None:
        """Give the partitions back; nothing is committed by this."""
        self._positions.clear()
        self._connection.close()
        self._lock.release()

    def _settle_ownership(self) -> None:
        """Tell what was lost, take the group if it is free, tell what was won."""
        if self._revoked:
            lost, self._revoked = self._revoked, frozenset()
            if self._on_revoked is not None:
                self._on_revoked(lost)
        if self._group is not None and not self._positions and self._lock.acquire():
            self._take_over(self._group)
        if self._assigned:
            if self._on_assigned is not None:
                self._tell_assigned(self._on_assigned)
            self._assigned = frozenset()

    def _tell_assigned(self, on_assigned: Ownership) -> None:
        try:
            on_assigned(self._assigned)
        except BaseException:
            # The owner could not take what it was given; the next poll gives it again.
            self._give_up()
            raise

    def _take_over(self, group: str) -> None:
        try:
            with writing(self._connection):
                self._epoch = self._connection.execute(
                    "INSERT INTO owners VALUES (?, 1)"
                    " ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                    (group,),
                ).fetchone()[0]
                committed = self._committed(group)
        except LogError:
            self._lock.release()
            raise
        self._positions = {partition: committed.get(partition, 0) for partition in self._partitions}
        self._assigned = self._partitions
        self._read_at = None
        log.info("group_owned", group=group, epoch=self._epoch)

    def _committed(self, group: str) -> dict[Partition, int]:
        rows = self._connection.execute(
            "SELECT topic, number, next_offset FROM progress"
            " JOIN partitions ON partitions.id = progress.partition"
            " WHERE group_name = ? AND next_offset IS NOT NULL",
            (group,),
        )
        return {Partition(topic, number): offset for topic, number, offset in rows.fetchall()}

    def _read_if_changed(self, max_records: int) -> Sequence[Record]:
        if not self._positions:
            return ()
        with translated():
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version == self._read_at:
                return ()
            records = self._read(max_records)
        if not records:
            self._read_at = version
        return records

    def _read(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        for partition, position in list(self._positions.items()):
            if len(records) >= max_records:
                break
            found = read(
                self._connection,
                self._layout.id_of(partition),
                partition,
                offset=position,
                max_records=max_records - len(records),
            )
            if found:
                # Read last next time, so that a busy partition does not starve the others.
                del self._positions[partition]
                self._positions[partition] = found[-1].offset + 1
                records += found
        return records

    def _check_owned(self, partitions: set[Partition]) -> None:
        if missing := partitions - self._positions.keys():
            raise Fenced(f"group {self._group!r}: not the owner of {sorted(missing)}")

    def _check_epoch(self) -> None:
        if self._group is None:
            raise LogError("a reader without a group cannot commit")
        row = self._connection.execute(
            "SELECT epoch FROM owners WHERE group_name = ?", (self._group,)
        ).fetchone()
        if row != (self._epoch,):
            raise Fenced(f"group {self._group!r} has another owner now")

    def _write_progress(self, offsets: Mapping[Partition, int]) -> None:
        self._connection.executemany(
            "INSERT INTO progress (group_name, partition, next_offset) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(self._group, self._layout.id_of(p), offset) for p, offset in offsets.items()],
        )

    def _write_state(self, state: Sequence[StateChange]) -> None:
        changed = {change.partition for change in state}
        progress = {partition: self._progress_id(partition) for partition in changed}
        # The last change of a key holds, in whatever order forgetting and keeping are written.
        last = {(progress[c.partition], c.key): c.value for c in state}
        self._connection.executemany(
            "DELETE FROM state WHERE progress = ? AND key = ?",
            [key for key, value in last.items() if value is None],
        )
        self._connection.executemany(
            "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            [(*key, value) for key, value in last.items() if value is not None],
        )

    def _progress_id(self, partition: Partition) -> int:
        identity = (self._group, self._layout.id_of(partition))
        self._connection.execute(
            "INSERT INTO progress (group_name, partition) VALUES (?, ?) ON CONFLICT DO NOTHING",
            identity,
        )
        found: int = self._connection.execute(
            "SELECT id FROM progress WHERE group_name = ? AND partition = ?", identity
        ).fetchone()[0]
        return found

    def _give_up(self) -> None:
        """Own nothing until the next poll takes the group anew."""
        if self._group is None:
            return
        self._revoked = frozenset(self._positions)
        self._assigned = frozenset()
        self._positions.clear()
        self._lock.release()
