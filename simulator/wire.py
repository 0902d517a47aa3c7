"""The service as a client meets it: two requests, tried again until it answers."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import aiohttp
import msgspec
import stamina
import structlog
from stamina import instrumentation

from schemas.requests import (
    EventIn,
    EventResult,
    EventsResponse,
    RecommendRequest,
    RecommendResponse,
)
from simulator.errors import SimulatorError, TrafficRefused
from simulator.tally import Tally

M = TypeVar("M")
log = structlog.get_logger(__name__)

_TRY_LATER: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400
_ONE_TRY_SECONDS: Final = 10.0
_ONE_TRY_MORE_SECONDS: Final = 0.01
_EXCERPT: Final = 300


class ServiceNotReady(SimulatorError):
    """The service answered with a 5xx or asked to come back later."""


RETRIED: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError, ServiceNotReady)


@contextmanager
def quiet_retries() -> Iterator[None]:
    """Keep stamina from logging every retry: while a service restarts there are hundreds."""
    hooks = instrumentation.get_on_retry_hooks()
    instrumentation.set_on_retry_hooks(())
    try:
        yield
    finally:
        instrumentation.set_on_retry_hooks(hooks)


class Wire:
    """Requests to one service.

    Promise: a list of events is sent again, unchanged, until it is answered or the service has been
    away for `patience_seconds`, so that one that is killed and comes back loses none of them.

    Args:
        session: keeps the connections; the caller closes it.
        url: where the service listens, `http://127.0.0.1:8080` for example.
        tally: counts retries and latencies.
        api_key: sent as a bearer token; None: no key.
        patience_seconds: for so long a request is tried again while the service is away; a service
            away for longer is asked once per request.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        tally: Tally,
        *,
        api_key: str | None,
        patience_seconds: float,
    ) -> None:
        self._session, self._tally = session, tally
        self._url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._away_since: float | None = None
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._banner: msgspec.json.Decoder[RecommendResponse] = msgspec.json.Decoder(
            RecommendResponse
        )
        self._results: msgspec.json.Decoder[EventsResponse] = msgspec.json.Decoder(EventsResponse)

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return the answer to one request for a banner.

        Raises:
            TrafficRefused: a 4xx, or an answer that is none.
            ServiceNotReady, aiohttp.ClientError, OSError: no answer within the patience.
        """
        return await self._post(
            "/recommend", msgspec.json.encode(request), self._banner, timed=True
        )

    async def report(self, events: Sequence[EventIn]) -> tuple[EventResult, ...]:
        """Return what became of events, in their order; raises as `recommend` does."""
        answer = await self._post("/events", msgspec.json.encode(events), self._results)
        if len(answer.results) != len(events):
            raise TrafficRefused(f"{len(answer.results)} results for {len(events)} events")
        return answer.results

    async def _post(
        self, path: str, body: bytes, decoder: msgspec.json.Decoder[M], *, timed: bool = False
    ) -> M:
        async for attempt in stamina.retry_context(
            on=RETRIED,
            attempts=None,
            timeout=self._patience_left(),
            wait_initial=0.05,
            wait_max=1.0,
            wait_jitter=0.25,
        ):
            with attempt:
                self._tally.retries += attempt.num > 1
                return self._read(decoder, await self._seen(path, body, timed=timed))
        raise ServiceNotReady("no try was made")  # pragma: no cover - stamina tries at least once

    def _patience_left(self) -> float:
        if self._away_since is None:
            return self._patience_seconds
        away_seconds = asyncio.get_running_loop().time() - self._away_since
        return max(self._patience_seconds - away_seconds, _ONE_TRY_MORE_SECONDS)

    async def _seen(self, path: str, body: bytes, *, timed: bool) -> bytes:
        """Try once, and remember since when the service has been away."""
        try:
            content = await self._once(path, body, timed=timed)
        except RETRIED:
            if self._away_since is None:
                self._away_since = asyncio.get_running_loop().time()
                log.warning("service_away", path=path)
            raise
        except TrafficRefused:
            self._away_since = None
            raise
        if self._away_since is not None:
            log.info("service_back", path=path)
        self._away_since = None
        return content

    async def _once(self, path: str, body: bytes, *, timed: bool) -> bytes:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self._session.post(
            self._url + path,
            data=body,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=_ONE_TRY_SECONDS),
        ) as answer:
            content = await answer.read()
            if answer.status >= _SERVER_ERROR or answer.status in _TRY_LATER:
                raise ServiceNotReady(f"{path} answered {answer.status}")
            if answer.status >= _CLIENT_ERROR:
                excerpt = content[:_EXCERPT].decode(errors="replace")
                raise TrafficRefused(f"{path} answered {answer.status}: {excerpt}")
        if timed:
            self._tally.latencies.append(loop.time() - started)
        return content

    def _read(self, decoder: msgspec.json.Decoder[M], content: bytes) -> M:
        try:
            return decoder.decode(content)
        except msgspec.MsgspecError as problem:
            raise TrafficRefused(f"the answer cannot be read: {problem}") from problem
