"""The HTTP contract as a FastAPI app: who may call, what is read, what is answered."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec
import structlog
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from schemas import identity, keys
from schemas.codec import encode
from schemas.events import UserErased
from schemas.limits import BODY_BYTES, RECOMMEND_BYTES, Identifier
from schemas.products import ProductRemoved, ProductUpserted
from schemas.requests import EventIn, EventResult, EventsResponse
from service import bodies, docs_page, documents, problems
from service.api_keys import ApiKeys
from service.appender import Appender
from service.behaviour import Behaviour
from service.errors import NotReady, ProductNotKnown, RequestNotValid, TryLater
from service.intake import Intake, Verdict
from service.judgement import Caller, judged
from service.limits import BrowserRules
from service.metrics import UNREADABLE, Metrics
from service.recommendation import Recommender
from service.routes import ByteRoute, JsonBytes, Measured
from streams.port import Message

log = structlog.get_logger(__name__)
_BREATH: Final = 100
"""Events judged before other requests get a turn."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _nothing_to_own(_: FastAPI) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the app stands on.

    Attributes:
        recommender: answers `/recommend`.
        intake: judges events.
        appender: makes events durable.
        behaviour: what serves, for readiness and the catalogue.
        browser_rules: what events of browsers must keep to.
        api_keys: who may do what.
        metrics: what is counted.
        exposition: gives the text of `/metrics`.
        secret: keys the pseudonyms.
        clock: milliseconds since 1970.
        entropy: gives so many random bytes.
        cors_origins: origins whose pages may call; empty: none but the service's own.
        append_seconds: how long a request waits for the log before it answers 503.
        away_seconds: the same while the log has not taken the last append.
        lifespan: starts and stops what the app stands on.
    """

    recommender: Recommender
    intake: Intake
    appender: Appender
    behaviour: Behaviour
    browser_rules: BrowserRules
    api_keys: ApiKeys
    metrics: Metrics
    exposition: Callable[[], bytes]
    secret: bytes
    clock: Callable[[], int]
    entropy: Callable[[int], bytes]
    cors_origins: Sequence[str] = ()
    append_seconds: float = 10.0
    away_seconds: float = 1.0
    lifespan: Lifespan = _nothing_to_own


def create_app(dependencies: Dependencies) -> FastAPI:
    """Return the service's app; its documentation is made from the same schemas that decode."""
    app = documents.DocumentedApp(
        title="Quintet",
        summary="Five products for every shopper, learned from what shoppers do.",
        version=documents.CONTRACT_VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=dependencies.lifespan,
        redirect_slashes=False,
        # Off, because asking whether anybody listens costs a tenth of an empty request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.route_class = ByteRoute
    # On the app itself: the routes of an included router are matched twice.
    _add_shop_routes(app, dependencies)
    _add_operator_routes(app, dependencies)
    _add_health_routes(app, dependencies)
    problems.install(app)
    if dependencies.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(dependencies.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "traceparent", "x-request-id"],
            expose_headers=["x-request-id"],
            max_age=600,
        )
    app.add_middleware(Measured, metrics=dependencies.metrics)
    return app


def _stays() -> bool:
    return False


class _Named(msgspec.Struct):
    recommendation_id: str


def _ids(request: Request, recommendation_id: str | None) -> dict[str, str | None]:
    """Return what a request can be followed by: through our log, and through the ring."""
    return {
        "request_id": request.scope.get("request_id"),
        "recommendation_id": recommendation_id,
    }


def _add_shop_routes(app: FastAPI, on: Dependencies) -> None:
    # Asked once: even a line that is not written costs a request something.
    traced = log.is_enabled_for(logging.DEBUG)

    @app.post("/recommend", **documents.RECOMMEND)
    async def recommend(request: Request) -> Response:
        on.api_keys.require(request, keys.RECOMMEND, now_ms=on.clock())
        body = await bodies.read_body(request, RECOMMEND_BYTES, bodies.JSON)
        has_left = request.scope.get("has_left", _stays)  # of `service.connections`
        answer = await on.recommender.recommend(bodies.decode_recommend(body), has_left)
        if traced:
            made = msgspec.json.decode(answer, type=_Named)
            log.debug("recommended", **_ids(request, made.recommendation_id))
        return JsonBytes(answer)

    @app.post("/events", **documents.EVENTS)
    async def events(request: Request) -> Response:
        scopes = on.api_keys.require(
            request, keys.EVENTS_BROWSER, keys.EVENTS_SERVER, now_ms=on.clock()
        )
        caller = Caller(
            trusted=keys.EVENTS_SERVER in scopes,
            address=request.client.host if request.client else "",
            user_agent=request.headers.get("user-agent", ""),
        )
        body = await bodies.read_body(request, BODY_BYTES, bodies.BEACON)
        results: list[EventResult] = []
        messages: list[Message] = []
        judgements: Counter[tuple[str, str]] = Counter()
        for number, event in enumerate(bodies.decode_events(body), start=1):
            verdict = _judged(on, event, caller)
            if traced and isinstance(event, EventIn):
                ids = _ids(request, event.recommendation_id)
                log.debug("event_judged", type=event.type, outcome=verdict.outcome, **ids)
            messages += verdict.messages
            judgements[_type(event), verdict.outcome] += 1
            results.append(EventResult(
                event_id=event.event_id, outcome=verdict.outcome, reason=verdict.reason
            ))  # fmt: skip
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        if messages:
            await _durable(on, "events", messages)
        on.metrics.judged(judgements)
        return _accepted(EventsResponse(results=tuple(results)))


def _judged(on: Dependencies, event: EventIn | bodies.Unreadable, caller: Caller) -> Verdict:
    if isinstance(event, bodies.Unreadable):
        return Verdict("invalid", event.reason)
    return judged(
        event,
        caller,
        intake=on.intake,
        rules=on.browser_rules,
        rows=on.behaviour.state.catalogue.row_of,
        now_ms=on.clock(),
    )


def _type(event: EventIn | bodies.Unreadable) -> str:
    return UNREADABLE if isinstance(event, bodies.Unreadable) else event.type


async def _durable(on: Dependencies, topic: str, messages: Sequence[Message]) -> None:
    """Return when the messages are durable.

    Raises:
        TryLater: the log did not take them in time.
    """
    # Nobody hangs on a log that is known to be away.
    patience = on.append_seconds if on.appender.available else on.away_seconds
    appended = asyncio.wrap_future(on.appender.append(topic, messages))
    try:
        await asyncio.wait_for(appended, patience)
    except TimeoutError as problem:
        on.appender.doubt()
        raise TryLater("the log did not answer in time; send them again") from problem


def _add_operator_routes(app: FastAPI, on: Dependencies) -> None:
    put: set[str] = set()
    """Products put here that the catalogue may not show yet."""

    @app.put("/products", **documents.PUT_PRODUCTS)
    async def put_products(request: Request) -> Response:
        on.api_keys.require(request, keys.OPERATE, now_ms=on.clock())
        body = await bodies.read_body(request, BODY_BYTES, bodies.JSON)
        products = bodies.decode_products(body)
        messages = [
            Message(product.product_id.encode(), encode(ProductUpserted(product=product)))
            for product in products
        ]
        if messages:
            await _durable(on, "products", messages)
        known = on.behaviour.state.catalogue.row_of
        put.difference_update([product_id for product_id in put if product_id in known])
        put.update(product.product_id for product in products)
        return _accepted(documents.Taken(accepted=len(messages)))

    @app.delete("/products/{product_id:path}", **documents.DELETE_PRODUCT)
    async def delete_product(request: Request) -> Response:
        on.api_keys.require(request, keys.OPERATE, now_ms=on.clock())
        product_id = _identifier(request, "product_id")
        if product_id not in on.behaviour.state.catalogue.row_of and product_id not in put:
            raise ProductNotKnown("no product has this id")
        removed = ProductRemoved(product_id=product_id)
        await _durable(on, "products", [Message(product_id.encode(), encode(removed))])
        return _accepted(documents.Taken(accepted=1))

    @app.delete("/users/{user_id:path}", **documents.DELETE_USER)
    async def delete_user(request: Request) -> Response:
        on.api_keys.require(request, keys.OPERATE, now_ms=on.clock())
        key = identity.user_key(on.secret, _identifier(request, "user_id"))
        now_ms = on.clock()
        erased = UserErased(
            event_id=f"erase-{identity.ulid(now_ms, on.entropy(10))}",
            occurred_at_ms=now_ms,
            user_key=key,
        )
        await _durable(on, "events", [Message(key, encode(erased))])
        return _accepted(documents.Taken(accepted=1))


def _identifier(request: Request, name: str) -> str:
    try:
        # What is not UTF-8 has become another id by now.
        unquote_to_bytes(request.scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError as fault:
        raise RequestNotValid(f"{name}: not UTF-8") from fault
    try:
        found: str = msgspec.convert(request.path_params[name], Identifier)
    except msgspec.ValidationError as fault:
        raise RequestNotValid(f"{name}: {fault}") from fault
    return found


def _accepted(answer: msgspec.Struct) -> Response:
    return JsonBytes(msgspec.json.encode(answer), 202)


def _add_health_routes(app: FastAPI, on: Dependencies) -> None:
    @app.get("/livez", **documents.LIVEZ)
    async def livez(_: Request) -> Response:
        return JsonBytes(b'{"status":"live"}')

    @app.get("/readyz", **documents.READYZ)
    async def readyz(_: Request) -> Response:
        # Neither log nor history count: they would take every replica out at once.
        if not on.behaviour.ready:
            raise NotReady("no weights are loaded and warm yet")
        version = on.behaviour.state.policy_version
        return JsonBytes(f'{{"status":"ready","policy_version":{version}}}'.encode())

    @app.get("/metrics", **documents.METRICS)
    async def metrics(_: Request) -> Response:
        text = await asyncio.to_thread(on.exposition)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    page = cache(lambda: docs_page.page(app.openapi()))

    @app.get("/docs", include_in_schema=False)
    async def docs(_: Request) -> Response:
        return HTMLResponse(
            page(),
            headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )
