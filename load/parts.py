"""Where a request's time goes: its parts one by one, in this process, in CPU microseconds.

A part is timed in a loop of its own, so with warm caches: in the server the same work costs up to
half as much again. What the parts leave of the server's own time is uvicorn, sockets and that.

Requests that arrive together are answered together, so most parts are timed for a group, and the
figure is for one of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec.json import encode

from load.installation import SECRET, SHOPPERS, Installation
from load.server import build_service, stock_app
from load.shop import product_id, user_id
from policy.kernels import scan
from policy.kernels.layout import TILE, TILE_FLOATS, tile_count
from policy.kernels.scratch import GROUP
from policy.serving import UNIFORMS, Question
from schemas import identity
from schemas.events import Arm
from schemas.requests import RecommendRequest
from service import answer, bodies
from service.arms import ArmRule
from service.behaviour import ServingState
from service.choice import choose_all
from service.record import Banner, Drawn, Issue, recorded
from service.tokens import Tokens
from service.wiring import Service
from streams.port import Log
from streams.topics import EVENTS

TOGETHER: Final = 3 * GROUP
"""Requests of one turn of the server's loop, with 64 connections busy."""
_TURNS_PER_APPEND: Final = 5
_REPEATS: Final = 60
_NOW_MS: Final = 1_700_000_000_000
_WINDOW_SECONDS: Final = 86_400
Parts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Material:
    """What the parts are timed on: a group of requests and everything that one step hands on.

    Attributes:
        sent: bodies of the requests.
        requests: the same, decoded.
        keys: the shoppers' pseudonyms.
        questions: what the policy is asked.
        state: what serves.
    """

    sent: Sequence[bytes]
    requests: Sequence[RecommendRequest]
    keys: Sequence[bytes]
    questions: Sequence[Question]
    state: ServingState


def request_parts(installed: Installation, *, products: int) -> Parts:
    """Return the CPU microseconds of each part of one request at this catalogue size.

    The fastest of many repeats, because what else runs on the machine only ever adds.
    """
    import uvloop

    log = installed.log()
    try:
        return uvloop.run(_timed(build_service(installed, log), installed, log, products))
    finally:
        log.close()


async def _timed(service: Service, installed: Installation, log: Log, products: int) -> Parts:
    while service.watcher.step() or not service.behaviour.ready:
        pass
    reader = installed.histories()
    material = await _material(service, installed, products)
    found = {
        "empty stock endpoint, without uvicorn": await _calls(stock_app(), "GET", "/empty", [b""]),
        "/recommend, without uvicorn and log": await _calls(
            service.app, "POST", "/recommend", material.sent
        ),
        "  decode the request": _each(bodies.decode_recommend, material.sent),
        "  pseudonym": _each(
            lambda request: identity.user_key(SECRET, request.user_id or ""), material.requests
        ),
        "  histories": await _awaited(lambda: reader.read_many(material.keys)),
    }
    await reader.close()
    found |= _draws(material, products)
    found |= _records(material, log)
    inner = sum(value for name, value in found.items() if name.startswith("  ")) - found[_SCAN]
    found["  HTTP and everything between"] = found["/recommend, without uvicorn and log"] - inner
    return found


_SCAN: Final = "    of it the scan of all products"


async def _material(service: Service, installed: Installation, products: int) -> Material:
    rng = np.random.default_rng(3)
    sent = [
        encode({
            "user_id": user_id(int(rng.integers(SHOPPERS))),
            "viewed_product_id": product_id(int(rng.integers(products))),
            "placement": "home",
        })
        for _ in range(TOGETHER)
    ]  # fmt: skip
    requests = [bodies.decode_recommend(body) for body in sent]
    keys = [identity.user_key(SECRET, request.user_id or "") for request in requests]
    reader = installed.histories()
    packed = await reader.read_many(keys)
    await reader.close()
    state = service.behaviour.state
    rows = [state.catalogue.row_of[request.viewed_product_id or ""] for request in requests]
    questions = [
        Question(
            row, history if isinstance(history, bytes) else b"", state.catalogue.eligible(),
            np.array([row], np.int32), 5,
        )
        for row, history in zip(rows, packed, strict=True)
    ]  # fmt: skip
    return Material(sent, requests, keys, questions, state)


def _draws(material: Material, products: int) -> Parts:
    rng = np.random.default_rng(4)
    asked: list[tuple[Arm, Question]] = [("policy", question) for question in material.questions]
    tiles = np.zeros(tile_count(products) * TILE_FLOATS, np.float32)
    terms = np.zeros((GROUP, tile_count(products) * TILE), np.float32)
    users, scores = np.zeros((GROUP, 32), np.float32), np.zeros_like(terms)
    return {
        "  draw the banners": _group(
            lambda: choose_all(
                material.state, asked, uniforms=lambda draws: rng.random((draws, UNIFORMS)),
                failed=lambda: None,
            )
        ),
        _SCAN: _group(
            lambda: scan.multiply(tiles, users, terms, scores, GROUP), size=GROUP
        ),
    }  # fmt: skip


def _records(material: Material, log: Log) -> Parts:
    arms, tokens = ArmRule(SECRET), Tokens([SECRET], window_seconds=_WINDOW_SECONDS)
    asked: list[tuple[Arm, Question]] = [("policy", question) for question in material.questions]
    choices = choose_all(
        material.state, asked, uniforms=lambda draws: np.full((draws, UNIFORMS), 0.5),
        failed=lambda: None,
    )  # fmt: skip

    def issue(key: bytes) -> Issue:
        ulid = identity.ulid(_NOW_MS, key + b"00")
        return Issue(_NOW_MS, key, key, ulid, arms.assign(key, ulid, _NOW_MS))

    issues = [issue(key) for key in material.keys]
    whole = list(zip(material.requests, issues, material.questions, choices, strict=True))

    def record(each: Any) -> Any:  # noqa: ANN401 - a line of `whole`
        request, issued, question, choice = each
        banner = Banner(tuple(choice.rows), tuple(choice.log_probs), None)
        return recorded(request, issued, material.state.catalogue, question, choice, banner)

    facts = [record(each) for each in whole]
    drawn = [Drawn(fact, issued.key) for fact, issued in zip(facts, issues, strict=True)]
    messages = [each.message() for each in drawn] * _TURNS_PER_APPEND
    fragments = material.state.catalogue.fragments
    return {
        "  arm and id": _each(issue, material.keys),
        "  make the record": _each(record, whole),
        "  token": _each(
            lambda fact: tokens.issue(fact.recommendation_id, fact.product_ids, _NOW_MS), facts
        ),
        "  answer": _each(
            lambda fact: answer.answer(
                recommendation_id=fact.recommendation_id,
                fragments=[fragments[row] for row in fact.rows],
                policy_version=fact.policy_version, arm=fact.arm, source=fact.source, reason=None,
                attribution_token="x" * 70, expires_at=answer.expiry(_NOW_MS // 1000),
            ),
            facts,
        ),
        "encode the record (the appender's thread)": _each(Drawn.message, drawn),
        "append it, in a group (the appender's thread)": _group(
            lambda: log.append(EVENTS.name, messages), size=len(messages)
        ),
    }  # fmt: skip


def _group(step: Callable[[], object], *, size: int = TOGETHER) -> float:
    """Return the microseconds of a step over a group, for one of it."""
    step()
    taken = []
    for _ in range(_REPEATS):
        started = time.thread_time_ns()
        step()
        taken.append(time.thread_time_ns() - started)
    return min(taken) / size / 1e3


def _each(step: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the microseconds of a step for one item."""
    return _group(lambda: [step(item) for item in items], size=len(items))


async def _awaited(step: Callable[[], Awaitable[object]], *, size: int = TOGETHER) -> float:
    await step()
    taken = []
    for _ in range(_REPEATS):
        started = time.thread_time_ns()
        await step()
        taken.append(time.thread_time_ns() - started)
    return min(taken) / size / 1e3


async def _calls(app: Any, method: str, path: str, sent: Sequence[bytes]) -> float:  # noqa: ANN401
    """Return the microseconds of one of a group of ASGI calls at once."""

    async def call(body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            pass

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)

    return await _awaited(lambda: asyncio.gather(*(call(body) for body in sent)), size=len(sent))
