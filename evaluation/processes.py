"""Seeds in processes of their own, which end with the process that asked."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from queue import Empty
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")
_LISTEN_SECONDS: Final = 0.2
_ORPHANED: Final = 1


class Told(Protocol):
    """Takes progress: what is being done, and the share done in [0, 1]."""

    def __call__(self, what: str, done: float) -> None:
        """Take it."""


def in_processes(
    play: Callable[[int, Told], T], seeds: Sequence[int], *, processes: int, told: Told
) -> list[T]:
    """Return what every seed found, in the order of the seeds.

    Args:
        play: travels to the other processes.
        seeds: its first argument.
        processes: seeds played at once.
        told: hears, in this process, what the seeds tell.

    Raises:
        Exception: whatever a seed raised; seeds that were not begun are left out then.
    """
    context = multiprocessing.get_context("spawn")
    with _manager(context) as manager, _pool(processes, context) as pool:
        news = manager.Queue()
        futures = [pool.submit(play, seed, _Telling(news)) for seed in seeds]
        while not _all_over(futures):
            try:
                told(*news.get(timeout=_LISTEN_SECONDS))
            except Empty:
                continue
        return [future.result() for future in futures]


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(_ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def _manager(context: Any) -> Iterator[SyncManager]:  # noqa: ANN401
    manager = SyncManager(ctx=context)
    manager.start(initializer=_end_with_parent)
    with manager:
        yield manager


@contextmanager
def _pool(processes: int, context: Any) -> Iterator[ProcessPoolExecutor]:  # noqa: ANN401
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _all_over(futures: Sequence[Future[Any]]) -> bool:
    return all(each.done() for each in futures) or any(
        each.done() and each.exception() is not None for each in futures
    )


@dataclass(frozen=True, slots=True)
class _Telling:
    """Sends progress to the process that shows it."""

    news: Any

    def __call__(self, what: str, done: float) -> None:
        self.news.put((what, done))
