"""What `/openapi.json` says of every route, from the schemas that decode and encode."""

from collections.abc import Iterable
from typing import Any, Final, TypedDict

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas.problems import MEDIA_TYPE, Problem
from schemas.products import ProductIn
from schemas.requests import EventIn, EventsResponse, RecommendRequest, RecommendResponse

CONTRACT_VERSION: Final = "1.0.0"
_REF: Final = "#/components/schemas/{name}"
Json = dict[str, Any]


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """How many records were made durable."""

    accepted: int


class Documented(TypedDict, total=False):
    """What a route is declared with."""

    operation_id: str
    summary: str
    tags: list[str | Any]
    status_code: int
    responses: dict[int | str, Json]
    openapi_extra: Json


TYPES: Final = (
    RecommendRequest, RecommendResponse, list[EventIn], EventsResponse, list[ProductIn], Taken,
    Problem,
)  # fmt: skip
_SCHEMAS, _COMPONENTS = msgspec.json.schema_components(TYPES, ref_template=_REF)
SCHEMA_OF: Final = dict(zip(map(str, TYPES), _SCHEMAS, strict=True))
_ERRORS: Final = {
    400: "Not JSON.",
    401: "No known API key was sent.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    408: "The request did not come whole in time.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    422: "The body breaks the contract; `detail` says where.",
    429: "The key calls more often than it may; `Retry-After` says when to come back.",
    503: "Not now; `Retry-After` says when to try again.",
}
_BODY_ERRORS: Final = (400, 401, 403, 408, 413, 415, 422, 429)


def _schema(kind: Any) -> Json:  # noqa: ANN401 - a type or a list of a type
    return SCHEMA_OF[str(kind)]


def _problems(codes: Iterable[int]) -> dict[int | str, Json]:
    content = {MEDIA_TYPE: {"schema": _schema(Problem)}}
    return {code: {"description": _ERRORS[code], "content": content} for code in codes}


def _content(kind: Any, example: object, *media_types: str) -> Json:  # noqa: ANN401
    return {
        media: {"schema": _schema(kind), "example": example}
        for media in media_types or ("application/json",)
    }


def _body(kind: Any, example: object, *media_types: str) -> Json:  # noqa: ANN401
    return {"requestBody": {"required": True, "content": _content(kind, example, *media_types)}}


def _parameter(name: str) -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": 128}
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": schema}]}


_BANNER_EXAMPLE: Final = {
    "recommendation_id": "01JD8Z6S41TSV4RRFFQ69G5FAV-9f86d081884c7d65",
    "products": [
        {"product_id": "p3", "position": 0, "title": "Whole milk", "category": "dairy/milk",
         "brand": None, "price_cents": 129, "image_url": None},
    ],
    "policy_version": 1234,
    "arm": "policy",
    "source": "policy",
    "reason": "fewer_than_five_eligible",
    "attribution_token": "n4bQgQ...",
    "expires_at": "2026-11-23T17:00:00Z",
}  # fmt: skip
_EVENT_EXAMPLES: Final = [
    {"event_id": "c-1", "type": "click", "product_id": "p3",
     "recommendation_id": "01JD8Z6S41TSV4RRFFQ69G5FAV-9f86d081884c7d65",
     "attribution_token": "n4bQgQ...", "occurred_at": "2026-11-22T17:00:03Z"},
    {"event_id": "o-1", "type": "purchase", "user_id": "u1", "order_id": "o1",
     "items": [{"product_id": "p3", "quantity": 1, "price_cents": 129}],
     "occurred_at": "2026-11-22T17:04:00Z"},
]  # fmt: skip

_CLICKED: Final = {
    "operationId": "report_events",
    "description": "Report a click on the banner's first product.",
    "requestBody": [{
        "event_id": "$response.body#/recommendation_id",
        "type": "click",
        "recommendation_id": "$response.body#/recommendation_id",
        "attribution_token": "$response.body#/attribution_token",
        "product_id": "$response.body#/products/0/product_id",
        "occurred_at": "2026-11-22T17:00:03Z",
    }],
}  # fmt: skip
_REMOVED: Final = {
    "operationId": "delete_product",
    "parameters": {"product_id": "$request.body#/0/product_id"},
}

RECOMMEND: Final = Documented(
    operation_id="recommend",
    summary="Five products for one shopper, drawn by the policy.",
    tags=["shop"],
    responses={
        200: {
            "description": "The banner; fewer than five products only where fewer are eligible.",
            "content": _content(RecommendResponse, _BANNER_EXAMPLE),
            "links": {"click": _CLICKED},
        },
        **_problems((*_BODY_ERRORS, 503)),
    },
    openapi_extra=_body(
        RecommendRequest,
        {"user_id": "u1", "viewed_product_id": "p9", "filter": {"category": ["dairy"]}},
    ),
)
EVENTS: Final = Documented(
    operation_id="report_events",
    summary="Report what shoppers did; answered when it is durable.",
    tags=["shop"],
    status_code=202,
    responses={
        202: {
            "description": "What became of each event, in the order sent.",
            "content": _content(
                EventsResponse, {"results": [{"event_id": "c-1", "outcome": "accepted"}]}
            ),
        },
        **_problems((*_BODY_ERRORS, 503)),
    },
    openapi_extra=_body(list[EventIn], _EVENT_EXAMPLES, "application/json", "text/plain"),
)
_TAKEN: Final[Json] = {"description": "Durable.", "content": _content(Taken, {"accepted": 1})}
PUT_PRODUCTS: Final = Documented(
    operation_id="put_products",
    summary="Add or change products: all of the list or none; servable within seconds.",
    tags=["operate"],
    status_code=202,
    responses={202: _TAKEN | {"links": {"remove": _REMOVED}}, **_problems((*_BODY_ERRORS, 503))},
    openapi_extra=_body(
        list[ProductIn],
        [{"product_id": "p3", "title": "Whole milk", "category": "dairy/milk", "price_cents": 129}],
    ),
)
DELETE_PRODUCT: Final = Documented(
    operation_id="delete_product",
    summary="Stop showing a product.",
    tags=["operate"],
    status_code=202,
    responses={202: _TAKEN, **_problems((401, 403, 404, 422, 429, 503))},
    openapi_extra=_parameter("product_id"),
)
DELETE_USER: Final = Documented(
    operation_id="erase_user",
    summary="Forget everything known of a user.",
    tags=["operate"],
    status_code=202,
    responses={202: _TAKEN, **_problems((401, 403, 422, 429, 503))},
    openapi_extra=_parameter("user_id"),
)
LIVEZ: Final = Documented(
    operation_id="livez",
    summary="The process runs.",
    tags=["health"],
    responses={200: {"description": "It does."}},
)
READYZ: Final = Documented(
    operation_id="readyz",
    summary="Weights are loaded and warm.",
    tags=["health"],
    responses={200: {"description": "They are."}, **_problems((503,))},
)
METRICS: Final = Documented(
    operation_id="metrics",
    summary="Metrics for Prometheus.",
    tags=["health"],
    responses={200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}}},
)


class DocumentedApp(FastAPI):
    """A FastAPI app whose document holds the components that the routes refer to."""

    def openapi(self) -> Json:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, summary=self.summary, routes=self.routes
            )
            components = document.setdefault("components", {})
            components["schemas"] = dict(sorted(_COMPONENTS.items()))
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}, {}]
            self.openapi_schema = document
        return self.openapi_schema
