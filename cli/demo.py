"""`quintet demo`: import a world's past, pretrain, run the ring, send shoppers, report."""

import asyncio
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
from rich.table import Table

from cli import importing, wiring
from cli.clock import now_ms
from cli.commands.ring import children
from cli.demo_marker import DemoMarker, claim, marker_of
from cli.errors import CommandFailed
from cli.locks import exclusive
from cli.output import Output, table
from cli.process_file import find, forget
from cli.settings import Settings
from cli.supervisor import Supervisor, stop_on_signals
from cli.worlds import open_world
from console.audit import AuditSettings, Counts, audit
from simulator.tally import TrafficReport
from simulator.traffic import TrafficSettings, simulate
from simulator.world import World

log = structlog.get_logger(__name__)
READY_SECONDS = 90.0
SETTLED_SECONDS = 90.0
SETTLING_SECONDS = 2.0
"""A silent partition gets a tick each second, so by then what was due has settled."""
WATCH_SECONDS = 2.0
ARM_PERIOD_SECONDS = 5
"""A year passes in minutes here, so a shopper's arm changes every few seconds, not daily."""
WINDOW_SECONDS = 30
"""For the same reason: in a whole day's window every banner of the year would earn."""
LATENESS_SECONDS = 300
"""And a shopper visits hundreds of times an hour: nobody's banners are kept for one."""
SECONDS_PER_DELAY = 0.005
"""Shoppers take this share of the time they would take in life."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `quintet demo` was asked for.

    Attributes:
        world: `grocer`, `synthetic` or `aisles`.
        banners: end after so many; None: until Ctrl-C.
        headless: open no page.
        report: where the report goes, as JSON.
        rate: banners a second.
    """

    world: str
    banners: int | None
    headless: bool
    report: Path | None
    rate: float


class Demo:
    """One run of the demo."""

    def __init__(self, settings: Settings, options: DemoOptions, output: Output) -> None:
        """Take the settings as they are, but for what a year in minutes changes."""
        changed: dict[str, Any] = {}
        if "arm_period_seconds" not in settings.model_fields_set:
            changed["arm_period_seconds"] = ARM_PERIOD_SECONDS
        if "attribution_window_seconds" not in settings.model_fields_set:
            changed["attribution_window_seconds"] = WINDOW_SECONDS
        if "lateness_seconds" not in settings.model_fields_set:
            changed["lateness_seconds"] = LATENESS_SECONDS
        if settings.seed is None:
            changed["seed"] = 0
        self.settings = settings.model_copy(update=changed)
        self.options = options
        self.output = output
        self.stop = threading.Event()
        self._latest: dict[str, Any] = {}

    def run(self) -> tuple[dict[str, Any], Table]:
        """Run it all; return the report as JSON and as a table.

        Raises:
            BadUsage: a port is taken, or the data directory holds something else.
            CommandFailed: the ring did not come up, or shoppers could not be sent.
        """
        wiring.require_loopback_or_keys(self.settings)
        with exclusive(self.settings.data_dir / "run.lock", what="`quintet run` or demo"):
            for port in (self.settings.port, self.settings.console_port):
                wiring.require_free(self.settings.host, port)
            return self._run()

    def _run(self) -> tuple[dict[str, Any], Table]:
        started = time.monotonic()
        world = self._prepare()
        stop_on_signals(self.stop)
        with self._ring():
            self._wait_ready()
            self._welcome()
            with self._watched():
                sent = self._send_shoppers(world)
            interrupted = self.stop.is_set()
            audited = self._audited() if interrupted else self._wait_settled()
            report = self._report(sent, audited, time.monotonic() - started)
        if not report and interrupted:
            return {}, table("ended before there was anything to report", [])
        if not report:
            raise CommandFailed("the console had nothing to report: see its log")
        if self.options.report is not None:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            self.options.report.write_bytes(encoded + b"\n")
            self.output.say(f"report in {self.options.report}")
        return report, report_table(report)

    def _prepare(self) -> World:
        """Return the world, with its past in the log and a foundation live."""
        claim(self.settings.data_dir, DemoMarker(self.options.world))
        assert self.settings.seed is not None  # noqa: S101 - set by the constructor
        with self.output.progress() as progress:
            watch = importing.Watch(progress)
            watch.step(f"the {self.options.world} world", 0, 1)
            world = open_world(
                self.options.world,
                seed=self.settings.seed,
                cache=self.settings.data_dir / "cache",
            )
            watch.step(f"the {self.options.world} world", 1, 1)
            past = importing.as_orders(world.past_orders())
            claim(self.settings.data_dir, marker_of(self.options.world, past))
            events = wiring.open_log(self.settings, member="demo")
            registry = wiring.open_registry(self.settings)
            if registry.live() is None:
                importing.import_into(
                    events,
                    secret=wiring.secret(self.settings),
                    products=world.products,
                    orders=past,
                    watch=watch,
                )
                _, held_out = importing.pretrain_from_log(
                    events, registry, seed=self.settings.seed, device="auto", watch=watch
                )
                title = "the foundation on held-out orders"
                self.output.people.print(table(title, importing.held_out_rows(held_out)))
            else:
                self.output.say("going on with the policy and the log of an earlier demo")
            events.close()
        return world

    @contextmanager
    def _ring(self) -> Iterator[None]:
        """Keep the four processes alive, in a thread of their own."""
        for name in ("aggregate", "train"):
            forget(self.settings.data_dir, name)
        supervisor = Supervisor(
            children(self.settings, logs=self.settings.data_dir / "logs"), stop=self.stop
        )
        thread = threading.Thread(target=supervisor.run, name="supervisor")
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def _wait_ready(self) -> None:
        """Wait until every process of the ring is up, the trainer with its torch too."""
        awaited: dict[str, Callable[[], bool]] = {
            "serve": lambda: _answers(f"{self._url(self.settings.port)}/readyz"),
            "console": lambda: _answers(f"{self._url(self.settings.console_port)}/readyz"),
            "aggregate": lambda: find(self.settings.data_dir, "aggregate") is not None,
            "train": lambda: find(self.settings.data_dir, "train") is not None,
        }
        deadline = time.monotonic() + READY_SECONDS
        for name, ready in awaited.items():
            while not ready():
                if self.stop.is_set():
                    raise CommandFailed("interrupted before the ring was ready")
                if time.monotonic() > deadline:
                    raise CommandFailed(
                        f"{name} was not ready in {READY_SECONDS:.0f} s: see "
                        f"{self.settings.data_dir / 'logs' / name}.log"
                    )
                self.stop.wait(0.2)

    def _url(self, port: int) -> str:
        return wiring.url(self.settings.host, port)

    def _welcome(self) -> None:
        console = self._url(self.settings.console_port)
        ends = f"after {self.options.banners:,} banners" if self.options.banners else "with Ctrl-C"
        self.output.say(
            f"service    {self._url(self.settings.port)}/docs\n"
            f"learning   {console}/\nstorefront {console}/storefront\n"
            f"logs       {self.settings.data_dir / 'logs'}\n"
            f"the demo ends {ends}, and the pages with it"
        )
        if not self.options.headless and self.output.people.is_terminal:
            webbrowser.open(console)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Print how the two arms do while shoppers come."""
        done = threading.Event()

        def watch() -> None:
            pause = WATCH_SECONDS if self.output.people.is_terminal else 5 * WATCH_SECONDS
            while not done.wait(pause):
                self.output.say(sentence(self._experiment()))

        thread = threading.Thread(target=watch, name="watch")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _send_shoppers(self, world: World) -> list[TrafficReport]:
        """Send visits, stream after stream, until enough banners or Ctrl-C."""
        assert self.settings.seed is not None  # noqa: S101 - set by the constructor
        sent: list[TrafficReport] = []
        left = self.options.banners
        while (left is None or left > 0) and not self.stop.is_set():
            settings = TrafficSettings(
                seed=self.settings.seed + len(sent),
                rate=self.options.rate,
                time_scale=SECONDS_PER_DELAY,
                api_key=wiring.key_with(self.settings, "recommend", "events:server"),
            )
            url = self._url(self.settings.port)
            report = asyncio.run(
                simulate(url, world, clock=now_ms, banners=left, settings=settings, stop=self.stop)
            )
            sent.append(report)
            left = None if left is None else left - report.visits
        return sent

    def _experiment(self) -> dict[str, Any]:
        """Return the console's report so far, the last one it gave while it is away."""
        url = f"{self._url(self.settings.console_port)}/experiment"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own console
                self._latest = msgspec.json.decode(answer.read())
        except OSError as problem:
            log.info("console_away", problem=str(problem))
        return dict(self._latest)

    def _wait_settled(self) -> Counts:
        """Wait until every logged impression has its reward; return the audit of the whole log."""
        self.output.say("waiting until every banner has its reward")
        time.sleep(self.settings.settlement_seconds + SETTLING_SECONDS)
        deadline = time.monotonic() + SETTLED_SECONDS
        before, found = Counts(), self._audited()
        while (found.lost or found.waiting or found != before) and time.monotonic() < deadline:
            if found != before:
                deadline = time.monotonic() + SETTLED_SECONDS
            before = found
            time.sleep(SETTLING_SECONDS)
            found = self._audited()
        while time.monotonic() < deadline and not self._console_has(found.expected):
            time.sleep(0.5)
        return found

    def _audited(self) -> Counts:
        """Count from the whole log what should have been rewarded, and what was."""
        window = self.settings.attribution_window_seconds + self.settings.lateness_seconds
        settings = AuditSettings(
            settlement_seconds=self.settings.settlement_seconds, horizon_seconds=window
        )
        with wiring.opened_log(self.settings, member="audit") as events:
            return audit(events, settings)

    def _console_has(self, banners: int) -> bool:
        arms = self._experiment().get("arms", {})
        return bool(sum(arm["banners"] for arm in arms.values()) >= banners)

    def _report(self, sent: list[TrafficReport], audited: Counts, seconds: float) -> dict[str, Any]:
        """Return the report; empty when the console never told one."""
        report = self._experiment()
        if not report:
            return {}
        report["rewards"] = msgspec.to_builtins(audited)
        report["world"] = self.options.world
        report["seconds"] = round(seconds, 1)
        report["traffic"] = msgspec.to_builtins(sent)
        return report


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own service
            return bool(answer.status == 200)
    except OSError:
        return False


def sentence(report: dict[str, Any]) -> str:
    """Return one line on how the two arms do."""
    if not report:
        return "the console is away"
    policy, control = (report["arms"][arm] for arm in ("policy", "control"))
    return (
        f"{policy['banners'] + control['banners']:>7} banners | policy "
        f"{_number(policy['reward_per_banner'])} a banner, foundation "
        f"{_number(control['reward_per_banner'])}, lift {_percent(report['lift'])} | version "
        f"{report['policy_version']}, {report['versions_served']} served, fresh in "
        f"{_number(report['freshness_seconds']['p50'])} s"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(lift: dict[str, float | None]) -> str:
    if lift["estimate"] is None or lift["low"] is None or lift["high"] is None:
        return "not known yet"
    return f"{lift['estimate']:+.1%} ({lift['low']:+.1%} to {lift['high']:+.1%})"


def report_table(report: dict[str, Any]) -> Table:
    """Return the report for people."""
    rows = [{"what": "banners", "value": sum(arm["banners"] for arm in report["arms"].values())}]
    rows += [
        {"what": f"reward per banner, {name}", "value": _number(arm["reward_per_banner"])}
        for name, arm in report["arms"].items()
    ]
    rows += [
        {"what": "lift (95% interval by shopper and period)", "value": _percent(report["lift"])},
        {"what": "versions served", "value": report["versions_served"]},
        {
            "what": "event accepted to weights serving, p50 / p99",
            "value": " / ".join(
                f"{_number(report['freshness_seconds'][name])} s" for name in ("p50", "p99")
            ),
        },
        {
            "what": "rewards expected / lost / doubled / waiting",
            "value": " / ".join(
                str(report["rewards"][name]) for name in ("expected", "lost", "doubled", "waiting")
            ),
        },
        {"what": "seconds", "value": report["seconds"]},
    ]
    return table(f"demo report, {report['world']} world", rows)
