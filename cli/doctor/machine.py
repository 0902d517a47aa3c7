"""What can be wrong with the machine: Python, packages, data directory, clock, ports: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cli.doctor.findings import Finding, fail, ok, size, warn

OLDEST_PYTHON: Final = (3, 11)
NEWEST_PYTHON: Final = (3, 13)
LEAST_FREE_BYTES: Final = 500_000_000
"""Below this the log may refuse events before anybody looks."""
SPARSE_FREE_BYTES: Final = 5_000_000_000
_SKEW_MS: Final = 2_000
_LEEWAY_MS: Final = 300_000
"""As of attribution tokens: beyond it they are refused."""
_WRITTEN_MS: Final = 1_750_000_000_000
"""June 2025; no clock that is right shows an earlier time."""


def judge_python(version: tuple[int, int], packages: Mapping[str, str]) -> list[Finding]:
    """Return whether Python and what serving needs are there.

    Args:
        version: of Python.
        packages: why a package cannot be imported, or its version after a `=`.
    """
    named = ".".join(map(str, version))
    broken = {name: said for name, said in packages.items() if not said.startswith("=")}
    found = [
        fail("python", f"{name} cannot be used: {said}", remedy)
        for name, said in broken.items()
        if name != "torch"
        for remedy in ["run `make setup`"]
    ]
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        found.append(warn("python", f"Python {named} was never tried", "use 3.11, 3.12 or 3.13"))
    versions = ", ".join(
        f"{name} {said[1:]}"
        for name, said in packages.items()
        if name not in broken and name not in {"torch", "cuda"}
    )
    return found or [ok("python", f"Python {named}, {versions}")]


def judge_torch(packages: Mapping[str, str]) -> Finding:
    """Return whether this machine can train, and on what."""
    said = packages.get("torch", "it is not installed")
    if not said.startswith("="):
        return warn(
            "torch",
            f"torch cannot be used: {said}",
            "to pretrain and train on this machine: pip install 'quintet[train]'; serving needs"
            " none",
        )
    cuda = packages.get("cuda", "=")[1:]
    where = f"CUDA: {cuda}" if cuda else "no CUDA, training runs on the CPU"
    return ok("torch", f"torch {said[1:]}; {where}")


@dataclass(frozen=True, slots=True)
class Place:
    """The data directory.

    Attributes:
        path: as set.
        exists: whether it is a folder.
        unwritable: why nothing can be written; empty: it can.
        free_bytes: left on its disk.
        log_bytes: of the local log with its journal.
        secret_mode: permissions of the kept secret; None: none is kept.
        secret_bytes: its length.
        secret_given: QUINTET_SECRET is set.
    """

    path: str
    exists: bool
    unwritable: str = ""
    free_bytes: int = 0
    log_bytes: int = 0
    secret_mode: int | None = None
    secret_bytes: int = 0
    secret_given: bool = False


SECRET_BYTES: Final = 64


def judge_place(place: Place) -> list[Finding]:
    """Return whether the data directory can be worked in."""
    if not place.exists:
        return [
            warn(
                "data directory",
                f"{place.path} does not exist yet",
                "run `quintet demo`, or `quintet import` with your own data",
            )
        ]
    found = []
    if place.unwritable:
        found.append(
            fail(
                "data directory",
                f"nothing can be written: {place.unwritable}",
                f"give {place.path} to the user that runs quintet",
            )
        )
    left = f"{size(place.free_bytes)} left on its disk, the log has {size(place.log_bytes)}"
    if place.free_bytes < LEAST_FREE_BYTES:
        found.append(fail("data directory", left, "make room, or lower QUINTET_RETENTION_DAYS"))
    elif place.free_bytes < max(SPARSE_FREE_BYTES, place.log_bytes // 4):
        found.append(warn("data directory", left, "make room, or lower QUINTET_RETENTION_DAYS"))
    found += _secret(place)
    return found or [ok("data directory", f"{place.path}: {left}")]


def _secret(place: Place) -> list[Finding]:
    if place.secret_mode is None or place.secret_given:
        return []
    if place.secret_bytes != SECRET_BYTES:
        return [
            fail(
                "secret",
                f"{place.path}/secret is damaged",
                "restore it from a backup; a new one makes every shopper a stranger",
            )
        ]
    if place.secret_mode & 0o077:
        return [
            fail(
                "secret",
                f"others may read {place.path}/secret (mode {place.secret_mode:03o})",
                f"chmod 600 {place.path}/secret",
            )
        ]
    return []


def judge_clock(now_ms: int, newest_ms: Mapping[str, int]) -> Finding:
    """Return whether this machine's clock can be right.

    Args:
        now_ms: by this machine's clock.
        newest_ms: the newest time of each of some places that cannot lie in the future.
    """
    ahead = {name: at_ms - now_ms for name, at_ms in newest_ms.items() if at_ms - now_ms > _SKEW_MS}
    remedy = "let the machines keep time (chrony, systemd-timesyncd)"
    if now_ms < _WRITTEN_MS:
        return fail("clock", "this machine's clock is years behind", remedy)
    if not ahead:
        return ok("clock", "not behind anything that was written down")
    name = max(ahead, key=ahead.__getitem__)
    said = f"the newest record of {name} is {ahead[name] / 1000:.0f} s ahead of this machine"
    if ahead[name] > _LEEWAY_MS:
        return fail("clock", f"{said}: attribution tokens are refused", remedy)
    return warn("clock", said, remedy)


@dataclass(frozen=True, slots=True)
class Port:
    """Who listens on a port.

    Attributes:
        setting: that names it.
        number: the port.
        ours: a process of this data directory answers there.
        refused: why it cannot be listened on; empty: it is free.
    """

    setting: str
    number: int
    ours: bool
    refused: str = ""


def judge_ports(ports: Sequence[Port]) -> list[Finding]:
    """Return whether the ports are Quintet's, or free."""
    found = [
        fail(
            "ports",
            f"port {port.number} cannot be used: {port.refused}",
            f"end what listens there, or choose another {port.setting}; if the ring has only "
            "begun, look again in ten seconds",
        )
        for port in ports
        if port.refused and not port.ours
    ]
    state = ", ".join(f"{port.number} {'Quintet' if port.ours else 'free'}" for port in ports)
    return found or [ok("ports", state)]
