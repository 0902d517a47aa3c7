"""Where each link of the ring stands, read from the end of the log and asked of its processes."""

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Final

from cli import wiring
from cli.doctor import answers
from cli.doctor.gathering import existing_log, existing_registry, is_here
from cli.doctor.turning import GRACE_MS, RingFacts
from cli.process_file import of_kind
from cli.settings import Settings
from policy.registry import Registry
from schemas.codec import decode_announcement, decode_event, decode_reward
from schemas.errors import SchemaError
from schemas.events import Recommended
from schemas.policies import Announcement
from streams.dead_letters import letters
from streams.port import Log, Partition, Record
from streams.topics import DEAD, EVENTS, POLICIES, REWARDS

_TAIL: Final = 2_000
_UNTRAINED: Final = 5_000
_LETTERS_WAIT_SECONDS: Final = 5.0


def ring_facts(settings: Settings, now_ms: int) -> RingFacts | None:
    """Return where the ring stands; None: there is no log yet.

    Raises:
        LogError: the log cannot be read.
        LivePointerNotReadable: the registry's pointer is damaged.
    """
    registry = existing_registry(settings)
    live = registry.live() if registry else None
    with existing_log(settings) as log:
        if log is None:
            return None
        settled_ms = now_ms - 1000 * settings.settlement_seconds - GRACE_MS
        banner_ms, due_ms = banners(answers.tail(log, EVENTS.name, _TAIL), settled_ms)
        told = announcements(answers.tail(log, POLICIES.name, _TAIL))
        published = [each for each in told if each.kind == "published"]
        served = [each for each in told if each.kind == "served"]
        rejected = [each for each in told if each.kind == "rejected"]
        newest = answers.newest_appended_ms(log)
        live_version = None if live is None else live.version
        return RingFacts(
            now_ms=now_ms,
            settlement_ms=1000 * settings.settlement_seconds,
            batch_banners=settings.batch_banners,
            banner_ms=banner_ms,
            due_ms=due_ms,
            reward_ms=newest.get(f"topic {REWARDS.name}"),
            untrained=_untrained(log, registry),
            update_ms=published[-1].at_ms if published else None,
            live_version=live_version,
            live_ms=0 if live is None else live.changed_at_ms,
            served_version=served[-1].version if served else None,
            served_ms=served[-1].at_ms if served else None,
            rejected=_refusal(rejected, served, live_version),
            refused=_metric(settings, "train", "train_health_refused") == 1,
            lag=_whole(_metric(settings, "aggregate", "aggregate_lag_records")),
            counts=(
                answers.audited(wiring.url(settings.host, settings.console_port))
                if is_here(settings, "console", settings.console_port)
                else None
            ),
            letters=_letters(log),
            serving=is_here(settings, "serve", settings.port),
        )


def banners(records: Iterable[Record], settled_ms: int) -> tuple[int | None, int | None]:
    """Return when the newest banner was appended, and the newest one that is due its reward.

    Args:
        records: the end of topic `events`.
        settled_ms: what was appended before is due, unless it waits to be confirmed.
    """
    newest: int | None = None
    due: int | None = None
    for record in records:
        if b'"type":"recommended"' not in (record.value or b""):
            continue
        try:
            event = decode_event(record.value)
        except SchemaError:
            continue
        if not isinstance(event, Recommended):
            continue
        at_ms = record.appended_at_ms
        newest = max(at_ms, newest or 0)
        if at_ms < settled_ms and not event.deferred:
            due = max(at_ms, due or 0)
    return newest, due


def announcements(records: Iterable[Record]) -> list[Announcement]:
    """Return what can be read of topic `policies`."""
    found = []
    for record in records:
        try:
            found.append(decode_announcement(record.value))
        except SchemaError:
            continue
    return found


def _refusal(
    rejected: list[Announcement], served: list[Announcement], live_version: int | None
) -> str:
    """Return why the live version was refused; empty where a server took it later, or none did."""
    refusals = [each for each in rejected if each.version == live_version]
    taken = [each.at_ms for each in served if each.version == live_version]
    if not refusals or max(taken, default=0) >= refusals[-1].at_ms:
        return ""
    return refusals[-1].reason or "no reason told"


def _untrained(log: Log, registry: Registry | None) -> int:
    """Return how many trainable rewards the newest snapshot does not hold; 5,000 stands for more.

    Counted are settlements and corrections, each of which is one example.
    """
    manifests = registry.manifests() if registry else []
    learned = max((each.rewards_offset or 0 for each in manifests), default=0)
    partition = Partition(REWARDS.name, 0)
    end = log.end_offsets(REWARDS.name)[partition]
    count = 0
    for record in answers.tail(log, REWARDS.name, min(_UNTRAINED, max(0, end - learned))):
        try:
            count += decode_reward(record.value).trainable
        except SchemaError:
            continue
    return count


def _letters(log: Log) -> Counter[str]:
    starts, ends = log.start_offsets(DEAD.name), log.end_offsets(DEAD.name)
    if starts == ends:
        return Counter()
    with closing(letters(log, wait_seconds=_LETTERS_WAIT_SECONDS)) as found:
        return Counter(each.letter.reason for each in found if not each.replayed)


def _metric(settings: Settings, process: str, name: str) -> float | None:
    """Return the sum of a metric over the living processes of a kind; None: none tells it."""
    files = [file for file in of_kind(settings.data_dir, process) if file.is_alive]
    told = [answers.metrics(file.url).get(name) for file in files]
    known = [value for value in told if value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
