"""Requests that arrive in one turn of the event loop are answered together.

One request after another costs more than twice as much as the same work step by step over many:
between two requests the processor's caches forget code and tables. Nothing waits for company: what
a turn of the loop brought is answered in the next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, ParamSpec, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
P = ParamSpec("P")
MOST: Final = 64
"""Questions answered together at most, so that others get a turn."""


def attempt(step: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> A | Exception:
    """Return what a step gives, or the exception it raises: it is one request's, not all's."""
    try:
        return step(*args, **kwargs)
    except Exception as problem:  # noqa: BLE001 - raised again to who asked
        return problem


class Gathering(Generic[Q, A]):
    """Collects questions; for one event loop.

    Args:
        answer_all: answers some questions, in their order; an exception in place of an answer is
            raised to who asked that question, one that is raised to all who asked.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]]
    ) -> None:
        self._answer_all = answer_all
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, question: Q) -> A:
        """Return the answer; raises what `answer_all` gave or raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._start)
        elif len(self._waiting) == MOST:
            self._start()
        return await future

    def _start(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            task = asyncio.get_running_loop().create_task(self._answer(waiting))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, waiting: list[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._answer_all([question for question, _ in waiting])
        except Exception as problem:  # noqa: BLE001 - raised again to all who asked
            answers = [problem] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():  # who asked has gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
