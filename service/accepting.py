"""Takes new connections while others keep the event loop busy.

The loop's own servers take one connection a turn, and under load a turn is tens of milliseconds:
new clients would wait for seconds behind clients that came before them.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Callable
from typing import Final

import structlog
import uvicorn

log = structlog.get_logger(__name__)
_AT_ONCE: Final = 32
"""Taken in a turn that comes in time."""
_TURN_SECONDS: Final = 0.002
"""Then a queue that others share is left alone for so long: they get their part of it."""
_AT_ONCE_LATE: Final = 256
"""In one that comes late, at most."""
_PAUSE_SECONDS: Final = 0.2
"""While there are as many as may be."""
_OTHER_FILES: Final = 256
"""Kept free for everything else that the process opens: the log, histories, snapshots."""
_ARRIVING_SECONDS: Final = 1.0
"""Before the end, connections that are open have so long to send one more request: its answer says
that it is the last one, so that clients let go of a connection before it is closed."""
_LOOK_SECONDS: Final = 0.05
_READING_TURNS: Final = 2
"""Then what came while this process stood still, its time already over, is read: the loop looks at
its clock before it looks at its sockets."""


def at_once(late_seconds: float) -> int:
    """Return how many callers to take in a turn that comes so late: as many as in the turns missed.

    Of 32 a turn, where turns take a tenth of a second, two thousand callers would wait for six.

    Example:
        >>> at_once(-0.001), at_once(0.0045), at_once(0.1)
        (32, 96, 256)
    """
    missed = int(max(late_seconds, 0.0) / _TURN_SECONDS)
    return min(_AT_ONCE_LATE, _AT_ONCE * (1 + missed))


class Acceptor:
    """Takes connections from a listening socket and gives each a protocol; for one event loop.

    Args:
        listener: callers wait in its queue while there are too many.
        protocol: makes one for a connection.
        has_room: whether one more may be open.
        is_shared: other processes take from the same queue.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        has_room: Callable[[], bool] = lambda: True,
        *,
        is_shared: bool = False,
    ) -> None:
        self._listener, self._protocol, self._has_room = listener, protocol, has_room
        self._is_shared, self._is_full = is_shared, False
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._opening: set[asyncio.Task[object]] = set()
        self._is_closed = False
        listener.setblocking(False)
        self._loop.add_reader(listener, self._look)

    def close(self) -> None:
        """Take no more."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Return when what was taken has its protocol."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _look(self) -> None:
        """Take who has come."""
        # Who shares the queue and had nothing to do must not take everybody for that.
        self._take(_AT_ONCE if self._is_shared else at_once(self._loop.time() - self._due))

    def _take(self, most: int) -> None:
        taken, full = 0, ""
        for _ in range(most):
            if not self._has_room():
                full = "as many connections as the limit of open files allows"
                break
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as problem:
                full = str(problem)
                break
            taken += 1
            connection.setblocking(False)
            opening = self._loop.create_task(
                self._loop.connect_accepted_socket(self._protocol, connection)
            )
            self._opening.add(opening)
            opening.add_done_callback(self._opened)
        if full and not self._is_full:  # said once, until a turn ends with room left
            log.warning("no_connection_taken", reason=full)
        self._is_full = bool(full)
        pause = _PAUSE_SECONDS if full else _TURN_SECONDS
        self._due = self._loop.time() + pause
        if full or (taken and self._is_shared):
            self._loop.remove_reader(self._listener)
            self._loop.call_later(pause, self._go_on)

    def _go_on(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._look)
            self._take(at_once(self._loop.time() - self._due))

    def _opened(self, opening: "asyncio.Task[object]") -> None:
        self._opening.discard(opening)
        if not opening.cancelled() and opening.exception() is not None:
            log.warning("connection_not_opened", reason=str(opening.exception()))


def connections_allowed() -> int:
    """Return how many connections may be open at once; other files are left their share."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - _OTHER_FILES, soft // 2)


class Server(uvicorn.Server):
    """uvicorn's server with acceptors of its own, which answers whom it has taken.

    uvicorn would close connections whose request has not arrived yet when the end comes.

    Args:
        config: what to serve, and how.
        is_shared: other processes take from the same sockets.
    """

    def __init__(self, config: uvicorn.Config, *, is_shared: bool = False) -> None:
        super().__init__(config)
        self._is_shared = is_shared

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; callers wait in the sockets' queues until then."""
        await super().startup(sockets=[])
        config = self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        if not self.should_exit:
            room = connections_allowed()
            open_ = self.server_state.connections
            acceptors = [
                Acceptor(listener, protocol, lambda: len(open_) < room, is_shared=self._is_shared)
                for listener in sockets or ()
            ]
            self.servers = acceptors  # type: ignore[assignment]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody more, let who is connected ask once more, then end as uvicorn does."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        loop = asyncio.get_running_loop()
        ends = loop.time() + _ARRIVING_SECONDS
        for server in self.servers:
            await server.wait_closed()
        while self.server_state.connections and loop.time() < ends:  # noqa: ASYNC110 - no event
            await asyncio.sleep(_LOOK_SECONDS)
        for _ in range(_READING_TURNS):
            await asyncio.sleep(0)
        await super().shutdown(sockets)
