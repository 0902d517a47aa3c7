"""What surrounds every request: security headers on each answer, and how long it took."""

import time
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.metrics import ConsoleMetrics


class Watch:
    """ASGI middleware.

    Args:
        app: what answers.
        metrics: where times go, by route and never by path.
        headers: added to every answer that does not bring its own.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: ConsoleMetrics, headers: Mapping[str, str]
    ) -> None:
        self._app, self._metrics, self._headers = app, metrics, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - started
            method = scope["method"] if route != "other" else "other"
            self._metrics.request_seconds.labels(route, method, str(status)).observe(seconds)
