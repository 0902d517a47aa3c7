"""What can be wrong with what the ring stands on: log, history, registry, processes: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cli.doctor.findings import Finding, ago, fail, ok, warn
from schemas.policies import Live

_BEHIND_RECORDS: Final = 10_000
RING: Final = ("serve", "aggregate", "train", "console")
_MEANING: Final = {
    "serve": "nobody is answered",
    "aggregate": "rewards and histories stand still",
    "train": "learning stands still",
    "console": "there are no pages, and nobody counts lost rewards",
}


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The event log.

    Attributes:
        name: where it is, in words.
        exists: False: a local log that nobody has begun.
        faults: in what its topics differ from their declaration, one sentence each.
        records: how many it holds, of all topics.
    """

    name: str
    exists: bool
    faults: Sequence[str] = ()
    records: int = 0


def judge_log(log: LogFacts) -> list[Finding]:
    """Return whether the log can be used."""
    if not log.exists:
        return [
            warn(
                "log",
                f"{log.name} does not exist yet",
                "`quintet import` and `quintet demo` begin it",
            )
        ]
    if log.faults:
        remedy = "`quintet topics apply` makes what is missing; what differs is yours to change"
        return [fail("log", fault, remedy) for fault in log.faults]
    return [ok("log", f"{log.name}: {log.records:,} records, topics as declared")]


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """The store of shoppers' histories.

    Attributes:
        name: where it is, in words.
        exists: False: a file that nobody has begun.
        behind: records of `events` that it has not taken in; None: the log could not be asked.
        evicts: Redis's memory policy where it throws values away; empty: it does not.
    """

    name: str
    exists: bool
    behind: int | None = None
    evicts: str = ""


def judge_history(history: HistoryFacts) -> list[Finding]:
    """Return whether histories can be read, and follow the log."""
    if not history.exists:
        return [
            warn(
                "history",
                f"{history.name} does not exist yet",
                "`quintet aggregate` fills it from the log",
            )
        ]
    found = []
    if history.evicts:
        found.append(
            warn(
                "history",
                f"Redis drops values when it is full ({history.evicts})",
                "set maxmemory-policy noeviction",
            )
        )
    if history.behind is not None and history.behind > _BEHIND_RECORDS:
        found.append(
            warn(
                "history",
                f"{history.behind:,} events are not in it yet",
                "is `quintet aggregate` up? it follows by itself",
            )
        )
    behind = "" if history.behind is None else f", {history.behind:,} events behind"
    return found or [ok("history", f"{history.name}: answers{behind}")]


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """Snapshots and the live pointer.

    Attributes:
        live: the pointer; None: nothing is live.
        pointer_problem: why the pointer cannot be read; empty: it can.
        damaged: why each of the versions looked at would be refused; empty text: it is sound.
        versions: how many are kept.
    """

    live: Live | None
    pointer_problem: str = ""
    damaged: Mapping[int, str] | None = None
    versions: int = 0


def judge_registry(registry: RegistryFacts, now_ms: int) -> list[Finding]:
    """Return whether what is live, its foundation and what a rollback would take are sound."""
    if registry.pointer_problem:
        return [
            fail(
                "registry",
                registry.pointer_problem,
                "`quintet policies rollback --to VERSION` writes the pointer anew",
            )
        ]
    live = registry.live
    if live is None:
        return [
            warn("registry", "there is no policy yet", "`quintet import`, then `quintet pretrain`")
        ]
    found = []
    for version, problem in (registry.damaged or {}).items():
        if problem and version == live.version:
            found.append(
                fail(
                    "registry",
                    f"the live version {version} is damaged: {problem}",
                    "`quintet policies rollback`; servers keep what they have",
                )
            )
        elif problem:
            found.append(
                warn(
                    "registry",
                    f"version {version} is damaged: {problem}",
                    "restore it from a backup: `quintet restore`",
                )
            )
    if live.hold:
        found.append(
            warn(
                "registry",
                f"held at version {live.version} since "
                f"{ago(now_ms, live.changed_at_ms)} ({live.reason}): nothing is promoted",
                "`quintet policies resume` when the reason is gone",
            )
        )
    sound = [version for version, problem in (registry.damaged or {}).items() if not problem]
    return found or [
        ok(
            "registry",
            f"version {live.version} is live since {ago(now_ms, live.changed_at_ms)}, "
            f"{registry.versions} kept, {len(sound)} verified",
        )
    ]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process of the ring on this machine.

    Attributes:
        name: `serve`, `aggregate`, `train`, `console`.
        up: its process lives; of a server: it answers at its port.
        answers: its metrics do.
        problem: what it says of itself when it is not ready; empty: it is.
        pid: of a process that wrote down its id; 0: not known.
    """

    name: str
    up: bool
    answers: bool
    problem: str = ""
    pid: int = 0


def judge_processes(
    processes: Sequence[ProcessFacts], *, alone: bool, elsewhere: Sequence[str] = ()
) -> list[Finding]:
    """Return whether every process of the ring is up and answers.

    Args:
        processes: of this machine.
        alone: True: the ring is on this machine only, so none may be missing.
        elsewhere: processes of other machines, which cannot be looked at from here.
    """
    passed = f"not looked at, for they are on other machines: {', '.join(elsewhere)}"
    others = [ok("processes", passed)] if elsewhere else []
    return [*_judge_here(processes, alone=alone), *others]


def _judge_here(processes: Sequence[ProcessFacts], *, alone: bool) -> list[Finding]:
    up = [process for process in processes if process.up]
    if not up:
        return [warn("processes", "the ring does not run on this machine", "`quintet run`")]
    found = []
    for process in processes:
        if not process.up and alone:
            found.append(
                fail(
                    "processes",
                    f"{process.name} is not up: {_MEANING[process.name]}",
                    "look again in ten seconds if the ring has only begun; else "
                    f"`quintet {process.name}`, or `quintet run` for all",
                )
            )
        elif process.up and not process.answers:
            found.append(
                fail(
                    "processes",
                    f"{process.name} (process {process.pid}) does not answer on its metrics port",
                    "look at its log; end it and start it again",
                )
            )
        elif process.up and process.problem:
            found.append(
                warn(
                    "processes",
                    f"{process.name} is not ready: {process.problem}",
                    "wait a moment; look at its log if it stays so",
                )
            )
    return found or [ok("processes", ", ".join(one.name for one in up) + " up and answering")]
