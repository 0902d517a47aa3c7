"""What running processes answer, and what stands at the end of the log."""

import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from console.audit import Counts
from console.reading import read_to_end
from streams.port import Log, Partition, Record
from streams.topics import EVENTS, POLICIES, REWARDS

_SECONDS: Final = 2.0


def ask(url: str) -> tuple[int, bytes]:
    """Return status and body of an answer; status 0: nobody answers in time."""
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - our own
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
    except (OSError, ValueError):
        return 0, b""


def metrics(url: str) -> dict[str, float]:
    """Return the metrics without labels of a process; empty: it does not answer."""
    status, body = ask(f"{url}/metrics")
    if status != 200:
        return {}
    try:
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
            if not sample.labels
        }
    except ValueError:  # somebody else's page
        return {}


def is_ours(url: str, prefix: str) -> bool:
    """Return whether a process with metrics of this prefix answers."""
    status, body = ask(f"{url}/metrics")
    return status == 200 and f"# TYPE {prefix}".encode() in body


def not_ready(url: str) -> str:
    """Return why a process is not ready; empty: it is."""
    status, body = ask(f"{url}/readyz")
    if status == 200:
        return ""
    said = _json(body).get("detail") or f"status {status}"
    return str(said)


def audited(url: str) -> Counts | None:
    """Return what the console's audit counts; None: no console answers."""
    status, body = ask(f"{url}/experiment")
    counts = _json(body).get("rewards")
    return msgspec.convert(counts, Counts) if status == 200 and counts else None


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def tail(log: Log, topic: str, count: int) -> Iterator[Record]:
    """Yield the last records of each partition of a topic, in their order."""
    starts, ends = log.start_offsets(topic), log.end_offsets(topic)
    first: dict[Partition, int] = {
        partition: max(starts[partition], end - count) for partition, end in ends.items()
    }
    return read_to_end(log, (topic,), only=first)


def newest_appended_ms(log: Log) -> dict[str, int]:
    """Return the append time of the last record of each topic that the ring writes."""
    found = {}
    for topic in (EVENTS.name, REWARDS.name, POLICIES.name):
        newest = _newest(tail(log, topic, 1))
        if newest is not None:
            found[f"topic {topic}"] = newest
    return found


def _newest(records: Iterable[Record]) -> int | None:
    return max((record.appended_at_ms for record in records), default=None)
