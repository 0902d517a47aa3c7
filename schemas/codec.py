"""Bytes to messages and back: JSON, one decoder per topic, and one sentence for what is wrong."""

import re
from typing import Any, Final, TypeVar

import msgspec

from schemas.errors import SchemaError, UnknownSchemaVersion
from schemas.events import DeadLetter, Event
from schemas.policies import Announcement, Live, Manifest
from schemas.products import ProductRecord
from schemas.rewards import Reward

M = TypeVar("M")
encode: Final = msgspec.json.Encoder().encode
_EVENTS: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_REWARDS: Final = msgspec.json.Decoder(Reward)
_PRODUCTS: Final[msgspec.json.Decoder[ProductRecord]] = msgspec.json.Decoder(ProductRecord)
_ANNOUNCEMENTS: Final = msgspec.json.Decoder(Announcement)
_MANIFESTS: Final = msgspec.json.Decoder(Manifest)
_LIVE: Final = msgspec.json.Decoder(Live)
_DEAD: Final = msgspec.json.Decoder(DeadLetter)
_VERSION_PATH: Final = re.compile(r"\$\.schema_version`?$")


def _decode(decoder: msgspec.json.Decoder[M], data: bytes | None) -> M:
    if data is None:
        raise SchemaError("a tombstone has no content")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as problem:
        if _VERSION_PATH.search(str(problem)):
            raise UnknownSchemaVersion(f"{problem}; upgrade this process") from problem
        raise SchemaError(str(problem)) from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise SchemaError(f"not JSON: {problem}") from problem


def decode_event(data: bytes | None) -> Event:
    """Return the event of a record of topic `events`.

    Raises:
        SchemaError: the bytes are no event; the text says where and why.
    """
    return _decode(_EVENTS, data)


def decode_reward(data: bytes | None) -> Reward:
    """Return the reward of a record of topic `rewards`; raises SchemaError."""
    return _decode(_REWARDS, data)


def decode_product(data: bytes | None) -> ProductRecord:
    """Return the upsert or removal of a record of topic `products`; raises SchemaError."""
    return _decode(_PRODUCTS, data)


def decode_announcement(data: bytes | None) -> Announcement:
    """Return the announcement of a record of topic `policies`; raises SchemaError."""
    return _decode(_ANNOUNCEMENTS, data)


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest of a snapshot; raises SchemaError."""
    return _decode(_MANIFESTS, data)


def decode_live(data: bytes) -> Live:
    """Return the live pointer; raises SchemaError."""
    return _decode(_LIVE, data)


def decode_dead_letter(data: bytes | None) -> DeadLetter:
    """Return the dead letter of a record of topic `events.dead`; raises SchemaError."""
    return _decode(_DEAD, data)


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every message that crosses a process, by file name."""
    from schemas import requests

    return {
        "events.json": msgspec.json.schema(Event),
        "events.dead.json": msgspec.json.schema(DeadLetter),
        "rewards.json": msgspec.json.schema(Reward),
        "products.json": msgspec.json.schema(ProductRecord),
        "policies.json": msgspec.json.schema(Announcement),
        "manifest.json": msgspec.json.schema(Manifest),
        "live.json": msgspec.json.schema(Live),
        "recommend.request.json": msgspec.json.schema(requests.RecommendRequest),
        "recommend.response.json": msgspec.json.schema(requests.RecommendResponse),
        "events.request.json": msgspec.json.schema(list[requests.EventIn]),
        "events.response.json": msgspec.json.schema(requests.EventsResponse),
    }
