"""`quintet demo`, `run`, `simulate`: the whole ring, and what plays with it."""

import asyncio
import os
import threading
import zlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import wiring
from cli.clock import now_ms
from cli.errors import BadUsage, CommandFailed
from cli.locks import exclusive
from cli.output import Output
from cli.settings import Settings
from cli.supervisor import Child, Supervisor, stop_on_signals

World = Literal["grocer", "synthetic", "aisles"]
WORLD_HELP = (
    "grocer: real products and purchases; synthetic, of latent interests, and aisles, of shelves, "
    "brands and prices: more to learn"
)
WorldOption = Annotated[World, typer.Option(help=WORLD_HELP)]
Banners = Annotated[int | None, typer.Option(min=1, help="end after so many banners")]
Rate = Annotated[float, typer.Option(min=0.1, help="banners a second")]


def demo(
    settings: Settings,
    output: Output,
    world: WorldOption = "grocer",
    banners: Banners = None,
    headless: Annotated[bool, typer.Option(help="no pages")] = False,
    report: Annotated[Path | None, typer.Option(help="write the report here, as JSON")] = None,
    rate: Rate = 150.0,
) -> None:
    """Run the whole ring with live shoppers on embedded defaults.

    Imports the world's past, pretrains the foundation, starts service, aggregator, trainer and
    console, and sends shoppers. With --banners it ends by itself and writes the report.

    Example: quintet demo --world synthetic
    """
    from cli.demo import Demo, DemoOptions

    options = DemoOptions(world=world, banners=banners, headless=headless, report=report, rate=rate)
    output.result(*Demo(settings, options, output).run())


def run(
    settings: Settings,
    output: Output,
) -> None:
    """Run service, aggregator, trainer and console on this machine; restart what dies.

    One Ctrl-C ends them all.
    """
    wiring.require_loopback_or_keys(settings)
    if wiring.open_registry(settings).live() is None:
        raise BadUsage("there is no policy yet: run `quintet import` and `quintet pretrain` first")
    with exclusive(settings.data_dir / "run.lock", what="`quintet run` or demo"):
        for port in (settings.port, settings.console_port):
            wiring.require_free(settings.host, port)
        if settings.metrics_port:
            output.say(
                "QUINTET_METRICS_PORT is not used here: aggregator and trainer show their metrics "
                f"at free ports, see {settings.data_dir / 'processes'}"
            )
        supervisor = Supervisor(
            children(settings),
            on_ending=lambda: output.say("ending: what is under way is being finished"),
        )
        stop_on_signals(supervisor.stop)
        output.say(
            f"service {wiring.url(settings.host, settings.port)} (docs at /docs), "
            f"console {wiring.url(settings.host, settings.console_port)}; Ctrl-C ends"
        )
        supervisor.run()
    output.say("ended")


def children(settings: Settings, *, logs: Path | None = None, console: bool = True) -> list[Child]:
    """Return the ring's processes as children of this one, with its settings as environment.

    Aggregator and trainer share this machine, so neither can have the port of QUINTET_METRICS_PORT.
    """
    place = zlib.crc32(str(settings.data_dir.absolute()).encode())
    member = settings.member or (f"run-{place:08x}" if settings.streams == "kafka" else "")
    own = {"member": member, "metrics_port": 0}
    os.environ.update(settings.model_copy(update=own).as_environment())
    names = ["serve", "aggregate", "train", *(["console"] if console else [])]
    parent = ["--parent-pid", str(os.getpid())]
    return [
        Child(name, [name, *parent], logs=logs / f"{name}.log" if logs else None) for name in names
    ]


def simulate(
    settings: Settings,
    output: Output,
    url: Annotated[str, typer.Option(help="the service")] = "http://127.0.0.1:8080",
    world: WorldOption = "synthetic",
    banners: Banners = None,
    rate: Rate = 50.0,
    api_key: Annotated[str | None, typer.Option(help="sent as Authorization: Bearer")] = None,
) -> None:
    """Send simulated shoppers to a running service, until --banners or Ctrl-C.

    The service must know the world's products: `quintet demo` imports them, or `quintet import
    --world`.
    """
    from cli.worlds import open_world
    from simulator.traffic import TrafficSettings
    from simulator.traffic import simulate as send

    stop = threading.Event()
    stop_on_signals(stop)
    seed = settings.seed or 0
    shoppers = open_world(world, seed=seed, cache=settings.data_dir / "cache")
    with output.progress() as progress:
        task = progress.add_task("banners", total=banners)
        sent = asyncio.run(
            send(
                url,
                shoppers,
                clock=now_ms,
                banners=banners,
                settings=TrafficSettings(seed=seed, rate=rate, api_key=api_key),
                stop=stop,
                on_progress=lambda so_far: progress.update(task, completed=so_far.visits),
            )
        )
    output.result(sent)
    if sent.visits and not sent.recommendations:
        raise CommandFailed(
            f"{url} gave none of {sent.visits} shoppers a banner: is it up, does it want --api-key?"
        )
