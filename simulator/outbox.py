"""Events that wait for their moment, and leave in small lists."""

import asyncio
import heapq
import itertools
from collections import Counter
from typing import Final

import structlog

from schemas.requests import EventIn, EventResult
from simulator.errors import TrafficRefused
from simulator.ledger import Ledger
from simulator.tally import Tally
from simulator.wire import RETRIED, Wire

log = structlog.get_logger(__name__)

_FLUSH_SECONDS: Final = 0.05
_EVENTS_AT_ONCE: Final = 200
_LINES_AT_ONCE: Final = 4000
"""Lines of orders in one list, so that it stays far below the service's limit of bytes."""
_LISTS_AT_ONCE: Final = 4


class Outbox:
    """Sends every event at its due time, or at once after `hurry`.

    Promise: every event put in is counted, and so is its outcome: the service's word, or unsent
    when it did not answer within the patience. Only `give_up` leaves events without an outcome
    (pending in the report). An event that is tried again keeps its id and payload.

    Args:
        wire: the service.
        tally: counts outcomes.
        ledger: notes every event before it leaves and its outcome after.
    """

    def __init__(self, wire: Wire, tally: Tally, ledger: Ledger) -> None:
        self._wire, self._tally, self._ledger = wire, tally, ledger
        self._waiting: list[tuple[float, int, EventIn, asyncio.Future[None], bool]] = []
        self._undecided: set[asyncio.Future[None]] = set()
        self._number = itertools.count()
        self._posts: set[asyncio.Task[None]] = set()
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._hurried = False

    def put(
        self, event: EventIn, due: float, *, is_duplicate: bool = False
    ) -> asyncio.Future[None]:
        """Accept an event for `due` (the loop's time); the future is done when its fate is."""
        self._tally.events += not is_duplicate
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._undecided.add(done)
        done.add_done_callback(self._undecided.discard)
        heapq.heappush(self._waiting, (due, next(self._number), event, done, is_duplicate))
        return done

    def hurry(self) -> None:
        """Send what waits now, whatever its due time."""
        self._hurried = True

    async def run(self) -> None:
        """Send until cancelled; raises what the ledger raises."""
        async with asyncio.TaskGroup() as posts:
            while True:
                while due := self._due():
                    post = posts.create_task(self._post(due))
                    self._posts.add(post)
                    post.add_done_callback(self._posts.discard)
                    await self._lists.acquire()
                await asyncio.sleep(_FLUSH_SECONDS)

    def give_up(self) -> None:
        """Stop waiting for a service that does not answer; what is not sent stays pending."""
        for _, _, _, done, _ in self._waiting:
            _decide(done)
        self._waiting.clear()
        for post in self._posts:
            post.cancel()

    async def drain(self) -> None:
        """Return when every event's fate is known; `run` must be running."""
        while self._undecided:
            await asyncio.wait(self._undecided)

    def _due(self) -> list[tuple[EventIn, asyncio.Future[None], bool]]:
        """Take the next list of due events."""
        now = asyncio.get_running_loop().time()
        taken: list[tuple[EventIn, asyncio.Future[None], bool]] = []
        lines = 0
        while self._waiting and len(taken) < _EVENTS_AT_ONCE and lines < _LINES_AT_ONCE:
            if self._waiting[0][0] > now and not self._hurried:
                break
            _, _, event, done, is_duplicate = heapq.heappop(self._waiting)
            taken.append((event, done, is_duplicate))
            lines += len(event.items or ())
        return taken

    async def _post(self, due: list[tuple[EventIn, asyncio.Future[None], bool]]) -> None:
        events = [event for event, _, _ in due]
        try:
            await self._ledger.sending(events)
            results = await self._sent(events)
            for (_, _, is_duplicate), outcome in zip(due, results, strict=True):
                self._count(outcome, is_duplicate=is_duplicate)
        finally:
            self._lists.release()
            for _, done, _ in due:
                _decide(done)

    async def _sent(self, events: list[EventIn]) -> list[str]:
        """Return the outcome of each event."""
        try:
            results = await self._wire.report(events)
        except (TrafficRefused, *RETRIED) as problem:
            log.warning("events_not_sent", events=len(events), reason=str(problem))
            return ["unsent"] * len(events)
        await self._ledger.outcomes(results)
        refused = Counter(_sentence(result) for result in results if result.outcome != "accepted")
        for sentence, count in refused.items():
            log.warning("events_refused", reason=sentence, events=count)
        return [result.outcome for result in results]

    def _count(self, outcome: str, *, is_duplicate: bool) -> None:
        if is_duplicate:
            self._tally.duplicates += 1
            self._tally.duplicates_refused += outcome != "accepted"
        else:
            self._tally.outcomes[outcome] += 1


def _decide(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _sentence(result: EventResult) -> str:
    return f"{result.outcome}: {result.reason}"
