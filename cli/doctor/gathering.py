"""Facts about an installation: everything that reads, asks and listens; nothing here judges.

What does not exist yet stays so. Where there is a registry, opening it sweeps away what a dead
writer left half-written, as every command does; nothing else is changed.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import msgspec
from pydantic_settings import DotEnvSettingsSource

from cli import wiring
from cli.clock import now_ms
from cli.doctor import answers
from cli.doctor.configuration import PREFIX
from cli.doctor.machine import Place, Port
from cli.doctor.parts import HistoryFacts, LogFacts, ProcessFacts, RegistryFacts
from cli.errors import BadUsage
from cli.process_file import found as described_in
from cli.process_file import of_kind
from cli.settings import Settings
from policy.errors import LivePointerNotReadable, PolicyError
from policy.registry import Registry
from projections.history.redis import RedisHistoryStore
from streams.errors import LogError
from streams.port import Log
from streams.topics import EVENTS, TOPICS

_METRICS: Final = {"serve": "service_", "console": "console_"}
_IMPORTS: Final = """
import importlib, json, sys
said = {}
for name in sys.argv[1:]:
    try:
        said[name] = "=" + getattr(importlib.import_module(name), "__version__", "")
    except Exception as problem:
        said[name] = f"{type(problem).__name__}: {problem}"
if said.get("torch", "").startswith("="):
    import torch
    said["cuda"] = "=" + (torch.cuda.get_device_name() if torch.cuda.is_available() else "")
print(json.dumps(said))
"""


def names_given() -> set[str]:
    """Return the names of settings in the environment and in `.env`."""
    in_file = DotEnvSettingsSource(Settings).env_vars
    return {name.upper() for name in (*os.environ, *in_file) if name.upper().startswith(PREFIX)}


def key_scopes(settings: Settings) -> dict[str, frozenset[str]] | str:
    """Return the scopes of each API key, or why they cannot be read."""
    try:
        wiring.keyring(settings)
    except BadUsage as problem:
        return str(problem)
    entries = filter(None, map(str.strip, wiring.key_text(settings).split(",")))
    parts = (entry.partition(":") for entry in entries)
    return {key: frozenset(rest.partition("@")[0].split("+")) for key, _, rest in parts}


def packages(*names: str, seconds: float) -> dict[str, str]:
    """Return `=version` of each package, or why it cannot be imported; in a process of its own.

    Raises:
        TimeoutError: importing takes longer than `seconds`; nothing is left running.

    A package that takes the interpreter down takes that process, not this one.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _IMPORTS, *names],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"importing takes longer than {seconds:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return dict.fromkeys(names, f"importing ends with status {done.returncode}: {last}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, str])


def place(settings: Settings) -> Place:
    """Return what the data directory is like."""
    data_dir = settings.data_dir
    given = settings.secret is not None
    if not data_dir.is_dir():
        return Place(path=str(data_dir), exists=False, secret_given=given)
    unwritable = ""
    try:
        with tempfile.NamedTemporaryFile(dir=data_dir, prefix=".doctor-"):
            pass
    except OSError as problem:
        unwritable = str(problem)
    secret = data_dir / "secret"
    found = secret.stat() if secret.exists() else None
    return Place(
        path=str(data_dir),
        exists=True,
        unwritable=unwritable,
        free_bytes=shutil.disk_usage(data_dir).free,
        log_bytes=sum(path.stat().st_size for path in data_dir.glob("log.db*") if path.is_file()),
        secret_mode=None if found is None else stat.S_IMODE(found.st_mode),
        secret_bytes=0 if found is None else found.st_size,
        secret_given=given,
    )


@contextmanager
def existing_log(settings: Settings) -> Iterator[Log | None]:
    """Open the log where there is one, and close it in the end; None: a local one not begun."""
    if settings.streams == "kafka":
        opened: Log = wiring.open_kafka(settings, member=f"doctor-{os.getpid()}")
    elif wiring.log_file(settings).is_file():
        opened = wiring.open_log(settings, member="doctor")
    else:
        yield None
        return
    with closing(opened):
        yield opened


def log_facts(settings: Settings) -> LogFacts:
    """Return whether the log is as declared; raises LogError."""
    if settings.streams == "kafka":
        name = f"Kafka at {settings.kafka_bootstrap_servers}"
        with closing(wiring.open_kafka(settings, member=f"doctor-{os.getpid()}")) as kafka:
            faults = kafka.topic_faults()
            return LogFacts(name, True, faults, 0 if faults else _records(kafka))
    name = str(wiring.log_file(settings))
    with existing_log(settings) as local:
        return LogFacts(name, local is not None, (), 0 if local is None else _records(local))


def _records(log: Log) -> int:
    return sum(
        sum(log.end_offsets(topic.name).values()) - sum(log.start_offsets(topic.name).values())
        for topic in TOPICS
        if not topic.compacted
    )


def history_facts(settings: Settings) -> HistoryFacts:
    """Return whether histories answer, and how far they are; raises HistoryUnavailable."""
    file = wiring.history_file(settings)
    in_redis = settings.history == "redis"
    name = "Redis" if in_redis else str(file)
    if not in_redis and not file.is_file():
        return HistoryFacts(name, exists=False)
    with closing(wiring.history_store(settings)) as store:
        positions = store.positions()
        evicts = store.eviction() if isinstance(store, RedisHistoryStore) else ""
    behind: int | None = None
    try:
        with existing_log(settings) as log:
            if log is not None:
                ends, starts = log.end_offsets(EVENTS.name), log.start_offsets(EVENTS.name)
                behind = sum(end - max(positions.get(p, 0), starts[p]) for p, end in ends.items())
    except LogError:
        pass  # the log has a line of its own
    return HistoryFacts(name, exists=True, behind=behind, evicts=evicts)


def existing_registry(settings: Settings) -> Registry | None:
    """Return the registry; None: nobody has begun one."""
    if not (settings.data_dir / "registry").is_dir():
        return None
    return wiring.open_registry(settings)


def registry_facts(settings: Settings) -> RegistryFacts:
    """Verify what is live, its foundation, and what a rollback would take."""
    registry = existing_registry(settings)
    if registry is None:
        return RegistryFacts(live=None)
    try:
        live = registry.live()
    except LivePointerNotReadable as problem:
        return RegistryFacts(live=None, pointer_problem=str(problem))
    if live is None:
        return RegistryFacts(live=None)
    damaged: dict[int, str] = {}
    for version in dict.fromkeys((live.version, live.foundation, *live.previous[-1:])):
        damaged[version] = ""
        try:
            registry.load(version)
        except PolicyError as problem:
            damaged[version] = str(problem)
    return RegistryFacts(live=live, damaged=damaged, versions=len(registry.manifests()))


def processes(settings: Settings) -> list[ProcessFacts]:
    """Return which processes of the ring are up here, and whether they answer."""
    found = []
    for name, port in (("serve", settings.port), ("console", settings.console_port)):
        up = is_here(settings, name, port)
        problem = answers.not_ready(wiring.url(settings.host, port)) if up else ""
        found.append(ProcessFacts(name, up=up, answers=up, problem=problem))
    for kind in ("aggregate", "train"):
        told = of_kind(settings.data_dir, kind)
        for one in [each for each in told if each.is_alive] or told[:1]:
            up = one.is_alive
            answering = up and bool(answers.metrics(one.url))
            found.append(ProcessFacts(kind, up=up, answers=answering, pid=one.pid))
        if not told:
            found.append(ProcessFacts(kind, up=False, answers=False))
    return found


def is_here(settings: Settings, process: str, port: int) -> bool:
    """Return whether a process answers at a port, and is of this data directory.

    One of another machine that shares the directory may be the one that answers: a container says
    where it is within its own network.
    """
    described = described_in(settings.data_dir / "processes").values()
    of_kind = [one for one in described if one.labels.get("job") == process]
    told = any(one.elsewhere or (one.is_alive and one.port == port) for one in of_kind)
    return told and answers.is_ours(wiring.url(settings.host, port), _METRICS[process])


def elsewhere(settings: Settings) -> list[str]:
    """Return the processes that share the data directory from other machines, by name."""
    described = described_in(settings.data_dir / "processes").items()
    return sorted(f"{name} on {one.elsewhere}" for name, one in described if one.elsewhere)


def ports(settings: Settings) -> list[Port]:
    """Return who listens on the service's and the console's port."""
    found = []
    for setting, number, name in (
        ("--port", settings.port, "serve"),
        ("--console-port", settings.console_port, "console"),
    ):
        refused = ""
        try:
            wiring.require_free(settings.host, number)
        except BadUsage as problem:
            refused = str(problem).partition(": choose")[0]
        ours = bool(refused) and is_here(settings, name, number)
        found.append(Port(setting, number, ours=ours, refused=refused))
    return found


def newest_times(settings: Settings) -> dict[str, int]:
    """Return times that cannot lie in the future: of the live pointer and of each topic's end."""
    found: dict[str, int] = {}
    registry = existing_registry(settings)
    live = registry.live() if registry else None
    if live is not None:
        found["the live pointer"] = live.changed_at_ms
    with existing_log(settings) as log:
        if log is not None:
            found |= answers.newest_appended_ms(log)
    return found


def clock_ms() -> int:
    """Return this machine's clock."""
    return now_ms()
