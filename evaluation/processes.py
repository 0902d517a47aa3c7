"""Seeds in processes of their own, which end with the process that asked."""

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from evaluation.errors import SeedEnded

T = TypeVar("T")
_ORPHANED: Final = 1


class Told(Protocol):
    """Takes progress: what is being done, and the share done in [0, 1]."""

    def __call__(self, what: str, done: float) -> None:
        """Take it."""


def in_processes(
    play: Callable[[int, Told], T], seeds: Sequence[int], *, processes: int, told: Told
) -> list[T]:
    """Return what every seed found, in the order of the seeds.

    As soon as one seed fails, those that are being played are ended and no other is begun.

    Args:
        play: travels to the other processes.
        seeds: its first argument.
        processes: seeds played at once.
        told: hears, in this process, everything that the seeds tell.

    Raises:
        Exception: whatever the first seed that failed raised.
        SeedEnded: a process ended without a word.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(seeds))[::-1]
    playing: dict[Any, _Playing] = {}  # by the end of its line that is here
    found: dict[int, T] = {}
    try:
        while waiting or playing:
            while waiting and len(playing) < processes:
                place, seed = waiting.pop()
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_play, args=(play, seed, there))
                with _deaf_to_interrupts():
                    process.start()
                there.close()
                playing[here] = _Playing(place, seed, process)
            for line in connection.wait(list(playing)):
                news = _heard(line, playing[line])
                if isinstance(news, _Found):
                    found[playing[line].place] = news.value
                    _end(line, playing.pop(line))
                else:
                    told(*news)
    finally:
        for line, each in playing.items():
            each.process.terminate()
            _end(line, each)
    return [found[place] for place in range(len(seeds))]


@dataclass(frozen=True, slots=True)
class _Playing:
    """A seed that is being played, and its place among the seeds."""

    place: int
    seed: int
    process: Any


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    """What a seed found: the last thing on its line."""

    value: T


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a seed found nothing: the last thing on its line."""

    problem: Exception


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that start meanwhile ignore Ctrl-C: it is this process that ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _heard(line: Any, playing: _Playing) -> Any:  # noqa: ANN401 - what a seed found, or progress
    try:
        news = line.recv()
    except EOFError:
        playing.process.join()
        status = playing.process.exitcode
        raise SeedEnded(f"seed {playing.seed}: its process ended with status {status}") from None
    if isinstance(news, _Failed):
        raise news.problem
    return news


def _end(line: Any, playing: _Playing) -> None:  # noqa: ANN401
    playing.process.join()
    playing.process.close()
    line.close()


def _play(play: Callable[[int, Told], Any], seed: int, line: Any) -> None:  # noqa: ANN401
    """Play one seed, in its process, whose logs tell of trouble alone."""
    _end_with_parent()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        line.send(_Found(play(seed, _Telling(line))))
    except Exception as problem:  # noqa: BLE001 - it is raised where the seed was asked for
        problem.add_note(traceback.format_exc())
        line.send(_Failed(problem))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(_ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Telling:
    """Sends progress to the process that shows it."""

    line: Any

    def __call__(self, what: str, done: float) -> None:
        self.line.send((what, done))
