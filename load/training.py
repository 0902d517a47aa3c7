"""How many rewarded banners a second one core learns from, reading their records included."""

import time
from typing import Final

import numpy as np
from msgspec.json import encode

from load import shop
from load.installation import Installation
from policy.serving import UNIFORMS, ServingPolicy
from schemas.codec import decode_reward
from schemas.history import pack
from schemas.limits import BANNER_SIZE
from schemas.rewards import Reward
from trainer.learner import Learner
from trainer.learner_settings import LearnerSettings

BATCH: Final = 256
_BATCHES: Final = 6


def banners_per_second(installed: Installation, *, products: int) -> float:
    """Return the median speed over batches of 256, two epochs each, on one thread of the CPU."""
    learner, records = beginning(installed, products=products)
    taken = []
    for _ in range(_BATCHES):
        started = time.process_time()
        learner.update([decode_reward(record) for record in records])
        taken.append(time.process_time() - started)
    return BATCH / float(np.median(taken[1:]))


def beginning(installed: Installation, *, products: int) -> tuple[Learner, list[bytes]]:
    """Return a learner that starts at the live snapshot, and the records of one batch for it."""
    rng = np.random.default_rng(7)
    registry = installed.registry()
    live = registry.live()
    if live is None:
        raise ValueError("the installation has no live snapshot")
    features = installed.catalogue().features
    weights = registry.load(live.version).weights
    policy = ServingPolicy.compile(weights, features, version=live.version)
    histories = [pack(one) for _, one in shop.histories(BATCH, products, rng)]
    eligible = np.ones(products, np.uint8)
    records = []
    for number in range(BATCH):
        viewed = int(rng.integers(products))
        drawn = policy.draw(
            viewed_row=viewed,
            history=histories[number],
            eligible=eligible,
            excluded=np.empty(0, np.int32),
            size=BANNER_SIZE,
            uniforms=rng.random(UNIFORMS),
        )
        points = tuple(
            float(p) for p in rng.choice([0.0, 0.1, 1.1], BANNER_SIZE, p=[0.8, 0.15, 0.05])
        )
        records.append(
            encode(
                Reward(
                    recommendation_id=str(number), revision=0, settled_at_ms=0,
                    specification="bench", unit=str(number), arm="policy", source="policy",
                    trainable=True, points=points, delta=points, policy_version=live.version,
                    catalogue_version=products, viewed_row=viewed, history=histories[number],
                    candidates=drawn.packed_candidates, rows=tuple(drawn.rows.tolist()),
                    log_probs=tuple(drawn.log_probs.tolist()),
                )
            )
        )  # fmt: skip
    settings = LearnerSettings(threads=1, device="cpu")
    return Learner(weights, weights, features, settings), records
