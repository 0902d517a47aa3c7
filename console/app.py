"""The console over HTTP: the experiment, the registry, explanations, and the pages for people.

Everything that waits for the log or the disk is a plain function, which FastAPI runs in a thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from console import documents, requests
from console.access import Access
from console.assets import Assets, security_headers
from console.browse import CatalogueView, Shelf
from console.errors import BadRequest
from console.explain import Explainer
from console.follower import Follower
from console.metrics import ConsoleMetrics, RingCollector
from console.pairs import Pairs
from console.policies import Operations
from console.problems import handle_problems, problem
from console.settings import ConsoleSettings
from console.watch import Watch
from schemas.policies import Live

LONGEST_QUERY: Final = 200


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the console looks at.

    Attributes:
        follower: keeps the newest report; somebody else runs its loop.
        operations: the registry.
        explainer: finds banners in the log.
        catalogue: gives the present view of the catalogue.
        pairs: reads what earns most together.
    """

    follower: Follower
    operations: Operations
    explainer: Explainer
    catalogue: Callable[[], CatalogueView]
    pairs: Pairs


def _json(value: object) -> Response:
    return Response(
        msgspec.json.encode(value),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def create_app(
    parts: ConsoleParts, settings: ConsoleSettings, *, metrics_registry: CollectorRegistry
) -> FastAPI:
    """Return the console's application.

    Args:
        parts: what it looks at.
        settings: keys, the service's address.
        metrics_registry: where its metrics go.
    """
    app = documents.DocumentedApp(title="Quintet console", docs_url=None, redoc_url=None)
    access = Access(settings.keys)
    metrics = ConsoleMetrics(metrics_registry)
    metrics_registry.register(RingCollector(lambda: parts.follower.view, parts.operations.live))
    handle_problems(app)
    app.add_middleware(Watch, metrics=metrics, headers=security_headers(settings.service_url))
    assets = Assets(settings.service_url)
    _health(app, parts.follower, metrics_registry)
    _pages(app, assets, settings)
    _experiment(app, parts.follower)
    _catalogue(app, parts.catalogue)
    _policies(app, parts.operations, assets)
    _pairs(app, parts.pairs)
    _operations(app, parts.operations, access, metrics)
    _explain(app, parts.explainer, access, assets)
    return app


def _health(app: FastAPI, follower: Follower, registry: CollectorRegistry) -> None:
    @app.get("/livez", **documents.LIVEZ)
    def livez() -> Response:
        return _json(documents.State(status="alive"))

    @app.get("/readyz", **documents.READYZ)
    def readyz() -> Response:
        if not follower.view.caught_up:
            return problem(503, "still reading the log", headers={"Retry-After": "1"})
        return _json(documents.State(status="ready"))

    @app.get("/metrics", **documents.METRICS)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _pages(app: FastAPI, assets: Assets, settings: ConsoleSettings) -> None:
    @app.get("/", include_in_schema=False)
    def learning() -> Response:
        return assets.page("learning.html")

    @app.get("/storefront", include_in_schema=False)
    def storefront() -> Response:
        return assets.page("storefront.html")

    @app.get("/assets/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        return assets.asset(name)

    @app.get("/page-settings", **documents.PAGE_SETTINGS)
    def page_settings() -> Response:
        """Return what the pages need to know: where the service is, who may be played."""
        return _json(
            documents.PageSettings(
                service_url=settings.service_url.rstrip("/"),
                shoppers=settings.shoppers,
                needs_key=bool(settings.keys),
            )
        )


def _experiment(app: FastAPI, follower: Follower) -> None:
    @app.get("/experiment", **documents.EXPERIMENT)
    def experiment() -> Response:
        """Return both arms, the lift, freshness and the audit, cumulative since the log began."""
        return _json(follower.view.report)

    @app.get("/experiment/curve", **documents.CURVE)
    def curve() -> Response:
        """Return reward per banner of both arms over the banners settled so far."""
        view = follower.view
        return _json(documents.Curve(points=view.curve, caught_up=view.caught_up))


def _catalogue(app: FastAPI, catalogue: Callable[[], CatalogueView]) -> None:
    shelf: Shelf | None = None

    @app.get("/catalogue", **documents.CATALOGUE)
    def search(query: str = "", page_size: str = "", page_token: str = "") -> Response:
        """Return available products in which every word of `query` is found."""
        nonlocal shelf
        if len(query) > LONGEST_QUERY:
            raise BadRequest(f"query: at most {LONGEST_QUERY} characters")
        start, size = requests.page_start(page_token), requests.page_size(page_size)
        now = catalogue()
        if shelf is None or shelf.version != now.version:
            shelf = Shelf(now)
        return _json(shelf.find(query, start=start, size=size))


def _policies(app: FastAPI, operations: Operations, assets: Assets) -> None:
    @app.get("/policies", **documents.POLICIES)
    def policies(request: Request, page_size: str = "", page_token: str = "") -> Response:
        """Return the versions, newest first, the live pointer and whether it is held."""
        if requests.wants_page(request):
            return assets.page("policies.html")
        start, size = requests.page_start(page_token), requests.page_size(page_size)
        return _json(operations.page(start=start, size=size))


def _pairs(app: FastAPI, pairs: Pairs) -> None:
    @app.get("/pairs", **documents.PAIRS)
    def strongest() -> Response:
        """Return the pairs of categories that the live version lifts most, the strongest first."""
        return _json(pairs.report())


def _operations(
    app: FastAPI, operations: Operations, access: Access, metrics: ConsoleMetrics
) -> None:
    async def operate(request: Request, name: str, move: Callable[[], Live]) -> Response:
        outcome = "refused"
        try:
            access.require_operation(request)
            await requests.read_nothing(request)
            live = await run_in_threadpool(move)
            outcome = "done"
        finally:
            metrics.operations.labels(name, outcome).inc()
        return _json(live)

    @app.post("/policies/rollback", **documents.ROLLBACK)
    async def rollback(request: Request) -> Response:
        """Go back to the version that was live before, and hold."""
        return await operate(request, "rollback", operations.rollback)

    @app.post("/policies/resume", **documents.RESUME)
    async def resume(request: Request) -> Response:
        """Lift the hold."""
        return await operate(request, "resume", operations.resume)

    @app.post("/policies/{version}/promote", **documents.PROMOTE)
    async def promote(request: Request, version: str) -> Response:
        """Make a version live."""

        def move() -> Live:
            return operations.promote(requests.version_number(version))

        return await operate(request, "promote", move)


def _explain(app: FastAPI, explainer: Explainer, access: Access, assets: Assets) -> None:
    @app.get("/explain/{recommendation_id}", **documents.EXPLAIN)
    def explain(request: Request, recommendation_id: str) -> Response:
        """Return one banner's whole life."""
        if requests.wants_page(request):
            return assets.page("explain.html")
        access.require(request)
        return _json(explainer.explain(recommendation_id))
