"""Routes that decode and answer bytes themselves, and the measuring of every request."""

import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.request_id import request_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_JSON_TYPE: Final = (b"content-type", b"application/json")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class ByteRoute(APIRoute):
    """A route whose endpoint is called with the request as it is and answers with a response.

    The endpoint reads its body under a limit and decodes it by `schemas.requests`; the framework's
    own parsing, which costs twice as much and answers NaN with a 500, is left out. What the route
    takes and gives is declared in `service.documents`.

    So are the stacks that close what dependencies opened, and a second handling of exceptions:
    there are no dependencies, and the app handles every exception around its routes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
        super().__init__(*args, **kwargs)
        # The framework's `$` lets a line break follow and its `path` ends at one: /metrics%0A would
        # be /metrics to this app and another path to the proxy that keeps it inside.
        whole = self.path_regex.pattern.removesuffix("$") + r"\Z"
        self.path_regex = re.compile(whole, re.DOTALL)
        self.app = _answering(cast(Handler, self.endpoint))

    def get_route_handler(self) -> Handler:
        """Return the endpoint itself."""
        return cast(Handler, self.endpoint)


def _answering(endpoint: Handler) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


class JsonBytes(Response):
    """JSON that is bytes already, with the headers it needs and no others."""

    def __init__(self, body: bytes, status_code: int = 200) -> None:
        # Not through the base class, which encodes the same headers anew for every answer.
        self.status_code = status_code
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _JSON_TYPE]


class Measured:
    """ASGI middleware: counts every request by route, method and code, and times it.

    It also reads the id that a request came with into its scope (`request_id`), and gives the
    answer the id that stands there in the end.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; see what is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._timer()
        code = 500
        given = request_id(scope["headers"])
        if given is not None:
            scope["request_id"] = given

        async def observed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if (named := scope.get("request_id")) is not None:
                    message["headers"].append((b"x-request-id", named.encode()))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = scope.get("route")
            template = "unmatched" if route is None else route.path_format
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requested(template, method, code, self._timer() - started)
