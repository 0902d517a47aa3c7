"""`python -m load.aggregation`: how many events a second one core of the aggregator turns into rewards.

The whole loop is measured: read, decode, attribute, encode, commit outputs, state and offsets; on the
local log and on a genuine Kafka broker (its own processor time is not the aggregator's). Shoppers
come back through a window, so most events meet a ledger that holds banners already. Exit status 1
when a must is missed.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from load.clock import now_ms
from load.processes import free_port
from rewards.aggregator import Aggregator
from rewards.specification import RewardSpecification
from schemas import identity
from schemas.codec import encode
from schemas.events import Click, Event, Line, Purchase, Recommended
from schemas.limits import BANNER_SIZE
from streams.local import LocalLog
from streams.port import Log, Message
from streams.topics import EVENTS

PRODUCTS: Final = 1_000
SHOPPERS: Final = 5_000
_SECRET: Final = b"a secret of the benchmark alone"
_KAFKA_SH: Final = Path(__file__).resolve().parent.parent / "deploy" / "kafka.sh"
_AT_ONCE: Final = 2_000
_HISTORY_BYTES: Final = 700
_CANDIDATES_BYTES: Final = 125
_CLICKED: Final = 0.12
_BOUGHT: Final = 0.05


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
        # Settled at once, as nobody waits here; every banner still is a deadline first.
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


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a genuine broker; yield where it listens."""
    port, controller = free_port(), free_port()
    environment = {"CONTROLLER_PORT": str(controller)}
    command = [str(_KAFKA_SH), "start", str(folder), str(port)]
    subprocess.run(["env", *(f"{k}={v}" for k, v in environment.items()), *command], check=True)  # noqa: S603, S607
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([str(_KAFKA_SH), "stop", str(folder)], check=True)  # noqa: S603


def main(
    banners: Annotated[int, typer.Option(help="shown in the shop that is played")] = 60_000,
    logs: Annotated[str, typer.Option(help="local, kafka")] = "local,kafka",
    servers: Annotated[str, typer.Option(help="a running broker; unset: one is started")] = "",
) -> None:
    """Measure; print the table."""
    folder = Path(tempfile.mkdtemp(prefix="quintet-aggregation-"))
    found: list[Speed] = []
    try:
        if "local" in logs:
            with closing(LocalLog(folder / "log.db", clock=now_ms)) as local:
                found.append(measured("local", local, fill(local, banners, seed=1)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(found)


if __name__ == "__main__":
    typer.run(main)
