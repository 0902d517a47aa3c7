"""`quintet doctor`: what is wrong with the set-up and the ring, and what to do."""

import sys
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from cli.doctor.findings import Finding
from cli.errors import CommandFailed
from cli.output import Output, table
from cli.settings import Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_SHARE = 0.9
"""Of the time for everything, that of a process whose end must be waited for."""
Seconds = Annotated[float, typer.Option(min=0.1, help="longest wait for everything together")]
Quick = Annotated[bool, typer.Option(help="do not start numba and torch, which takes seconds")]


def doctor(
    settings: Settings | None,
    settings_problem: str,
    output: Output,
    seconds: Seconds = 20.0,
    quick: Quick = False,
) -> None:
    """Check the set-up and the ring; say what is wrong and what to do.

    Looks at settings, Python and torch, the data directory, the log and its topics, the history,
    the registry, the running processes, clock and ports, and whether the ring turns: banners,
    rewards, updates, what serves. Nothing is changed. Exit status 1 when anything fails.
    """
    findings = examined(settings, settings_problem, seconds, quick=quick)
    failed = sum(finding.status == "fail" for finding in findings)
    rows = [
        {
            "": Text(finding.status, _COLOURS[finding.status]),
            "area": finding.area,
            "found": finding.found,
            "what to do": finding.remedy,
        }
        for finding in findings
    ]
    warned = sum(finding.status == "warn" for finding in findings)
    title = f"{len(findings)} findings: {failed} failed, {warned} to look at"
    output.result({"failed": failed, "warned": warned, "findings": findings}, table(title, rows))
    if failed:
        raise CommandFailed(f"{failed} of {len(findings)} checks failed")


def examined(
    settings: Settings | None, settings_problem: str, seconds: float, *, quick: bool
) -> list[Finding]:
    """Return the findings about an installation; about Python alone without its settings."""
    from cli.doctor import configuration, gathering, machine, parts, turning
    from cli.doctor.ring_facts import ring_facts
    from cli.doctor.running import Check, examine

    imports = partial(gathering.packages, seconds=_SHARE * seconds)
    checks = [
        Check("python", lambda: machine.judge_python(sys.version_info[:2], imports("numba")),
              "run `make setup`", optional=True),
        Check("torch", lambda: [machine.judge_torch(imports("torch"))],
              "try `python -c 'import torch'`; serving needs none", optional=True),
    ]  # fmt: skip
    if quick:
        checks = []
    if settings is None:
        found = configuration.unreadable_settings(settings_problem)
        return [found, *examine(checks, seconds=seconds)]

    def ring() -> list[Finding]:
        facts = ring_facts(settings, gathering.clock_ms())
        return [] if facts is None else turning.judge_ring(facts)

    def clock() -> list[Finding]:
        return [machine.judge_clock(gathering.clock_ms(), gathering.newest_times(settings))]

    log_remedy = "is it up? see QUINTET_STREAMS and QUINTET_KAFKA_BOOTSTRAP_SERVERS"
    if settings.streams == "local":
        log_remedy = "if the disk is sound, restore the newest backup: `quintet restore`"
    history_remedy = "is it up? banners are answered without; it is rebuilt from the log"
    alone = settings.streams == "local"
    checks = [
        Check("settings", lambda: configuration.judge_settings(
            settings, gathering.names_given(), gathering.key_scopes(settings)
        ), "see `quintet settings`"),
        *checks,
        Check("data directory", lambda: machine.judge_place(gathering.place(settings)),
              "see QUINTET_DATA_DIR"),
        Check("clock", clock, "see the findings about the log"),
        Check("ports", lambda: machine.judge_ports(gathering.ports(settings)),
              "see QUINTET_HOST, QUINTET_PORT and QUINTET_CONSOLE_PORT"),
        Check("log", lambda: parts.judge_log(gathering.log_facts(settings)), log_remedy),
        Check("history", lambda: parts.judge_history(gathering.history_facts(settings)),
              history_remedy),
        Check("registry", lambda: parts.judge_registry(
            gathering.registry_facts(settings), gathering.clock_ms()
        ), "`quintet policies list`"),
        Check("processes", lambda: parts.judge_processes(
            gathering.processes(settings), alone=alone, elsewhere=gathering.elsewhere(settings)
        ), "look at their logs"),
        Check("ring", ring, "see the findings about log and registry"),
    ]  # fmt: skip
    return examine(checks, seconds=seconds)
