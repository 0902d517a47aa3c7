"""One client's connection: uvicorn's own, that refuses early and waits for nobody for ever.

A refusal is written from the request's head alone: no task, no body, no route. Timeouts are kept by
one look over all connections a second instead of a timer for each request: uvicorn gives every
request a list of headers of its own, so a connection that shows the same one as at an earlier look
has stood still.
"""

import select
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service import refusals
from service.admission import Admission, Lane
from service.limits import network
from service.protocol import Protocol
from service.request_id import request_id

SLOW_REQUEST: Final = "slow_request"
SLOW_READER: Final = "slow_reader"
PIPELINED: Final = "pipelined"
NOT_HTTP: Final = "not_http"
_HEADERS_COMPLETE: Final = HttpToolsProtocol.on_headers_complete
_MESSAGE_COMPLETE: Final = HttpToolsProtocol.on_message_complete
_RESPONSE_COMPLETE: Final = HttpToolsProtocol.on_response_complete
_AT_ONCE: Final = 8
"""Requests of one connection under way at most; browsers send one, pools of clients one."""
_TIMED_EACH: Final = 8
"""Of so many requests under way one is timed: the others would only cost."""
_GONE: Final = getattr(select, "POLLRDHUP", 0)
"""Asked of a socket beside errors; Linux alone tells whether its other end was closed."""
_TICKS: Final = 10
"""Times to send refusals within the time they are held back."""


class _Event:
    def set(self) -> None:
        """Nobody waits."""


class _Refused:
    """Stands where uvicorn keeps the request that is answered: this one has been."""

    response_complete = True
    message_event = _Event()


_REFUSED: Final[Any] = _Refused()


class Door:
    """When refusals are sent, and the look over all connections; for one event loop.

    Args:
        admission: who is let in.
        proxies: knows which proxies are trusted.
    """

    def __init__(self, admission: Admission, proxies: ProxyHeadersMiddleware) -> None:
        self.admission = admission
        self._trusted = proxies.trusted_hosts
        self._due: deque[list[Connection]] = deque([] for _ in range(2 * _TICKS))
        self._tick_seconds = admission.settings.refusal_seconds / _TICKS
        self._next = 0
        self._ticks = self._looks = False

    def guest(self, address: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the network that a request comes from; "" is a trusted proxy's own."""
        if address in self._trusted:
            named = b",".join(value for name, value in headers if name == b"x-forwarded-for")
            address = self._trusted.get_trusted_client_address(named.decode("latin-1"))[0]
        return network(address)

    def opened(self, loop: AbstractEventLoop, connections: Iterable[Any]) -> None:
        """Look over the connections from now on, until there are none."""
        if not self._looks:
            self._looks = True
            loop.call_later(self.admission.settings.watch_seconds, self._look, loop, connections)

    def _look(self, loop: AbstractEventLoop, connections: Iterable[Any]) -> None:
        every = [one for one in connections if isinstance(one, Connection)]
        now = self.admission.monotonic()
        self.admission.look()
        for connection in every:
            connection.look(now)
        self._looks = False
        if every:
            self.opened(loop, connections)

    def refuse_later(self, loop: AbstractEventLoop, connection: "Connection") -> None:
        """Send a refusal some time from now.

        Refusals of one moment are spread, so that who comes again at once does not come with all
        the others, when most would be refused again and nobody be there a moment later.
        """
        self._next = (self._next + 1) % _TICKS
        self._due[_TICKS // 2 + self._next].append(connection)
        if not self._ticks:
            self._ticks = True
            loop.call_later(self._tick_seconds, self._send, loop)

    def _send(self, loop: AbstractEventLoop) -> None:
        due = self._due.popleft()
        self._due.append([])
        for connection in due:
            connection.send_refusals()
        self._ticks = any(self._due)
        if self._ticks:
            loop.call_later(self._tick_seconds, self._send, loop)


class Connection(Protocol):
    """Counts what is under way, refuses what is too much, and closes who keeps it waiting."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
        *,
        door: Door,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door, self._admission = door, door.admission
        self._lane_of = door.admission.lane
        self._lane: Lane | None = None
        self._entered: list[Lane | None] = []
        self._guests: list[str] = []
        self._timed_since = 0.0
        self._refusals: list[str | None] = []
        self._is_first, self._is_last, self._is_bare = True, False, False
        self._whole: Any = None
        self._answering: Any = None
        self._watched: Any = self
        self._watched_since = self._unsent_since = 0.0

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Begin to be looked at."""
        super().connection_made(transport)
        self._door.opened(self.loop, self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what was counted."""
        super().connection_lost(exc)
        self._abandon()
        for lane in self._entered:
            self._leave(lane)
        self._entered.clear()

    # Written out rather than short: these run on every request.

    def on_headers_complete(self) -> None:
        """Refuse the request, or let uvicorn answer it."""
        self._in_head, self._held_bytes = False, 0
        if len(self._entered) >= _AT_ONCE:
            self._cut()
            return
        self._lane = lane = self._lane_of(self.url, self.headers)
        is_first, self._is_first = self._is_first, False
        if lane is not None:
            # In a crowd many leave before they were heard: who came for one answer alone.
            if is_first and lane.only_answers and self._has_left():
                self._admission.left()
                self._end()
                return
            if (lane.under_way >= lane.limit or self._refusals) and self._is_free():
                self._turn_away(lane)
                return
            if lane.waits_for_body and not self._enter(lane):
                return
        elif self._refusals:
            self._turn_away(None)
            return
        _HEADERS_COMPLETE(self)

    def on_message_complete(self) -> None:
        """Count the request from now on."""
        self._is_reading = False
        _MESSAGE_COMPLETE(self)
        self._whole = self.headers
        if self.cycle.response_complete:  # refused, or answered before its body had come
            return
        lane = self._lane
        if lane is None:
            self._entered.append(None)
        elif not lane.waits_for_body:
            lane.under_way += 1
            if lane.is_timed and not lane.under_way % _TIMED_EACH and not self._entered:
                self._timed_since = self._admission.monotonic()
            self._entered.append(lane)

    def on_response_complete(self) -> None:
        """Count it no more."""
        if self._entered:  # else it was answered before its body had come
            lane = self._entered.pop(0)
            self._leave(lane)
            if lane is not None and self._timed_since:
                lane.took(self._admission.monotonic() - self._timed_since)
                self._timed_since = 0.0
        _RESPONSE_COMPLETE(self)

    def _enter(self, lane: Lane) -> bool:
        """Take a place that is held while the body comes; False: there was none."""
        guest = self._door.guest(self.client[0] if self.client else "", self.headers)
        if lane.has_place(guest):
            lane.enter(guest)
            self._entered.append(lane)
            self._guests.append(guest)
            return True
        if self._is_free():
            self._turn_away(lane)
        else:
            self._cut()
        return False

    def _leave(self, lane: Lane | None) -> None:
        if lane is None:
            return
        if lane.waits_for_body:
            lane.leave(self._guests.pop(0))
        else:
            lane.under_way -= 1

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        self._answering = cycle
        cycle.scope["has_left"] = self.transport.is_closing
        super()._start_asgi_task(cycle, app)

    def _abandon(self) -> None:
        """Tell the request that is answered; uvicorn tells the last one that came alone."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _cut(self) -> None:
        """End the connection: what it sent before its answers would pass by every bound."""
        if not self.transport.is_closing():
            self._admission.refuse(PIPELINED)
        self._end()

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
            self._abandon()
        self.cycle = _REFUSED  # what is still read of this piece is for nobody

    def _has_left(self) -> bool:
        """Return whether the client has closed the connection; asks the system, reads nothing."""
        socket = select.poll()
        socket.register(self.transport.get_extra_info("socket").fileno(), _GONE)
        return bool(socket.poll(0))

    def _is_free(self) -> bool:
        """Return True when nothing else is to be answered first."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def shutdown(self) -> None:
        """Close the connection after what is still to be answered."""
        if self._refusals:
            self._is_last = True
        else:
            super().shutdown()

    def _turn_away(self, lane: Lane | None) -> None:
        self.cycle = _REFUSED
        self._admission.refuse(PIPELINED if lane is None else lane.reason)
        if self._is_last:  # nothing is answered after that
            return
        if len(self._refusals) >= _AT_ONCE:
            self._cut()
            return
        # A body after the answer to HEAD would be taken for the next answer.
        self._is_bare = self.parser.get_method() == b"HEAD"
        self._is_last = self._is_bare or not self.parser.should_keep_alive()
        self._refusals.append(request_id(self.headers))
        if len(self._refusals) == 1:
            self._door.refuse_later(self.loop, self)

    def send_refusals(self) -> None:
        """Send what has been waiting."""
        waiting, self._refusals = self._refusals, []
        if self.transport.is_closing():
            return
        last = refusals.busy(waiting.pop(), refusals.CLOSE) if self._is_last else None
        every = b"".join(refusals.BUSY if one is None else refusals.busy(one) for one in waiting)
        if last is None:
            self.transport.write(every)
            return
        head, end, body = last.partition(b"\r\n\r\n")
        self.transport.write(every + head + end + (b"" if self._is_bare else body))
        self.transport.close()

    def look(self, now: float) -> None:
        """Close the connection when it has kept the process waiting for too long."""
        settings = self._admission.settings
        if self._keeps_unread(now):
            self._admission.refuse(SLOW_READER)
            self.transport.abort()
        elif self._refusals or self.transport.is_closing():
            return
        elif self._watched is not self.headers:  # another request than at the last look
            self._watched, self._watched_since = self.headers, now
        elif self.headers is not self._whole:
            if now - self._watched_since > settings.request_seconds:
                self._give_up()
        elif (
            (self.cycle is None or self.cycle.response_complete)
            and self.timeout_keep_alive_task is None
            and now - self._watched_since > settings.idle_seconds
        ):
            self.transport.close()

    def _keeps_unread(self, now: float) -> bool:
        if not self.transport.get_write_buffer_size():
            self._unsent_since = 0.0
            return False
        self._unsent_since = self._unsent_since or now
        return now - self._unsent_since > self._admission.settings.answer_seconds

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        if not self.transport.is_closing():
            self._admission.refuse(NOT_HTTP)
        super()._refuse(status, detail)

    def _give_up(self) -> None:
        self._admission.refuse(SLOW_REQUEST)
        if self._answers_nothing():
            self.transport.write(refusals.too_slow(request_id(self.headers or ())))
        self.transport.close()

    def _answers_nothing(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete or not cycle.response_started
