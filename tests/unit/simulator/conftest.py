"""Builders of the simulator's tests: small worlds, and a service that only keeps count."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from aiohttp import web

from schemas.products import Product
from schemas.requests import (
    EventIn,
    EventResult,
    EventsResponse,
    RecommendedProduct,
    RecommendRequest,
    RecommendResponse,
)
from simulator.grocer import GrocerWorld
from simulator.synthetic import SyntheticWorld
from simulator.traffic import TrafficSettings, simulate


@dataclass
class CountingService:
    """Answers with the first five products it may show, and keeps what is reported.

    `is_down(path, nth)` makes the nth request of a path (from 0) fail with a 503 or, when it
    returns "cut", by closing the connection after the request was taken.
    """

    products: Sequence[Product]
    is_down: Callable[[str, int], str | None] = lambda _path, _nth: None
    outcome: Callable[[EventIn], str] = lambda _event: "accepted"
    recommend_status: int = 200
    answer_seconds: float = 0.0
    requests: list[RecommendRequest] = field(default_factory=list)
    lists: list[list[EventIn]] = field(default_factory=list)
    journal: list[tuple[str, str | None]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> list[EventIn]:
        return [event for listed in self.lists for event in listed]

    async def _fault(self, request: web.Request) -> web.Response | None:
        self.keys.add(request.headers.get("Authorization"))
        nth = self.tries.get(request.path, 0)
        self.tries[request.path] = nth + 1
        fault = self.is_down(request.path, nth)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=503) if fault else None

    async def recommend(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=RecommendRequest)
        if (fault := await self._fault(request)) is not None:
            return fault
        if self.answer_seconds:
            await asyncio.sleep(self.answer_seconds)
        self.requests.append(asked)
        self.journal.append(("recommend", asked.user_id))
        shown = [each for each in self.products if each.product_id != asked.viewed_product_id][:5]
        answer = RecommendResponse(
            recommendation_id=f"r{len(self.requests)}",
            products=tuple(
                RecommendedProduct(product_id=each.product_id, position=place, title=each.title)
                for place, each in enumerate(shown)
            ),
            policy_version=7,
            arm="control" if len(self.requests) % 10 == 0 else "policy",
            source="policy",
            attribution_token=f"t{len(self.requests)}",
            expires_at="2030-01-01T00:00:00Z",
        )
        return web.Response(status=self.recommend_status, body=msgspec.json.encode(answer))

    async def report(self, request: web.Request) -> web.Response:
        events = msgspec.json.decode(await request.read(), type=list[EventIn])
        self.lists.append(events)
        if (fault := await self._fault(request)) is not None:
            return fault
        self.journal += [(event.type, event.user_id) for event in events]
        results = tuple(
            EventResult(event_id=event.event_id, outcome=self.outcome(event)) for event in events
        )
        return web.Response(status=202, body=msgspec.json.encode(EventsResponse(results=results)))


@asynccontextmanager
async def served(service: CountingService) -> AsyncIterator[str]:
    """Serve on a free loopback port; yields the URL."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/recommend", service.recommend)
    app.router.add_post("/events", service.report)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session")
def shop() -> SyntheticWorld:
    return SyntheticWorld(200, seed=3, shoppers=40, past=800)


@pytest.fixture(scope="session")
def grocery_cache(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("grocery")


@pytest.fixture(scope="session")
def grocer(grocery_cache) -> GrocerWorld:
    return GrocerWorld(cache=grocery_cache)


@pytest.fixture(scope="session")
def counting_service() -> type[CountingService]:
    return CountingService


@pytest.fixture(scope="session")
def run():
    """Runs traffic of a world against a service; keywords that are settings vary them."""

    def traffic(service, world, *, banners=60, stop=None, on_progress=None, **varied):
        fixed = {"rate": None, "time_scale": 0.0, "seed": 4, "run_id": "run"}

        async def one_run():
            async with served(service) as url:
                return await simulate(
                    url,
                    world,
                    clock=lambda: 1_800_000_000_000,
                    banners=banners,
                    settings=TrafficSettings(**{**fixed, **varied}),
                    stop=stop,
                    on_progress=on_progress,
                )

        return asyncio.run(one_run())

    return traffic
