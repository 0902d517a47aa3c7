"""Reading the log as it stands now: to its end, from a time on, one partition or all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from streams.errors import LogUnavailable
from streams.port import Consumer, Log, Partition, Record

POLL_RECORDS: Final = 2000
_POLL_SECONDS: Final = 1.0
_EMPTY_POLLS: Final = 10


def read_to_end(
    log: Log, topics: Sequence[str], *, only: Mapping[Partition, int] | None = None
) -> Iterator[Record]:
    """Yield what the topics hold now; what is appended meanwhile is left out.

    Args:
        log: the log.
        topics: their names.
        only: partitions to read and where to start; None: all, from the start.

    Raises:
        LogUnavailable: the log cannot be reached, or gives nothing though more was promised.
    """
    ends = {p: end for topic in topics for p, end in log.end_offsets(topic).items()}
    starts = {p: start for topic in topics for p, start in log.start_offsets(topic).items()}
    first = starts if only is None else {p: max(o, starts[p]) for p, o in only.items()}
    waiting = {p for p, start in first.items() if start < ends[p]}
    consumer = log.consumer(topics, group=None)
    try:
        if only is not None:
            for partition, end in ends.items():
                consumer.seek(partition, first.get(partition, end))
        empty = 0
        while waiting:
            records = consumer.poll(max_records=POLL_RECORDS, timeout_seconds=_POLL_SECONDS)
            empty = 0 if records else empty + 1
            if empty == _EMPTY_POLLS:
                raise LogUnavailable(f"nothing came from {sorted(waiting)} though more is there")
            for record in records:
                if record.partition in waiting and record.offset < ends[record.partition]:
                    yield record
                if record.offset + 1 >= ends[record.partition]:
                    waiting.discard(record.partition)
    finally:
        consumer.close()


def offset_at(log: Log, partition: Partition, appended_at_ms: int) -> int:
    """Return the first offset of a partition that was appended at or after a time.

    Append times never go back inside a partition, so this is a binary search: some 20 reads of one
    record, whatever the length of the log. The end offset when nothing is that new.

    Raises:
        LogUnavailable: the log cannot be reached.
    """
    low = log.start_offsets(partition.topic)[partition]
    end = log.end_offsets(partition.topic)
    high = end[partition]
    consumer = log.consumer((partition.topic,), group=None)
    try:
        for other, offset in end.items():
            consumer.seek(other, offset)
        while low < high:
            middle = (low + high) // 2
            record = _next(consumer, partition, middle)
            if record is not None and record.appended_at_ms < appended_at_ms:
                low = record.offset + 1
            else:
                high = middle
    finally:
        consumer.close()
    return low


def _next(consumer: Consumer, partition: Partition, offset: int) -> Record | None:
    """Return the first record at or after an offset (compaction leaves gaps)."""
    consumer.seek(partition, offset)
    for _ in range(_EMPTY_POLLS):
        for record in consumer.poll(max_records=1, timeout_seconds=_POLL_SECONDS):
            if record.partition == partition:
                return record
    return None
