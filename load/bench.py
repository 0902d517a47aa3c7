"""`python -m load.bench`: speed against the empty endpoint and the ordinary build, in one run.

Exit status 1 when a must is missed.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from load import training
from load.errors import LoadError
from load.exactness import Exactness, exactness
from load.goals import Goal
from load.installation import install
from load.parts import request_parts
from load.ring import freshness
from load.rounds import Rounds, play
from load.tails import Tails, tails

MAIN_SIZE: Final = 10_000
_LOOKED_AT: Final = 1_000


def rounds_goals(found: Rounds) -> list[Goal]:
    """Return the goals that the rounds at one catalogue size answer."""
    size, main = f"{found.products:,} products", found.products == MAIN_SIZE
    must_empty, aim_empty = (0.45, 0.85) if main else (None, None)
    must_ordinary, aim_ordinary = (4.0, 6.0) if main else (None, None)
    return [
        Goal(
            f"/recommend over the empty endpoint, {size}", found.over_empty, must_empty, aim_empty
        ),
        Goal(
            f"/recommend over the ordinary build, {size}",
            found.over_ordinary,
            must_ordinary,
            aim_ordinary,
        ),
    ]


def tails_goals(found: Tails) -> list[Goal]:
    """Return the goals of the slowest answers."""
    plain, swapping = found.p99_ms
    still, stood = found.stall_ms
    return [
        Goal("p99 over the empty endpoint's, 16 connections", found.over_empty, 2.5, 1.5, False),
        Goal(
            f"p99 with a swap every second over p99 without ({swapping:.1f} over {plain:.1f} ms), "
            "half load", found.while_swapping, 1.25, 1.1, False,
        ),
        Goal(
            f"longest stall of the event loop with swaps over without ({stood:.1f} over {still:.1f}"
            " ms), half load", found.stall, 5, 2, False,
        ),
    ]  # fmt: skip


def exactness_goals(found: Exactness) -> list[Goal]:
    """Return what promise 1 says of the banners of the rounds."""
    name = f"recorded log-propensity against float64, {found.banners:,} banners"
    return [
        Goal(f"{name}, worst", found.worst, 1e-4, 1e-5, more_is_better=False),
        Goal(f"{name}, p99", found.p99, None, 1e-5, more_is_better=False),
    ]


def trainer_goal(speed: float, products: int) -> Goal:
    """Return the trainer's goal at one catalogue size."""
    must, aim = (2_000, 8_000) if products == MAIN_SIZE else (None, None)
    name = f"trainer, rewarded banners a second and core, {products:,} products"
    return Goal(name, speed, must, aim)


def main(
    products: Annotated[str, typer.Option(help="catalogue sizes")] = "1000,10000,100000",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="of one turn")] = 3.0,
    soak: Annotated[int, typer.Option(min=1, help="seconds to look for stalls in")] = 60,
    ring: Annotated[bool, typer.Option(help="measure freshness on a whole ring")] = True,
    json: Annotated[Path | None, typer.Option(help="write all figures here")] = None,
) -> None:
    """Measure; print the tables; exit 1 when a must is missed."""
    people = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="quintet-bench-"))
    goals: list[Goal] = []
    played: list[Rounds] = []
    parts: dict[str, float] = {}
    try:
        with Progress(console=people) as progress:
            for size in [int(size) for size in products.split(",")]:
                task = progress.add_task(f"{size:,} products", total=3 * rounds)
                installed = install(folder / str(size), products=size, seed=1)
                played.append(
                    play(
                        installed,
                        products=size,
                        rounds=rounds,
                        seconds=seconds,
                        told=lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
                    )
                )
                goals += rounds_goals(played[-1])
                if size == MAIN_SIZE:
                    goals += exactness_goals(exactness(installed, banners=_LOOKED_AT))
                    parts = request_parts(installed, products=size)
                    slow = progress.add_task("the slowest answers, with swaps", total=rounds)
                    goals += tails_goals(
                        tails(
                            installed, products=size, rounds=rounds, seconds=2 * seconds,
                            soak_seconds=soak,
                            told=lambda done, slow=slow: progress.update(slow, completed=done),  # type: ignore[misc]
                        )
                    )  # fmt: skip
                if size <= MAIN_SIZE:
                    goals.append(
                        trainer_goal(training.banners_per_second(installed, products=size), size)
                    )
                shutil.rmtree(installed.folder, ignore_errors=True)
            if ring:
                progress.add_task("freshness of a whole ring, 200 banners a second", total=None)
                p50, p99 = freshness(folder / "ring")
                for name, value, must, aim in (("p50", p50, 3.0, 1.0), ("p99", p99, 10.0, 3.0)):
                    text = f"event accepted to weights serving, {name}, seconds"
                    goals.append(Goal(text, value, must, aim, more_is_better=False))
    except LoadError as problem:
        people.print(f"bench: {problem}")
        raise typer.Exit(2) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _show(goals, played, parts)
    if json is not None:
        json.write_bytes(msgspec.json.encode({"goals": goals, "rounds": played, "parts": parts}))
    raise typer.Exit(0 if all(goal.met for goal in goals) else 1)


def _show(goals: list[Goal], played: list[Rounds], parts: dict[str, float]) -> None:
    out = Console(file=sys.stdout, width=120)
    table = Table("goal", "must", "aim", "measured", "", title="goals", title_justify="left")
    for goal in goals:
        table.add_row(*goal.shown)
    out.print(table)
    details = Table(
        "products", "contestant", "answers/s", "CPU us", "p99 ms", title="medians of the rounds",
        title_justify="left",
    )  # fmt: skip
    for found in played:
        for name in ("service", "empty", "ordinary"):
            one = getattr(found, name)
            details.add_row(
                f"{found.products:,}", name, f"{one.per_second:,.0f}", f"{one.cpu_us:.0f}",
                f"{one.p99_us / 1000:.1f}",
            )  # fmt: skip
    out.print(details)
    if parts:
        where = Table("CPU of one request", "us", title="where the time goes, 10,000 products")
        for name, value in parts.items():
            where.add_row(name, f"{value:.1f}")
        out.print(where)


if __name__ == "__main__":
    typer.run(main)
