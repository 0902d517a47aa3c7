"""A log with the rewards of both arms, some versions, and one banner with a whole life."""

from typing import Any

import numpy as np

from schemas import candidates
from schemas.codec import encode
from schemas.events import Click, Recommended
from schemas.identity import recommendation_id, ulid
from schemas.policies import Announcement
from schemas.rewards import Reward
from streams.local import LocalLog
from streams.port import Message
from tests.browser.stand_ins import KEY, now_ms


def banner(name: str, **changes: Any) -> Recommended:
    values: dict[str, Any] = {
        "event_id": name,
        "occurred_at_ms": now_ms(),
        "recommendation_id": name,
        "unit": "u1-1",
        "placement": "storefront",
        "arm": "policy",
        "source": "policy",
        "trainable": True,
        "policy_version": 30,
        "catalogue_version": 40,
        "viewed_row": 3,
        "candidates": candidates.pack(np.arange(35)),
        "product_ids": tuple(f"p{n}" for n in range(5)),
        "rows": (0, 1, 2, 3, 4),
        "log_probs": (-1.2, -2.4, None, -3.0, -5.2),
    }
    return Recommended(**(values | changes))


def reward(name: str, arm: Any, unit: str, points: float, *, clicked: bool = False) -> Reward:
    return Reward(
        recommendation_id=name,
        revision=0,
        settled_at_ms=now_ms(),
        specification="1",
        unit=unit,
        arm=arm,
        source="policy",
        trainable=arm == "policy",
        points=(0.0, points, 0.0, 0.0, 0.0),
        delta=(0.0, points, 0.0, 0.0, 0.0),
        clicked=(1,) if clicked else (),
        policy_version=30,
        catalogue_version=40,
        viewed_row=3,
        history=b"",
        candidates=b"",
        rows=(0, 1, 2, 3, 4),
        log_probs=(-1.2, -2.4, None, -3.0, -5.2),
    )


def fill(log: LocalLog, banners: int) -> str:
    """Append rewards of both arms, some versions, and one banner with a whole life; return it."""
    draws = np.random.default_rng(5)
    rewards = []
    for number in range(banners):
        arm = "control" if number % 10 == 0 else "policy"
        chance = 0.22 + (0.08 * number / banners if arm == "policy" else 0.0)
        points = 1.0 if draws.random() < chance else 0.1 * float(draws.random() < 0.2)
        name = recommendation_id(ulid(now_ms(), number.to_bytes(10, "big")), KEY)
        rewards.append(Message(KEY, encode(reward(name, arm, f"u{number % 700}-1", points))))
    log.append("rewards", rewards)
    served = [
        Announcement(
            kind="served",
            version=version,
            at_ms=now_ms(),
            process="serve",
            learned_events_ms=tuple(now_ms() - 900 - 150 * n for n in range(20)),
        )
        for version in range(1, 32)
    ]
    log.append("policies", [Message(None, encode(one)) for one in served])
    told = recommendation_id(ulid(now_ms(), bytes([9] * 10)), KEY)
    clicked = Click(
        event_id="c1",
        occurred_at_ms=now_ms(),
        received_at_ms=now_ms(),
        recommendation_id=told,
        product_id="p1",
    )
    log.append("events", [Message(KEY, encode(banner(told))), Message(KEY, encode(clicked))])
    log.append("rewards", [Message(KEY, encode(reward(told, "policy", "u1-1", 0.1)))])
    return told
