"""Errors over HTTP: `application/problem+json` (RFC 9457), one table from error to status.

The texts are ours alone: nothing the caller sent is echoed, so nothing can fail to serialise.
"""

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from console.errors import BadRequest, NotAllowed, PolicyNotFound, RecommendationNotFound
from policy.errors import NoLiveSnapshot, PolicyError, RegistryHeld, SnapshotRejected
from schemas.errors import RecommendationIdNotReadable
from schemas.problems import MEDIA_TYPE, problem_body
from streams.errors import LogUnavailable, TopicMismatch

log = structlog.get_logger(__name__)

STATUS: Final[Mapping[type[Exception], HTTPStatus]] = {
    BadRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    RecommendationIdNotReadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotAllowed: HTTPStatus.FORBIDDEN,
    PolicyNotFound: HTTPStatus.NOT_FOUND,
    RecommendationNotFound: HTTPStatus.NOT_FOUND,
    NoLiveSnapshot: HTTPStatus.CONFLICT,
    RegistryHeld: HTTPStatus.CONFLICT,
    SnapshotRejected: HTTPStatus.CONFLICT,
    PolicyError: HTTPStatus.CONFLICT,
    LogUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    TopicMismatch: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(
    status: int, detail: str | None = None, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem response."""
    return _named(secrets.token_hex(8), status, detail, headers)


def _named(
    request_id: str, status: int, detail: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    body = problem_body(int(status), detail, request_id=request_id)
    return Response(body, int(status), headers, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""

    async def known(_: Request, error: Exception) -> Response:
        status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return problem(status, str(error), headers=headers)

    async def http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return problem(error.status_code, headers=error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        places = sorted({".".join(str(part) for part in one["loc"][:2]) for one in error.errors()})
        return problem(422, f"not readable: {', '.join(places)}")

    async def unknown(request: Request, error: Exception) -> Response:
        # The route's template: a path itself may hold an id.
        route = getattr(request.scope.get("route"), "path", "unmatched")
        request_id = secrets.token_hex(8)
        log.error("request_failed", request_id=request_id, route=route, exc_info=error)
        return _named(request_id, 500, "the console could not answer; its log says why")

    for kind in STATUS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unknown)
