"""The ordinary build: what a good team writes first, as the measure of what the effort here earns.

    python -m load.ordinary FOLDER REDIS_URL

FastAPI with pydantic models and `response_model`, the history read by redis-py's asyncio client
(hiredis installed, one GET of one value), the network in torch at a batch of one, the Gumbel trick,
the record written as JSON by pydantic. It is meant to be hard to beat where that costs nothing in
clarity: product vectors are made once and not on every request, torch runs on one thread without
gradients, the history is the packed form that numpy reads without parsing, records leave in groups
in the background as a Kafka client's do, uvicorn runs with the service's own settings. And it does
less: it knows no filter and no pins, no arms, no tokens, no pseudonyms and no metrics, and its
record names no candidates, because all eligible products are.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import redis.asyncio
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from load.clock import now_ms
from load.installation import Installation
from load.ordinary_policy import OrdinaryPolicy
from load.readiness import announce
from policy.registry import Registry
from projections.catalogue import Catalogue
from schemas import history as histories
from schemas.limits import BANNER_SIZE
from service.server import configuration, listening
from streams.port import Log, Message
from streams.topics import EVENTS

GROUP_SECONDS: Final = 0.03
"""Records wait so long for others, as in the service."""
Id = Annotated[str, Field(min_length=1, max_length=128)]
Ids = Annotated[list[Id], Field(max_length=1000)]


class RecommendBody(BaseModel):
    """The context."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id | None = None
    viewed_product_id: Id | None = None
    placement: Id | None = None
    exclude_product_ids: Ids = []


class ShownProduct(BaseModel):
    """One product of the banner."""

    product_id: str
    position: int
    title: str
    category: str | None
    brand: str | None
    price_cents: int | None
    image_url: str | None


class Recommendation(BaseModel):
    """The answer."""

    recommendation_id: str
    products: list[ShownProduct]
    policy_version: int


class Recorded(BaseModel):
    """What the log keeps."""

    model_config = ConfigDict(ser_json_bytes="base64")

    type: Literal["recommended"] = "recommended"
    recommendation_id: str
    user_id: str | None
    recommended_at: datetime
    policy_version: int
    viewed_row: int
    history: bytes
    rows: list[int]
    product_ids: list[str]
    log_probs: list[float]


class RecordWriter:
    """Appends records in groups from a thread, so that no request waits for the disk."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: list[Message] = []

    def write(self, record: Recorded) -> None:
        """Take a record."""
        key = (record.user_id or record.recommendation_id).encode()
        self._waiting.append(Message(key, record.model_dump_json().encode()))

    async def run(self) -> None:
        """Append what was taken, again and again."""
        while True:
            await asyncio.sleep(GROUP_SECONDS)
            if self._waiting:
                group, self._waiting = self._waiting, []
                await asyncio.to_thread(self._log.append, EVENTS.name, group)


def create_app(
    catalogue: Catalogue, policy: OrdinaryPolicy, version: int, store: redis.asyncio.Redis, log: Log
) -> FastAPI:
    """Return the app."""
    writer = RecordWriter(log)
    available = torch.from_numpy(catalogue.available != 0)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        writing = asyncio.create_task(writer.run())
        yield
        writing.cancel()
        await store.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/recommend", response_model=Recommendation)
    async def recommend(body: RecommendBody) -> Recommendation:
        packed = await store.get(f"history:{body.user_id}") if body.user_id else None
        history = histories.unpack(packed) if isinstance(packed, bytes) else histories.EMPTY
        viewed = catalogue.row_of.get(body.viewed_product_id or "", -1)
        allowed = available
        if body.exclude_product_ids:
            allowed = available.clone()
            for product_id in body.exclude_product_ids:
                allowed[catalogue.row_of[product_id]] = False
        draw = policy.draw(viewed, history, allowed, size=BANNER_SIZE)
        shown = [catalogue.products[row] for row in draw.rows]
        answer = Recommendation(
            recommendation_id=str(uuid.uuid4()),
            products=[
                ShownProduct(
                    product_id=product.product_id,
                    position=position,
                    title=product.title,
                    category=product.category,
                    brand=product.brand,
                    price_cents=product.price_cents,
                    image_url=product.image_url,
                )
                for position, product in enumerate(shown)
            ],
            policy_version=version,
        )
        writer.write(
            Recorded(
                recommendation_id=answer.recommendation_id,
                user_id=body.user_id,
                recommended_at=datetime.now(UTC),
                policy_version=version,
                viewed_row=viewed,
                history=packed if isinstance(packed, bytes) else b"",
                rows=draw.rows,
                product_ids=[product.product_id for product in shown],
                log_probs=draw.log_probs,
            )
        )
        return answer

    return app


def main(folder: Path, redis_url: str) -> None:
    """Serve until SIGTERM; its records go to a log of its own beside the service's."""
    from streams.local import LocalLog

    torch.set_num_threads(1)
    installed = Installation(folder)
    catalogue = installed.catalogue()
    registry: Registry = installed.registry()
    live = registry.live()
    assert live is not None  # noqa: S101 - the installation promoted one
    policy = OrdinaryPolicy(registry.load(live.version).weights, catalogue.features)
    log = LocalLog(folder / "ordinary.db", clock=now_ms)
    app = create_app(catalogue, policy, live.version, redis.asyncio.from_url(redis_url), log)
    listener = listening("127.0.0.1", 0)
    announce(folder, "ordinary", {"ordinary": int(listener.getsockname()[1])})
    try:
        uvicorn.Server(configuration(app)).run(sockets=[listener])
    finally:
        log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
