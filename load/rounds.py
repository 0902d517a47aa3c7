"""Interleaved rounds: service, stock endpoint and ordinary build in turn, on one core."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from load.installation import SHOPPERS, Installation
from load.processes import Cores, redis_server, serving
from load.wrk import Burst, Target, burst

_WARM_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Medians:
    """Medians over the rounds of one contestant.

    Attributes:
        per_second: answers a second.
        cpu_us: the process's CPU time per answer, microseconds.
        p99_us: latency with 64 connections busy, microseconds.
    """

    per_second: float
    cpu_us: float
    p99_us: float

    @classmethod
    def of(cls, bursts: list[Burst]) -> "Medians":
        """Return the medians of several bursts."""
        return cls(
            median(one.per_second for one in bursts),
            median(one.cpu_us for one in bursts),
            median(one.p99_us for one in bursts),
        )


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the rounds at one catalogue size measured; ratios are medians of the rounds' ratios.

    Attributes:
        over_empty: throughput of `/recommend` over the stock empty endpoint of the same process.
        over_ordinary: over the ordinary build.
    """

    products: int
    service: Medians
    empty: Medians
    ordinary: Medians
    over_empty: float
    over_ordinary: float


def play(
    installed: Installation,
    *,
    products: int,
    rounds: int,
    seconds: float,
    told: Callable[[int], None],
) -> Rounds:
    """Run the contestants in turn, round after round.

    Args:
        installed: what both servers are started on.
        products: of its catalogue.
        rounds: how often each contestant has its turn.
        seconds: of one turn.
        told: called with the number of turns done.

    Raises:
        LoadError: a tool is missing, a process failed, or an answer was no 2xx.
    """
    found: dict[str, list[Burst]] = {"service": [], "empty": [], "ordinary": []}
    done = 0
    with ExitStack() as stack:
        targets = list(_targets(stack, installed.folder, products))
        core = Cores.choose().load
        warm_up(targets, core)
        for number in range(rounds):
            for target in targets:
                found[target.name].append(
                    burst(target, seconds=seconds, seed=1 + number, core=core)
                )
                done += 1
                told(done)
    return Rounds(
        products=products,
        service=Medians.of(found["service"]),
        empty=Medians.of(found["empty"]),
        ordinary=Medians.of(found["ordinary"]),
        over_empty=_ratio(found["service"], found["empty"]),
        over_ordinary=_ratio(found["service"], found["ordinary"]),
    )


def warm_up(targets: Iterable[Target], core: int | None) -> None:
    """Ask each target for a while and forget what came of it."""
    for target in targets:
        burst(target, seconds=_WARM_SECONDS, seed=0, core=core)


def _targets(stack: ExitStack, folder: Path, products: int) -> Iterator[Target]:
    cores = Cores.choose()
    redis_url = stack.enter_context(redis_server(folder, cores.load))
    where = [str(folder)]
    ours, ports = stack.enter_context(serving("load.server", where, folder, "server", cores.server))
    theirs, others = stack.enter_context(
        serving("load.ordinary", [*where, redis_url], folder, "ordinary", cores.server)
    )
    for name, port, method, path, process in (
        ("service", ports["service"], "POST", "/recommend", ours),
        ("empty", ports["stock"], "GET", "/empty", ours),
        ("ordinary", others["ordinary"], "POST", "/recommend", theirs),
    ):
        url = f"http://127.0.0.1:{port}"
        yield Target(name, url, method, path, SHOPPERS, products, process)


def _ratio(ours: list[Burst], theirs: list[Burst]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return median(one.per_second / other.per_second for one, other in pairs)
