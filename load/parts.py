"""Where a request's time goes: its parts timed one by one, in this process."""

import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Final

import numpy as np
from msgspec.json import encode

from load.installation import SHOPPERS, Installation
from load.server import build_service
from load.shop import product_id, user_id
from policy.serving import UNIFORMS, ServingPolicy
from schemas import identity
from schemas.limits import BANNER_SIZE
from service import bodies
from service.wiring import Service

_TIMES: Final = 300


def request_parts(installed: Installation, *, products: int) -> dict[str, float]:
    """Return the median microseconds of each part of a request at this catalogue size.

    `recommend` holds the draw, the history read, the record and the answer; what a server's CPU
    time per answer has beyond it and the decoding is HTTP and the append to the log.
    """
    log = installed.log()
    try:
        service = build_service(installed, log)
        return asyncio.run(_measured(service, installed, products))
    finally:
        log.close()


async def _measured(service: Service, installed: Installation, products: int) -> dict[str, float]:
    rng = np.random.default_rng(3)
    bodies_sent = [
        encode(
            {
                "user_id": user_id(int(rng.integers(SHOPPERS))),
                "viewed_product_id": product_id(int(rng.integers(products))),
            }
        )
        for _ in range(_TIMES)
    ]
    requests = [bodies.decode_recommend(body) for body in bodies_sent]
    while service.watcher.step() or not service.behaviour.ready:
        pass
    reader = installed.histories()
    keys = [identity.user_key(b"secret", user_id(number)) for number in range(_TIMES)]
    found = {"decode the request": _each(lambda n: bodies.decode_recommend(bodies_sent[n]))}
    taken = []
    for key in keys:
        started = time.perf_counter()
        await reader.read(key)
        taken.append(time.perf_counter() - started)
    found["read a history"] = 1e6 * median(taken)
    await reader.close()
    live = installed.registry().live()
    assert live is not None  # noqa: S101 - the installation promoted one
    features = service.behaviour.state.catalogue.features
    policy = ServingPolicy.compile(
        installed.registry().load(live.version).weights, features, version=live.version
    )
    eligible, none = np.ones(products, np.uint8), np.empty(0, np.int32)
    uniforms = rng.random((_TIMES, UNIFORMS))
    viewed = rng.integers(products, size=_TIMES)
    found["draw a banner"] = _each(
        lambda n: policy.draw(
            viewed_row=int(viewed[n]), history=b"", eligible=eligible, excluded=none,
            size=BANNER_SIZE, uniforms=uniforms[n],
        )
    )  # fmt: skip
    taken = []
    for request in requests:
        started = time.perf_counter()
        await service.recommender.recommend(request)
        taken.append(time.perf_counter() - started)
    found["recommend, alone in its turn"] = 1e6 * median(taken)
    together = []
    for start in range(0, _TIMES - 31, 32):
        started = time.perf_counter()
        await asyncio.gather(
            *(service.recommender.recommend(one) for one in requests[start : start + 32])
        )
        together.append((time.perf_counter() - started) / 32)
    found["recommend, 32 in one turn"] = 1e6 * median(together)
    return found


def _each(part: Callable[[int], object]) -> float:
    taken = []
    for number in range(_TIMES):
        started = time.perf_counter()
        part(number)
        taken.append(time.perf_counter() - started)
    return 1e6 * median(taken)
