"""`python -m load.play`: shoppers in every mood against a running ring, and a flood.

Prints one table and writes one page; exit status 1 when a must is missed.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from load.client import client, run_client
from load.crowd import PATIENCE_SECONDS, CrowdSpec, Kept, allow_files
from load.errors import LoadError
from load.flood import FloodSpec
from load.goals import Goal
from load.installation import SHOPPERS, install
from load.page import write_page
from load.processes import Cores, serving
from load.running import BROWSER_KEY, SERVER_KEY, Ring, is_ready, running_ring
from load.scenarios import (
    SMOKE,
    WHOLE,
    Flood,
    Flooded,
    Scale,
    Scenario,
    Told,
    flood_goals,
    goals,
    scenarios,
)
from load.schedule import Phase, Spec
from load.traffic import Played, slope_per_minute
from load.watching import Watch
from load.wrk import cpu_seconds

_LIMIT_RATE: Final = 5_000
_STEADY_SHARE: Final = 1 / 12
"""Of the generator's own limit: ten times as many are then still within it."""
_FLOOD_CONNECTIONS: Final = 4_000
_CAPACITY_CONNECTIONS: Final = 64
_LIMIT_SECONDS: Final = 8
_FILES: Final = 16_384
_SOAK_SECONDS: Final = 600
_SOAKING: Final = {"ATTRIBUTION_WINDOW_SECONDS": "60", "LATENESS_SECONDS": "15"}
"""Aggregator and console keep the banners of one and of two such spans: with the usual 25 hours ten
minutes could only grow."""
_GROWTH_MB: Final = 1.0


class Stage:
    """Plays scenarios on a ring."""

    def __init__(self, ring: Ring, folder: Path, products: int, *, keys: bool) -> None:
        self._ring, self._folder, self._products = ring, folder, products
        self._keys = (BROWSER_KEY, SERVER_KEY) if keys else ("", "")

    def generator_limit(self, seconds: float) -> Played:
        """Return what Locust reaches when it is told to do more than it can."""
        limit = Scenario("limit", "", [Phase(seconds, 1)])
        return self._shoppers(limit, _LIMIT_RATE, is_limit=True)

    def play(self, scenario: Scenario, rate: float) -> Told:
        """Play one scenario."""
        if scenario.crowd is None:
            return Told(scenario, self._shoppers(scenario, rate))
        idle, writers, readers = scenario.crowd
        host, port = _address(self._ring.url)
        crowd = CrowdSpec(
            host=host, port=port, seconds=scenario.seconds + PATIENCE_SECONDS, idle=idle,
            slow_writers=writers, slow_readers=readers, key=self._keys[0],
        )  # fmt: skip
        with client("load.crowd", crowd, self._folder) as finished:
            played = self._shoppers(scenario, rate)
            return Told(scenario, played, finished(Kept))

    def _shoppers(self, scenario: Scenario, rate: float, *, is_limit: bool = False) -> Played:
        browser, server = self._keys
        phases = tuple(Phase(phase.seconds, phase.rate * rate) for phase in scenario.phases)
        spec = Spec(
            url=self._ring.url, phases=phases, products=self._products, shoppers=SHOPPERS,
            browser_key=browser, server_key=server, hot_share=scenario.hot_share,
            large_share=scenario.large_share, is_limit=is_limit,
        )  # fmt: skip
        return run_client("load.shoppers", spec, self._folder, Played)


def flood(folder: Path, scale: Scale) -> Flooded:
    """Offer a server many times what it can answer; it has one core, the client the other."""
    products, seconds, cores = scale.flood_products, scale.flood_seconds, Cores.choose()
    install(folder, products=products, seed=1)

    def flooded_by(rate: float | None, connections: int) -> tuple[Played, float]:
        """Return what came of it, and the server's processor time in seconds."""
        spec = FloodSpec(
            host="127.0.0.1", port=ports["service"], rate=rate, seconds=seconds,
            connections=connections, shoppers=SHOPPERS, products=products,
        )  # fmt: skip
        before = cpu_seconds(server)
        found = run_client("load.flood", spec, folder, Played, cores.load)
        return found, cpu_seconds(server) - before

    with serving("load.server", [str(folder)], folder, "server", cores.server) as (server, ports):
        flooded_by(None, _CAPACITY_CONNECTIONS)  # warm
        before = flooded_by(None, _CAPACITY_CONNECTIONS)
        half, _ = flooded_by(before[0].per_second("good") / 2, _FLOOD_CONNECTIONS)
        floods = []
        for times in scale.flood_times * scale.flood_rounds:
            capacity = before[0].per_second("good")
            played, spent = flooded_by(times * capacity, _FLOOD_CONNECTIONS)
            calm, _ = flooded_by(capacity / 2, _FLOOD_CONNECTIONS)
            after = flooded_by(None, _CAPACITY_CONNECTIONS)
            capacities = capacity, after[0].per_second("good")
            floods.append(Flood(times, played, spent, calm, *capacities, _cpu_us(before, after)))
            before = after
    return Flooded(products=products, half=half, floods=floods)


def _cpu_us(*busy: tuple[Played, float]) -> float:
    """Return the microseconds that an answer costs a server that is kept busy."""
    answers = sum(played.total("good") for played, _ in busy)
    return 1e6 * sum(spent for _, spent in busy) / max(answers, 1)


def watch_goals(watch: Watch, *, soak: bool) -> list[Goal]:
    """Return how fast each process grew, how long the ring stood still, and who did not see it.

    Only a soak keeps to one rate, and forgets within it what it must keep: growth is judged there.
    """
    looks = watch.looks
    found = [
        Goal("threads that stopped watching the ring", len(watch.problems), 0, 0, False),
        Goal("latest answer to a probe, ms", max((one.stall_ms for one in looks), default=0)),
    ]
    for name in sorted({name for look in looks for name in look.memory_mb}):
        some = [(look.at, look.memory_mb[name]) for look in looks if name in look.memory_mb]
        at, values = zip(*some, strict=True)
        found.append(
            Goal(
                f"memory of {name}: growth in the second half, MB a minute",
                slope_per_minute(at, values), _GROWTH_MB if soak else None, 0.1, False,
            )
        )  # fmt: skip
    return found


def main(
    url: Annotated[str, typer.Option(help="a running ring; without: one of its own")] = "",
    smoke: Annotated[bool, typer.Option("--smoke", help="a minute instead of a quarter")] = False,
    soak: Annotated[bool, typer.Option("--soak", help="ten steady minutes alone")] = False,
    only: Annotated[str, typer.Option(help="scenarios, comma-separated; flood is one")] = "",
    page: Annotated[Path, typer.Option(help="the page")] = Path("out/load.html"),
    json: Annotated[Path | None, typer.Option(help="write all figures here")] = None,
) -> None:
    """Play the scenarios; print the table, write the page; exit 1 when a must is missed."""
    people = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="quintet-load-"))
    scale = SMOKE if smoke else WHOLE
    names = {name.strip() for name in only.split(",") if name.strip()}
    played = [
        each
        for each in (_soak() if soak else scenarios(scale))
        if not names or each.name in names
    ]  # fmt: skip
    found: list[Goal] = []
    curves: list[tuple[str, Played]] = []
    looks: Sequence[Any] = ()
    allow_files(_FILES)
    try:
        if played:
            found, curves, looks = _shopped(folder, url, scale, played, people, soak=soak)
        if not soak and not url and (not names or "flood" in names):
            people.print(f"flood: {scale.flood_products:,} products", highlight=False)
            flooded = flood(folder / "flood", scale)
            found += flood_goals(flooded)
            curves += [
                (f"{one.name}, round {number // len(scale.flood_times) + 1}", one.played)
                for number, one in enumerate(flooded.floods)
            ]
    except LoadError as problem:
        people.print(f"load: {problem}")
        raise typer.Exit(2) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = _told(curves)
    write_page(page, told=told, goals=found, played=curves, looks=looks)
    _show(found, told, page)
    if json is not None:
        json.write_bytes(msgspec.json.encode({"goals": found, "played": dict(curves)}))
    raise typer.Exit(0 if all(goal.met for goal in found) else 1)


def _soak() -> list[Scenario]:
    return [Scenario("steady", "ten minutes", [Phase(_SOAK_SECONDS, 1)])]


def _shopped(
    folder: Path,
    url: str,
    scale: Scale,
    played: Sequence[Scenario],
    people: Console,
    *,
    soak: bool,
) -> tuple[list[Goal], list[tuple[str, Played]], Sequence[Any]]:
    """Play scenarios on one ring."""
    with ExitStack() as stack:
        if url:
            if not is_ready(url):
                raise LoadError(f"nothing is ready at {url}")
            ring = Ring(url, None)
        else:
            install(folder / "ring", products=scale.products, seed=1)
            ring = stack.enter_context(running_ring(folder / "ring", **(_SOAKING if soak else {})))
        stage = Stage(ring, folder, scale.products, keys=not url)
        limit = stage.generator_limit(_LIMIT_SECONDS)
        reached = limit.total("offered") / max(limit.ended, 1e-9)
        rate = max(1.0, reached * _STEADY_SHARE)
        watch = Watch(ring)
        watch.start()
        stack.callback(watch.stop)
        told: list[Told] = []
        for scenario in played:
            people.print(f"{scenario.name}: {scenario.told}", highlight=False)
            told.append(stage.play(scenario, rate))
    for problem in watch.problems:
        people.print(f"load: a thread stopped watching the ring: {problem}", highlight=False)
    found = [
        Goal("Locust's own limit, visits a second", reached),
        Goal("processor that Locust took at its limit, share of a core", limit.cpu_share),
        *(goal for one in told for goal in goals(one, told[0].played)),
        *watch_goals(watch, soak=soak),
    ]  # fmt: skip
    return found, [(one.scenario.name, one.played) for one in told], watch.looks


def _told(curves: Sequence[tuple[str, Played]]) -> str:
    slow = [name for name, one in curves if not one.kept_up]
    limit = f" The client was at its own limit in: {', '.join(slow)}." if slow else ""
    return "Latencies count from when a request was due (open loop)." + limit


def _show(found: Sequence[Goal], told: str, page: Path) -> None:
    out = Console(file=sys.stdout, width=120)
    table = Table("figure", "must", "aim", "reached", "", title="load", title_justify="left")
    for goal in found:
        table.add_row(*goal.shown)
    out.print(table)
    out.print(f"{told} The curves are in {page}.", highlight=False)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


if __name__ == "__main__":
    typer.run(main)
