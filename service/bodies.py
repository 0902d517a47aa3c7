"""Bodies of requests: read under a limit before anything is parsed, then decoded strictly."""

import re
from collections.abc import Sized
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from schemas.limits import EVENTS_PER_REQUEST
from schemas.products import ProductIn
from schemas.requests import EventIn, RecommendRequest
from service.errors import BodyNotSupported, BodyTooLarge, NotJson, RequestNotValid

T = TypeVar("T")
JSON: Final = frozenset({"application/json"})
BEACON: Final = frozenset({"application/json", "text/plain"})
"""`navigator.sendBeacon` sends text/plain, which needs no CORS preflight."""
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_CHARSET: Final = re.compile(r"""charset\s*=\s*"?([^\s;"]+)""", re.IGNORECASE)
_RECOMMEND: Final = msgspec.json.Decoder(RecommendRequest)
_PRODUCTS: Final = msgspec.json.Decoder(list[ProductIn])
_EVENTS: Final = msgspec.json.Decoder(list[EventIn])
_RAW: Final = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT: Final = msgspec.json.Decoder(EventIn)
_LOOSE: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()
_LONGEST_ECHO: Final = 128


class Unreadable(msgspec.Struct, frozen=True):
    """An event of a list that is not valid: its id, where that can be read, and why."""

    event_id: str | None
    reason: str


async def read_body(request: Request, limit_bytes: int, media_types: frozenset[str]) -> bytes:
    """Return the whole body.

    Raises:
        BodyNotSupported: another media type, charset or encoding.
        BodyTooLarge: more than `limit_bytes`, whether declared or sent.
    """
    for name, value in request.scope["headers"]:  # once, not once per header
        if name == b"content-type":
            _check_media_type(value.decode("latin-1"), media_types)
        elif name == b"content-length":
            if not value.isdigit() or int(value[:20]) > limit_bytes:
                raise BodyTooLarge(f"at most {limit_bytes} bytes")
        elif name == b"content-encoding" and value != b"identity":
            raise BodyNotSupported("send the body without a content-encoding")
    return await _received(request, limit_bytes)


async def _received(request: Request, limit_bytes: int) -> bytes:
    received: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise BodyTooLarge(f"at most {limit_bytes} bytes")
        received.append(chunk)
        if not message.get("more_body", False):
            return received[0] if len(received) == 1 else b"".join(received)


def _check_media_type(content_type: str, media_types: frozenset[str]) -> None:
    if content_type in media_types:
        return
    essence, _, parameters = content_type.partition(";")
    charset = _CHARSET.search(parameters)
    if essence.strip().lower() not in media_types or (
        charset is not None and charset[1].lower() not in _CHARSETS
    ):
        raise BodyNotSupported(f"send {' or '.join(sorted(media_types))} in UTF-8")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as fault:
        raise RequestNotValid(str(fault)) from fault
    except UnicodeDecodeError as fault:
        raise NotJson("not JSON: the body is not UTF-8") from fault
    except (msgspec.DecodeError, RecursionError) as fault:
        raise NotJson(f"not JSON: {fault}") from fault


def decode_recommend(body: bytes) -> RecommendRequest:
    """Return the context; raises NotJson or RequestNotValid."""
    return _decode(_RECOMMEND, body)


def decode_products(body: bytes) -> list[ProductIn]:
    """Return the products of a list, all or none; raises NotJson or RequestNotValid."""
    return _decode(_PRODUCTS, body)


def decode_events(body: bytes) -> list[EventIn | Unreadable]:
    """Return the events of a list; one that is not valid does not cost the others.

    Raises:
        NotJson: the list as a whole cannot be read.
        RequestNotValid: the body is no list, or a list of too many events.
    """
    try:
        events = _EVENTS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [read_event(raw) for raw in raw_events(body)]
    _check_count(events)
    return list(events)


def raw_events(body: bytes) -> list[bytes]:
    """Return the events of a list, not yet decoded.

    Counted before any is looked at: what is no event costs far more than what is one.

    Raises:
        NotJson: the list as a whole cannot be read.
        RequestNotValid: the body is no list, or a list of too many events.
    """
    raws = _decode(_RAW, body)
    _check_count(raws)
    return [bytes(raw) for raw in raws]


def _check_count(events: Sized) -> None:
    if len(events) > EVENTS_PER_REQUEST:
        raise RequestNotValid(f"at most {EVENTS_PER_REQUEST} events in one list")


def read_event(raw: bytes) -> EventIn | Unreadable:
    """Return one event, or why it is none."""
    try:
        return _EVENT.decode(raw)
    except UnicodeDecodeError:
        return Unreadable(None, "not UTF-8")
    except (msgspec.DecodeError, RecursionError) as fault:
        return Unreadable(_event_id(raw), str(fault))


def _event_id(raw: bytes) -> str | None:
    try:
        found = _LOOSE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    event_id = found.get("event_id") if isinstance(found, dict) else None
    return event_id[:_LONGEST_ECHO] if isinstance(event_id, str) else None
