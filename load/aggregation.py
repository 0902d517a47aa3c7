"""`python -m load.aggregation`: events a second and core of the aggregator; a restart's cost.

The whole loop is measured: read, decode, attribute, encode, commit outputs, state and offsets; on
the local log and on a genuine Kafka broker, whose own processor time is not the aggregator's. Then
the state of one partition is loaded: from the changelog, and from a copy on disk.
Exit status 1 when a must is missed.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import structlog
import typer
from rich.console import Console
from rich.table import Table

from load.clock import now_ms
from load.errors import ProcessFailed
from load.processes import free_port
from rewards.aggregator import Aggregator
from rewards.specification import RewardSpecification
from schemas import identity
from schemas.codec import encode
from schemas.events import Click, Event, Line, Purchase, Recommended
from schemas.limits import BANNER_SIZE
from streams.kafka import KafkaLog, KafkaSettings, StateFolder
from streams.local import LocalLog
from streams.port import Consumer, Log, Message, Partition, StateChange
from streams.topics import EVENTS

MUSTS: Final = {"local": (20_000, 60_000), "kafka": (5_000, 20_000)}
"""(must, aim) of events a second and core."""
PRODUCTS: Final = 1_000
SHOPPERS: Final = 5_000
_SECRET: Final = b"a secret of the benchmark alone"
_KAFKA_SH: Final = Path(__file__).resolve().parent.parent / "deploy" / "kafka.sh"
_AT_ONCE: Final = 2_000
_HISTORY_BYTES: Final = 700
_CANDIDATES_BYTES: Final = 125
_CLICKED: Final = 0.12
_BOUGHT: Final = 0.05
_ENTRY_BYTES: Final = 500
_GROUP: Final = "restarts"


@dataclass(frozen=True, slots=True)
class Speed:
    """What one run took.

    Attributes:
        log: which log.
        events: read.
        rewards: appended.
        per_core_second: events by the processor time of the aggregator's process.
        per_second: events by the clock, the log's own work included.
    """

    log: str
    events: int
    rewards: int
    per_core_second: float
    per_second: float


def shopping(banners: int, rng: np.random.Generator) -> Iterator[tuple[bytes, Event]]:
    """Yield (routing key, event): banners of returning shoppers, their clicks and orders.

    Args:
        banners: how many.
        rng: draws everything.
    """
    keys = [identity.user_key(_SECRET, f"shopper-{number}") for number in range(SHOPPERS)]
    history, candidates = rng.bytes(_HISTORY_BYTES), rng.bytes(_CANDIDATES_BYTES)
    at_ms = now_ms()
    for number in range(banners):
        key = keys[int(rng.integers(SHOPPERS))]
        rows = tuple(int(row) for row in rng.integers(0, PRODUCTS, BANNER_SIZE))
        found = identity.recommendation_id(identity.ulid(at_ms, rng.bytes(10)), key)
        products = tuple(f"product-{row}" for row in rows)
        yield (
            key,
            Recommended(
                event_id=found, recommendation_id=found, occurred_at_ms=at_ms, user_key=key,
                unit=key.hex(), arm="policy", source="policy", trainable=True, policy_version=3,
                catalogue_version=PRODUCTS, history=history, candidates=candidates,
                product_ids=products, rows=rows,
                log_probs=tuple(float(one) for one in -6.0 - rng.random(BANNER_SIZE)),
            ),
        )  # fmt: skip
        if rng.random() < _CLICKED:
            yield (
                key,
                Click(
                    event_id=f"click-{number}", occurred_at_ms=at_ms, received_at_ms=at_ms,
                    recommendation_id=found, user_key=key, product_id=products[0],
                ),
            )  # fmt: skip
        if rng.random() < _BOUGHT:
            yield (
                key,
                Purchase(
                    event_id=f"order-{number}", occurred_at_ms=at_ms, received_at_ms=at_ms,
                    user_key=key, order_id=f"order-{number}",
                    lines=tuple(Line(product_id=each, row=0) for each in products[:2]),
                ),
            )  # fmt: skip


def fill(log: Log, banners: int, *, seed: int) -> int:
    """Append a shop's events; return how many."""
    rng = np.random.default_rng(seed)
    messages = [Message(key, encode(event)) for key, event in shopping(banners, rng)]
    for start in range(0, len(messages), _AT_ONCE):
        log.append(EVENTS.name, messages[start : start + _AT_ONCE])
    return len(messages)


def measured(name: str, log: Log, events: int) -> Speed:
    """Aggregate what the log holds, from the first record to the last settlement."""
    aggregator = Aggregator(
        # A deadline each, as in a shop; soon, since the log is read faster than it was written.
        log, RewardSpecification(settlement_seconds=1), clock=now_ms,
    )  # fmt: skip
    while not (first := aggregator.step()):
        pass  # it joins, and reads its first records
    read = 0
    processor, clock = time.process_time(), time.monotonic()
    while first + read < events:
        read += aggregator.step()
    processor, clock = time.process_time() - processor, time.monotonic() - clock
    aggregator.close()
    rewards = sum(log.end_offsets("rewards").values())
    return Speed(name, read, rewards, read / processor, read / clock)


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds to load one partition's state.

    Attributes:
        entries: of the state; each was written twice.
        changelog: from the changelog alone.
        first: the same, and the copy made on the way.
        copy: from the copy, where nothing came after it.
    """

    entries: int
    changelog: float
    first: float
    copy: float


def restarts(settings: KafkaSettings, folder: Path, entries: int) -> Restart:
    """Write a state of so many entries, then load it as a restarted process does."""
    rng = np.random.default_rng(3)
    keys = [rng.bytes(8) for _ in range(entries)]
    with closing(KafkaLog(settings)) as log:
        log.ensure_topics()
        log.append(EVENTS.name, [Message(None, b"one")])
        with closing(log.consumer([EVENTS.name], group=_GROUP)) as member:
            _join(member)
            for start in range(0, 2 * entries, _AT_ONCE):
                some = [keys[number % entries] for number in range(start, start + _AT_ONCE)]
                state = [StateChange(_FIRST, key, rng.bytes(_ENTRY_BYTES)) for key in some]
                member.commit({_FIRST: 1}, state=state)
    copies = StateFolder(folder / "state", now_ms)
    taken = [_loaded(settings, where, entries) for where in (None, copies, copies)]
    return Restart(entries, *taken)


_FIRST: Final = Partition(EVENTS.name, 0)


def _join(member: Consumer) -> None:
    while _FIRST not in member.assignment():
        member.poll(max_records=1, timeout_seconds=0.2)


def _loaded(settings: KafkaSettings, copies: StateFolder | None, entries: int) -> float:
    with (
        closing(KafkaLog(settings, state_folder=copies)) as log,
        closing(log.consumer([EVENTS.name], group=_GROUP)) as member,
    ):
        _join(member)
        started = time.monotonic()
        found = sum(1 for _ in member.load_state(_FIRST))
        taken = time.monotonic() - started
    if found != entries:
        raise ProcessFailed(f"{found} state entries came back, of {entries}")
    return taken


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a genuine broker; yield where it listens.

    Raises:
        ProcessFailed: it did not start.
    """
    port = free_port()
    command = [str(_KAFKA_SH), "start", str(folder), str(port)]
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - our own script
        raise ProcessFailed("no broker could be started; see above, or name one with --servers")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([str(_KAFKA_SH), "stop", str(folder)], check=True)  # noqa: S603


def on_local(folder: Path, banners: int) -> Speed:
    """Measure on a local log of its own."""
    with closing(LocalLog(folder / "log.db", clock=now_ms)) as log:
        return measured("local", log, fill(log, banners, seed=1))


def on_kafka(settings: KafkaSettings, folder: Path, banners: int) -> Speed:
    """Measure on topics of its own."""
    with closing(KafkaLog(settings, state_folder=StateFolder(folder / "kept", now_ms))) as log:
        log.ensure_topics()
        return measured("kafka", log, fill(log, banners, seed=1))


def _settings(servers: str, folder: Path, purpose: str) -> KafkaSettings:
    return KafkaSettings(servers, topic_prefix=f"{folder.name}.{purpose}.", timeout_seconds=30.0)


def speed_table(found: list[Speed]) -> Table:
    """Return the speeds beside what they must be."""
    table = Table(
        "log", "events", "rewards", "a second and core", "must", "aim", "a second by the clock",
        title="the aggregator's speed, events", title_justify="left",
    )  # fmt: skip
    for each in found:
        must, aim = MUSTS[each.log]
        table.add_row(
            each.log, f"{each.events:,}", f"{each.rewards:,}", f"{each.per_core_second:,.0f}",
            f"{must:,}", f"{aim:,}", f"{each.per_second:,.0f}",
        )  # fmt: skip
    return table


def restart_table(found: Restart) -> Table:
    """Return what a restart takes with the copy and without."""
    table = Table(
        "entries", "from the changelog", "and a copy made", "from the copy",
        title="loading one partition's state, seconds", title_justify="left",
    )  # fmt: skip
    taken = (found.changelog, found.first, found.copy)
    table.add_row(f"{found.entries:,}", *(f"{seconds:.2f}" for seconds in taken))
    return table


def main(
    banners: Annotated[int, typer.Option(help="shown in the shop that is played")] = 60_000,
    entries: Annotated[int, typer.Option(help="of the state that is loaded again")] = 200_000,
    servers: Annotated[str, typer.Option(help="a running broker; unset: one is started")] = "",
    local: Annotated[bool, typer.Option(help="measure the local log")] = True,
    kafka: Annotated[bool, typer.Option(help="measure Kafka, and restarts")] = True,
) -> None:
    """Measure; print the tables."""
    # As a ring logs unless asked for more: a line for every reward cost as much as the reward.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    folder = Path(tempfile.mkdtemp(prefix="quintet-aggregation-"))
    console = Console(file=sys.stdout, width=120)
    speeds = []
    try:
        if local:
            speeds.append(on_local(folder, banners))
        if kafka:
            with nullcontext(servers) if servers else broker(folder / "broker") as found:
                speeds.append(on_kafka(_settings(found, folder, "speed"), folder, banners))
                again = restarts(_settings(found, folder, "restarts"), folder, entries)
            console.print(restart_table(again))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(speed_table(speeds))
    if any(each.per_core_second < MUSTS[each.log][0] for each in speeds):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
