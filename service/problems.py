"""Errors as `application/problem+json` (RFC 9457), from one table of exception to status."""

import secrets
from collections.abc import Mapping
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from schemas.problems import MEDIA_TYPE, problem_body
from service import errors

log = structlog.get_logger(__name__)
STATUS: Final[Mapping[type[Exception], int]] = {
    errors.NotJson: 400,
    errors.KeyNotGiven: 401,
    errors.ScopeNotGiven: 403,
    errors.ProductNotKnown: 404,
    errors.BodyTooLarge: 413,
    errors.BodyNotSupported: 415,
    errors.RequestNotValid: 422,
    errors.PinRefused: 422,
    errors.KeyOverRate: 429,
    errors.NotReady: 503,
    errors.TryLater: 503,
}
_HEADERS: Final[Mapping[type[Exception], Mapping[str, str]]] = {
    errors.KeyNotGiven: {"www-authenticate": "Bearer"},
    errors.NotReady: {"retry-after": "1"},
    errors.TryLater: {"retry-after": "1"},
    # The rest of an oversized body is not read, so the connection cannot be used again.
    errors.BodyTooLarge: {"connection": "close"},
}


def problem(
    request: Request, status: int, detail: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error's response; the request then has an id, the caller's or a new one."""
    request_id = request.scope.setdefault("request_id", secrets.token_hex(8))
    body = problem_body(status, detail, request_id=request_id)
    log.debug("request_refused", request_id=request_id, route=_template(request), status=status)
    return Response(body, status, headers, MEDIA_TYPE)


async def _refused(request: Request, error: Exception) -> Response:
    kind = type(error)
    own = error.headers if isinstance(error, errors.KeyOverRate) else None
    return problem(request, STATUS[kind], str(error), own or _HEADERS.get(kind))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    return problem(request, error.status_code, None, error.headers)


async def _disconnected(request: Request, __: Exception) -> Response:
    return problem(request, 400, "the body was cut short")  # seen by metrics alone


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nginx's; seen by metrics alone


async def _not_valid(request: Request, error: Exception) -> Response:
    # The framework's own answer echoes the input, which may not be serialisable.
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type alone
    return problem(request, 422, "a parameter of the request is not valid")


async def _failed(request: Request, error: Exception) -> Response:
    response = problem(request, 500, None)
    request_id = request.scope["request_id"]
    log.error("request_failed", request_id=request_id, path=_template(request), exc_info=error)
    # This answer is made outside of every middleware.
    response.headers["x-request-id"] = request_id
    return response


def _template(request: Request) -> str:
    """Return the route's template: a path itself may hold a user's id."""
    return str(getattr(request.scope.get("route"), "path", "unmatched"))


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    for kind in STATUS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(errors.ShopperLeft, _left)
    app.add_exception_handler(Exception, _failed)
