"""What the client knows for an audit: every event before it is sent, its outcome after.

JSON lines, on disk (fsync) before the event leaves; `kind` tells them apart:

- `banner`: an answer, with what the shopper's response to it is worth on average; it precedes the
  banner's events;
- `sending`: an event about to leave (again, on a deliberate duplicate);
- `outcome`: the service's word on an event. Without one the service never answered: such an event
  counts once or not at all.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.requests import EventIn, EventResult, RecommendResponse
from simulator.world import Visit


class Ledger(Protocol):
    """Where the client notes what it does."""

    def banner(self, visit: Visit, answer: RecommendResponse, expected_reward: float) -> None:
        """Note an answer; durable no later than the next `sending`."""

    async def sending(self, events: Sequence[EventIn]) -> None:
        """Note events about to be sent; returns when that is durable."""

    async def outcomes(self, results: Sequence[EventResult]) -> None:
        """Note what became of events; returns when that is durable."""

    def close(self) -> None:
        """Make everything durable and let go of the file."""


class NoLedger:
    """Notes nothing."""

    def banner(self, visit: Visit, answer: RecommendResponse, expected_reward: float) -> None:
        """Note nothing."""

    async def sending(self, events: Sequence[EventIn]) -> None:
        """Note nothing."""

    async def outcomes(self, results: Sequence[EventResult]) -> None:
        """Note nothing."""

    def close(self) -> None:
        """Do nothing."""


class FileLedger:
    """A ledger in a file, appended to.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._pending: list[bytes] = []
        self._one_at_a_time = asyncio.Lock()

    def banner(self, visit: Visit, answer: RecommendResponse, expected_reward: float) -> None:
        """Note an answer; durable no later than the next `sending`."""
        self._note(
            kind="banner",
            recommendation_id=answer.recommendation_id,
            user_id=visit.user_id,
            arm=answer.arm,
            source=answer.source,
            policy_version=answer.policy_version,
            viewed_product_id=visit.viewed_product_id,
            product_ids=[product.product_id for product in answer.products],
            expected_reward=expected_reward,
        )

    async def sending(self, events: Sequence[EventIn]) -> None:
        """Note events about to be sent; returns when that is durable."""
        for event in events:
            self._note(kind="sending", event=event)
        await self._durable()

    async def outcomes(self, results: Sequence[EventResult]) -> None:
        """Note what became of events; returns when that is durable."""
        for result in results:
            self._note(
                kind="outcome",
                event_id=result.event_id,
                outcome=result.outcome,
                reason=result.reason,
            )
        await self._durable()

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        self._write()
        self._file.close()

    def _note(self, **line: object) -> None:
        self._pending.append(msgspec.json.encode(line))

    async def _durable(self) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._write)

    def _write(self) -> None:
        lines, self._pending = self._pending, []
        if lines:
            self._file.write(b"\n".join(lines) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
