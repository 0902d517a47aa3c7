"""`quintet run`: the processes of the ring as children, restarted when they die."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 4.0
_AUTOGROUP_TRIES = 10
_AUTOGROUP_SECONDS = 0.13
_TOLD_EVERY = 5
"""After so many deaths in a row it is said that a child does not stay up."""
CALM_SECONDS = 30.0
"""A child that lived so long is restarted with the first delay again."""


@dataclass(slots=True)
class Child:
    """One supervised process.

    Attributes:
        name: the command, `serve` for example.
        arguments: what follows `quintet`.
        logs: where its output goes; None: where the parent's does.
        inherited: file descriptors of the parent that it gets.
        starts: how often it was started.
        in_vain: how often in a row it died before it had lived `CALM_SECONDS`.
    """

    name: str
    arguments: Sequence[str]
    logs: Path | None = None
    inherited: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    in_vain: int = 0
    delay_seconds: float = FIRST_DELAY_SECONDS
    started_at: float = 0.0
    due_at: float = 0.0

    def start(self, now: float) -> None:
        """Start the process; its output goes to its log file, or where the parent's goes."""
        command = [sys.executable, "-m", "cli.main", *self.arguments]
        with ExitStack() as open_while_starting:
            file = None
            if self.logs is not None:
                self.logs.parent.mkdir(parents=True, exist_ok=True)
                file = open_while_starting.enter_context(self.logs.open("ab"))
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=self.inherited,
                # Ctrl-C is the supervisor's to hear, and a session's niceness is held against all
                # that runs on the machine, not only against its own processes.
                start_new_session=True,
            )
        self.starts += 1
        self.started_at = now


def after_exit(child: Child, now: float) -> float:
    """Return when a dead child is started again: at once, then after doubling delays up to 4 s.

    Example:
        >>> after_exit(Child("serve", (), started_at=0.0, delay_seconds=1.0), 2.0)
        3.0
    """
    if now - child.started_at >= CALM_SECONDS:
        child.delay_seconds, child.in_vain = FIRST_DELAY_SECONDS, 0
    else:
        child.in_vain += 1
    due = now + child.delay_seconds
    child.delay_seconds = min(child.delay_seconds * 2, LONGEST_DELAY_SECONDS)
    return due


@dataclass(slots=True)
class Supervisor:
    """Starts children, restarts what dies, ends them all.

    Attributes:
        children: what is kept alive.
        stop: ends `run` when it is set.
        grace_seconds: a child that was asked to end has so long; one that supervises others needs
            longer than it grants them.
        on_ending: told when children are asked to end, which may take them the grace time.
    """

    children: Sequence[Child]
    stop: threading.Event = field(default_factory=threading.Event)
    grace_seconds: float = 30.0
    on_ending: Callable[[], None] = lambda: None

    def step(self, now: float) -> None:
        """Look at every child once; start what is due."""
        for child in self.children:
            if child.process is None:
                if now >= child.due_at:
                    child.start(now)
            elif (status := child.process.poll()) is not None:
                child.process = None
                child.due_at = after_exit(child, now)
                log.warning("child_died", child=child.name, status=status, starts=child.starts)
                if child.in_vain and child.in_vain % _TOLD_EVERY == 0:
                    log.error(
                        "child_does_not_stay_up",
                        child=child.name,
                        died_in_a_row=child.in_vain,
                        hint=f"what it says is in {child.logs or 'its lines above'}; it is started "
                        "again and again; `quintet doctor` looks at what it stands on",
                    )

    def run(self) -> None:
        """Supervise until `stop` is set, then end every child."""
        try:
            while not self.stop.is_set():
                self.step(time.monotonic())
                self.stop.wait(0.1)
        finally:
            try:
                self.on_ending()
            finally:
                self.end()

    def end(self) -> None:
        """Ask every child to end, then make it: SIGTERM, and SIGKILL after the grace time."""
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def stop_on_signals(stop: threading.Event) -> None:
    """Make SIGINT and SIGTERM set `stop`, so that loops end cleanly."""

    def ask(_number: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)


def give_way(niceness: int, *, autogroup: Path = Path("/proc/self/autogroup")) -> None:
    """Lower this process's priority, and its session's where the kernel shares by sessions.

    Args:
        niceness: that is added to what the process has, 0..19.
        autogroup: where Linux takes a session's niceness
            (https://man7.org/linux/man-pages/man7/sched.7.html, "The autogroup feature").
    """
    whole = os.nice(niceness)
    if whole == 0:
        return
    for _ in range(_AUTOGROUP_TRIES):
        try:
            autogroup.write_text(str(whole))
        except BlockingIOError:  # one change in 100 ms is allowed on the whole machine
            time.sleep(_AUTOGROUP_SECONDS)
        except OSError as reason:
            log.debug("session_keeps_its_priority", reason=str(reason))
            return
        else:
            return
    log.warning("session_keeps_its_priority", reason="the kernel did not take it in time")


def watch_parent(parent: int | None) -> None:
    """End this process when its supervisor is gone: a killed supervisor leaves nothing.

    Args:
        parent: process id of the supervisor; None: there is none.
    """
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
