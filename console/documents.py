"""What `/openapi.json` of the console says of every route, from the structs that are answered."""

from collections.abc import Sequence
from typing import Any, Final, TypedDict

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from console.browse import ProductPage
from console.curve import Point
from console.experiment import Report
from console.explanation import Explanation
from console.pairs import PairsReport
from console.policies import PolicyPage
from schemas.policies import Live
from schemas.problems import MEDIA_TYPE, Problem

Json = dict[str, Any]
_REF: Final = "#/components/schemas/{name}"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process lives, or has read the log."""

    status: str


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Reward per banner of both arms over the banners settled so far."""

    points: Sequence[Point]
    caught_up: bool


class PageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages need to know: where the service is, who may be played."""

    service_url: str
    shoppers: Sequence[str]
    needs_key: bool


class Documented(TypedDict, total=False):
    """What a route is declared with."""

    operation_id: str
    responses: dict[int | str, Json]
    openapi_extra: Json


_TYPES: Final = (
    State, Curve, PageSettings, Report, ProductPage, PolicyPage, PairsReport, Live, Explanation,
    Problem,
)  # fmt: skip
_SCHEMAS, _COMPONENTS = msgspec.json.schema_components(_TYPES, ref_template=_REF)
_SCHEMA_OF: Final[dict[type, Json]] = dict(zip(_TYPES, _SCHEMAS, strict=True))
_ERRORS: Final = {
    403: "The caller may not do this.",
    404: "There is no such thing.",
    409: "The registry does not allow it now; `detail` says why.",
    422: "A parameter or the body cannot be read; `detail` says which.",
    503: "Not now; `Retry-After` says when to try again.",
}
_PAGE: Final[Json] = {"text/html": {}}
"""Some paths are a page for people, and data for programs: `Accept` decides."""
_NOTHING: Final = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {"schema": {"type": "object", "additionalProperties": False}}
        },
    }
}


def _route(
    name: str, kind: type, *codes: int, page: bool = False, links: Json | None = None
) -> Documented:
    content: Json = {"application/json": {"schema": _SCHEMA_OF[kind]}} | (_PAGE if page else {})
    summary = (kind.__doc__ or "").splitlines()[0]
    answer = {"description": summary, "content": content, "links": links or {}}
    problem = {MEDIA_TYPE: {"schema": _SCHEMA_OF[Problem]}}
    refusals: dict[int | str, Json] = {
        code: {"description": _ERRORS[code], "content": problem} for code in codes
    }
    return Documented(operation_id=name, responses={200: answer, **refusals})


def _operation(name: str, *codes: int) -> Documented:
    documented = _route(name, Live, *codes, 403, 409, 422, 503)
    documented["openapi_extra"] = _NOTHING
    return documented


LIVEZ: Final = _route("livez", State)
READYZ: Final = _route("readyz", State, 503)
METRICS: Final = Documented(
    operation_id="metrics",
    responses={200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}}},
)
PAGE_SETTINGS: Final = _route("pageSettings", PageSettings)
EXPERIMENT: Final = _route("experiment", Report)
CURVE: Final = _route("experimentCurve", Curve)
CATALOGUE: Final = _route("searchCatalogue", ProductPage, 422)
POLICIES: Final = _route(
    "listPolicies", PolicyPage, 409, 422, page=True,
    links={
        "promote": {
            "operationId": "promote",
            "parameters": {"version": "$response.body#/policies/0/version"},
        },
        "next_page": {
            "operationId": "listPolicies",
            "parameters": {"page_token": "$response.body#/next_page_token"},
        },
    },
)  # fmt: skip
PAIRS: Final = _route("strongestPairs", PairsReport, 409)
ROLLBACK: Final = _operation("rollback")
RESUME: Final = _operation("resume")
PROMOTE: Final = _operation("promote", 404)
EXPLAIN: Final = _route("explain", Explanation, 403, 404, 422, 503, page=True)


class DocumentedApp(FastAPI):
    """A FastAPI app whose document holds the components that the routes refer to."""

    def openapi(self) -> Json:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            components = document.setdefault("components", {})
            components["schemas"] = dict(sorted(_COMPONENTS.items()))
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}, {}]
            self.openapi_schema = document
        return self.openapi_schema
