"""The slowest answers: beside the empty endpoint's, and while snapshots are swapped every second.

Swaps go back and forth between two snapshots that are there before, so that making one costs
nothing while it is measured; the server reads, verifies and compiles the whole of it each time.
"""

import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

import msgspec
import numpy as np

from load import shop
from load.client import run_client
from load.flood import FloodSpec
from load.installation import SHOPPERS, Installation
from load.processes import Cores, serving
from load.rounds import warm_up
from load.traffic import Played
from load.wrk import Target, burst

FEW: Final = 16
"""Connections at which the slowest answers are compared with the empty endpoint's."""
_HALF_CONNECTIONS: Final = 256
_SWAP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tails:
    """What was measured; ratios are medians of the rounds' ratios.

    Attributes:
        over_empty: p99 of `/recommend` over that of the empty endpoint, 16 connections.
        while_swapping: p99 with a swap every second over p99 without, at half the capacity.
        stall: longest standstill of the event loop with swaps over the longest without, at half the
            capacity, each over one long soak.
        p99_ms: (without, with swaps) medians.
        stall_ms: (without, with swaps).
    """

    over_empty: float
    while_swapping: float
    stall: float
    p99_ms: tuple[float, float]
    stall_ms: tuple[float, float]


def tails(
    installed: Installation,
    *,
    products: int,
    rounds: int,
    seconds: float,
    soak_seconds: int,
    told: Callable[[int], None],
) -> Tails:
    """Measure on a server of its own.

    Args:
        installed: with a foundation and a live snapshot.
        products: of its catalogue.
        rounds: how often each is compared.
        seconds: of each turn of a round.
        soak_seconds: of the soaks in which standstills are looked for.
        told: called with the number of rounds done.
    """
    versions = _two_versions(installed, products)
    cores = Cores.choose()
    with ExitStack() as stack:
        server, ports = stack.enter_context(
            serving(
                "load.server", [str(installed.folder)], installed.folder, "server", cores.server
            )
        )
        ours, empty = (
            Target(
                name, f"http://127.0.0.1:{ports[port]}", method, path, SHOPPERS, products, server
            )
            for name, port, method, path in (
                ("service", "service", "POST", "/recommend"),
                ("empty", "stock", "GET", "/empty"),
            )
        )
        warm_up((ours, empty), cores.load)
        over_empty, swapped, plain = [], [], []
        capacity = burst(ours, seconds=seconds, seed=0, core=cores.load).per_second

        def half(length: float) -> Played:
            spec = FloodSpec(
                host="127.0.0.1", port=ports["service"], rate=capacity / 2, seconds=round(length),
                connections=_HALF_CONNECTIONS, shoppers=SHOPPERS, products=products,
            )  # fmt: skip
            return run_client("load.flood", spec, installed.folder, Played, cores.load)

        for number in range(rounds):
            one, other = (
                burst(target, seconds=seconds, seed=number, core=cores.load, connections=FEW)
                for target in (ours, empty)
            )
            over_empty.append(one.p99_us / other.p99_us)
            plain.append(half(seconds).p99_ms)
            with _swapping(installed, versions):
                swapped.append(half(seconds).p99_ms)
            told(number + 1)
        stalls = []
        for swaps in (False, True):
            _stall_ms(ports["stock"])  # forget what was
            with _swapping(installed, versions if swaps else ()):
                half(soak_seconds)
                stalls.append(_stall_ms(ports["stock"]))
    return Tails(
        over_empty=median(over_empty),
        while_swapping=median(
            with_swaps / without for with_swaps, without in zip(swapped, plain, strict=True)
        ),
        stall=stalls[1] / stalls[0],
        p99_ms=(median(plain), median(swapped)),
        stall_ms=(stalls[0], stalls[1]),
    )


def _two_versions(installed: Installation, products: int) -> tuple[int, int]:
    """Publish another snapshot beside the live one; return both versions."""
    registry = installed.registry()
    live = registry.live()
    if live is None:
        raise ValueError("the installation has no live snapshot")
    weights = registry.load(live.version).weights
    other = registry.publish(
        shop.trained(weights, np.random.default_rng(11)), parent=live.version, foundation=1,
        catalogue_version=products, updates=101, banners=25_856,
    )  # fmt: skip
    return live.version, other.version


@contextmanager
def _swapping(installed: Installation, versions: tuple[int, ...]) -> Iterator[None]:
    """Make another of the versions live every second until the block ends; none: do nothing."""
    registry, stop = installed.registry(), threading.Event()

    def swap() -> None:
        turn = 0
        while versions and not stop.wait(_SWAP_SECONDS):
            turn += 1
            registry.promote(versions[turn % len(versions)], reason="a swap of the benchmark")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _stall_ms(port: int) -> float:
    """Return the longest standstill of the server's event loop since it was last asked."""
    url = f"http://127.0.0.1:{port}/stall"
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return 1e3 * float(msgspec.json.decode(answer.read())["seconds"])
