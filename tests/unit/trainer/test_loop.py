"""The trainer's loop: batches, effects, restarts, rollbacks, poison."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from policy.registry import Registry
from schemas import codec
from schemas.policies import Live
from schemas.products import Product, ProductUpserted
from schemas.rewards import Reward
from streams.local import LocalLog
from streams.port import Log, Message
from streams.topics import DEAD, POLICIES, PRODUCTS, REWARDS
from trainer.learner_settings import LearnerSettings
from trainer.loop import Trainer
from trainer.settings import TrainerSettings

BATCH = 16
SETTINGS = TrainerSettings(
    batch_seconds=2.0,
    poll_seconds=0.0,
    poll_records=7,  # batches end inside and between polls
    learner=LearnerSettings(batch_banners=BATCH, device="cpu", threads=1),
)


class Crashed(RuntimeError):
    """The process died here."""


@dataclass
class Ring:
    """A log with products and rewards, a registry with a live foundation, a checkpoint folder."""

    root: Path
    shop: Any
    now_ms: int = 1_000_000
    log: LocalLog = field(init=False)
    registry: Registry = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.log = LocalLog(self.root / "log", clock=self.clock)
        self.registry = Registry(self.root / "registry", clock=self.clock)

    def clock(self) -> int:
        return self.now_ms

    def begin(self, products: Sequence[Product]) -> None:
        upserts = [ProductUpserted(product=product) for product in products]
        self.log.append(PRODUCTS.name, [Message(None, codec.encode(one)) for one in upserts])
        foundation = self.registry.publish_foundation(
            self.shop.weights, catalogue_version=len(products)
        )
        self.registry.promote(foundation.version, reason="pretrained")

    def reward(self, *rewards: Reward) -> None:
        self.log.append(REWARDS.name, [Message(None, codec.encode(one)) for one in rewards])

    def trainer(self, crash_point: Callable[[str], None] = lambda _: None) -> Trainer:
        return Trainer(
            self.log,
            self.registry,
            self.root / "checkpoints",
            clock=self.clock,
            settings=SETTINGS,
            crash_point=crash_point,
        )

    def live(self) -> Live:
        live = self.registry.live()
        assert live is not None
        return live

    def digests(self) -> dict[int, str]:
        return {manifest.version: manifest.sha256 for manifest in self.registry.manifests()}

    def read(self, topic: str) -> list[bytes | None]:
        return read_all(self.log, topic)


def read_all(log: Log, topic: str) -> list[bytes | None]:
    consumer = log.consumer([topic], group=None)
    found = []
    while records := consumer.poll(max_records=1000, timeout_seconds=0.0):
        found += [record.value for record in records]
    consumer.close()
    return found


def drain(trainer: Trainer) -> None:
    while trainer.step():
        pass


def value(metric: Any, **labels: str) -> float:
    return float((metric.labels(**labels) if labels else metric)._value.get())


@pytest.fixture
def ring_of(shop: Any, tmp_path: Path) -> Callable[[str], Ring]:
    def make(name: str) -> Ring:
        ring = Ring(tmp_path / name, shop)
        ring.begin(
            [
                Product(
                    product_id=f"p{row}",
                    title=f"thing {row % 5}",
                    category=f"c{row % 3}",
                    price_cents=100 + row,
                )
                for row in range(shop.size)
            ]
        )
        return ring

    return make


@pytest.fixture
def ring(ring_of: Callable[[str], Ring]) -> Ring:
    return ring_of("ring")


def good(rows: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(1.0 if row == 7 else 0.0 for row in rows)


def test_every_full_batch_becomes_a_live_version(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(2 * BATCH + 3, points=good))

    drain(ring.trainer())

    assert ring.live().version == 3
    manifest = ring.registry.load(3).manifest
    assert (manifest.parent, manifest.foundation) == (2, 1)
    assert (manifest.updates, manifest.banners, manifest.rewards_offset) == (2, 32, 32)
    assert manifest.learned_events_ms == tuple(range(1000 + BATCH, 1000 + 2 * BATCH))
    assert manifest.health["records"] == BATCH


def test_publishing_and_promoting_are_announced(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(BATCH))

    drain(ring.trainer())

    news = [codec.decode_announcement(record) for record in ring.read(POLICIES.name)]
    assert [(one.kind, one.version) for one in news] == [("published", 2), ("promoted", 2)]


def test_a_batch_that_is_not_full_closes_with_a_record_appended_later(
    ring: Ring, shop: Any
) -> None:
    first, second = shop.rewards(5), shop.rewards(2, seed=1)
    ring.reward(*first)
    ring.now_ms += 2001
    ring.reward(*second)

    drain(ring.trainer())

    assert ring.live().version == 2
    assert ring.registry.load(2).manifest.rewards_offset == 5  # the later ones wait


def test_an_untrainable_record_is_left_out_but_lets_time_pass(ring: Ring, shop: Any) -> None:
    control = msgspec.structs.replace(
        shop.rewards(1, seed=1)[0], trainable=False, arm="control", candidates=b"", log_probs=()
    )
    ring.reward(*shop.rewards(5))
    ring.now_ms += 2001
    ring.reward(control)
    trainer = ring.trainer()

    drain(trainer)

    assert ring.registry.load(2).manifest.banners == 5
    assert value(trainer.metrics.records, outcome="untrainable") == 1


def test_a_reward_that_comes_twice_counts_once(ring: Ring, shop: Any) -> None:
    rewards = shop.rewards(BATCH)
    ring.reward(*rewards[:10], *rewards[:10], *rewards[10:])
    trainer = ring.trainer()

    drain(trainer)

    assert ring.registry.load(2).manifest.banners == BATCH
    assert value(trainer.metrics.records, outcome="duplicate") == 10


def test_a_correction_of_a_banner_is_no_duplicate_of_it(ring: Ring, shop: Any) -> None:
    rewards = shop.rewards(BATCH // 2)
    later = [msgspec.structs.replace(reward, revision=1) for reward in rewards]
    ring.reward(*rewards, *later)

    drain(ring.trainer())

    assert ring.registry.load(2).manifest.banners == BATCH // 2
    assert ring.registry.load(2).manifest.health["corrections"] == BATCH // 2


@pytest.mark.parametrize("poison", [b"not json", None, b"{}"], ids=["text", "tombstone", "empty"])
def test_an_unreadable_reward_goes_to_the_dead_letters_and_learning_goes_on(
    ring: Ring, shop: Any, poison: bytes | None
) -> None:
    ring.log.append(REWARDS.name, [Message(b"k", poison)])
    ring.reward(*shop.rewards(BATCH))
    trainer = ring.trainer()

    drain(trainer)

    (letter,) = [codec.decode_dead_letter(record) for record in ring.read(DEAD.name)]
    assert (letter.topic, letter.offset, letter.value) == (REWARDS.name, 0, poison)
    assert letter.reader == "train"
    assert ring.live().version == 2


def test_a_reward_of_a_catalogue_that_does_not_exist_goes_to_the_dead_letters(
    ring: Ring, shop: Any
) -> None:
    reward = msgspec.structs.replace(shop.rewards(1)[0], catalogue_version=10_000)
    ring.reward(reward)
    trainer = ring.trainer()

    drain(trainer)

    assert value(trainer.metrics.records, outcome="unreadable") == 1
    assert "beyond the log" in codec.decode_dead_letter(ring.read(DEAD.name)[0]).reason


CRASH_POINTS = ("learned", "published", "promoted", "announced", "saved")


def crash_at(point: str, occurrence: int) -> Callable[[str], None]:
    left = [occurrence]

    def reached(name: str) -> None:
        left[0] -= name == point
        if name == point and left[0] == 0:
            raise Crashed(name)

    return reached


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_promise_3_a_trainer_stopped_at_any_point_continues_to_the_same_weights(
    ring_of: Callable[[str], Ring], shop: Any, point: str
) -> None:
    rewards = [
        msgspec.structs.replace(reward, recommendation_id=f"{reward.recommendation_id}-{batch}")
        for batch in range(4)
        for reward in shop.rewards(BATCH, seed=batch, points=good)
    ]
    unbroken, broken = ring_of("unbroken"), ring_of("broken")
    unbroken.reward(*rewards)
    broken.reward(*rewards)
    drain(unbroken.trainer())

    for occurrence in (1, 2, 1):
        trainer = broken.trainer(crash_at(point, occurrence))
        with pytest.raises(Crashed):
            drain(trainer)
    drain(broken.trainer())

    assert len(unbroken.digests()) == 5
    assert broken.digests() == unbroken.digests()
    assert broken.live().version == unbroken.live().version == 5
    assert broken.live().previous == unbroken.live().previous  # never back, never twice


def test_promise_3_holds_for_batches_that_close_by_time(
    ring_of: Callable[[str], Ring], shop: Any
) -> None:
    unbroken, broken = ring_of("unbroken"), ring_of("broken")
    for ring in (unbroken, broken):
        for batch in range(4):
            ring.reward(*shop.rewards(5, seed=batch, points=good))
            ring.now_ms += 2500
    drain(unbroken.trainer())

    for _ in range(2):
        trainer = broken.trainer(crash_at("promoted", 1))
        with pytest.raises(Crashed):
            drain(trainer)
    drain(broken.trainer())

    assert len(unbroken.digests()) == 4
    assert broken.digests() == unbroken.digests()


def test_promise_5_after_a_rollback_training_goes_on_from_what_is_live_and_waits_for_resume(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(3 * BATCH, points=good))
    drain(trainer)

    ring.registry.rollback(reason="worse", to=2)
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)
    held = ring.live().version
    first_held = ring.registry.load(5).manifest
    ring.reward(*shop.rewards(BATCH, seed=2, points=good))
    drain(trainer)
    second_held = ring.registry.load(6).manifest
    ring.registry.resume()
    ring.reward(*shop.rewards(BATCH, seed=3, points=good))
    drain(trainer)

    assert held == 2
    assert (first_held.parent, first_held.updates) == (2, 2)  # version 2 had one update
    assert second_held.parent == 5
    assert ring.live().version == 7
    assert ring.registry.load(7).manifest.parent == 6


def test_a_rollback_while_the_trainer_is_down_is_seen_when_it_starts(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(2 * BATCH, points=good))
    drain(ring.trainer())
    ring.registry.rollback(reason="worse", to=1)
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))

    drain(ring.trainer())

    assert ring.live().version == 1
    assert ring.registry.load(4).manifest.parent == 1
    assert ring.registry.load(4).manifest.rewards_offset == 3 * BATCH


def test_a_new_foundation_becomes_the_reference(ring: Ring, shop: Any) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)

    newer = {name: values.copy() for name, values in shop.weights.items()}
    newer["user_bias"] += np.float32(0.1)
    ring.registry.publish_foundation(newer, catalogue_version=shop.size)
    ring.registry.promote(3, reason="pretrained")
    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.registry.load(4).manifest.foundation == 3
    assert ring.registry.load(4).manifest.updates == 1


def test_a_version_taken_by_somebody_else_is_passed_over(ring: Ring, shop: Any) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    ring.registry.publish_foundation(shop.weights, catalogue_version=shop.size)  # not promoted

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.live().version == 4
    assert ring.registry.load(4).manifest.parent == 2


def test_a_new_product_gets_a_row_with_the_first_reward_that_knows_it(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    upsert = ProductUpserted(product=Product(product_id="new", title="new thing"))
    ring.log.append(PRODUCTS.name, [Message(None, codec.encode(upsert))])

    rewards = shop.rewards(2 * BATCH, seed=1, points=good)
    ring.reward(*rewards[:BATCH])
    newer = shop.size + 1
    ring.reward(*(msgspec.structs.replace(one, catalogue_version=newer) for one in rewards[BATCH:]))
    drain(trainer)

    before, after = (ring.registry.load(version).manifest for version in (3, 4))
    assert (before.products, before.catalogue_version) == (shop.size, shop.size)
    assert (after.products, after.catalogue_version) == (newer, newer)


def test_without_anything_live_the_trainer_waits(shop: Any, tmp_path: Path) -> None:
    ring = Ring(tmp_path / "empty", shop)
    ring.reward(*shop.rewards(BATCH))

    assert ring.trainer().step() == 0


def test_weights_that_could_not_serve_are_refused_and_learning_goes_on_from_before(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    assert trainer._work is not None
    parameter = trainer._work.learner._policy.user_bias
    parameter.data += 1e9  # finite, but scores are beyond what float32 can tell apart

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)
    refused = ring.live().version
    ring.reward(*shop.rewards(BATCH, seed=2, points=good))
    drain(trainer)

    assert refused == 2
    assert value(trainer.metrics.batches, outcome="refused") == 1
    assert ring.live().version == 3
    assert ring.registry.load(3).manifest.rewards_offset == 3 * BATCH


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_made_live_and_cannot_serve_is_replaced_by_the_next_version(
    ring: Ring, shop: Any, restarted: bool
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    ring.registry.publish_foundation(shop.weights, catalogue_version=shop.size)
    ring.registry.promote(3, reason="by hand")
    file = ring.root / "registry" / "snapshots" / "00000003" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    if restarted:
        trainer.close()
        trainer = ring.trainer()

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)

    assert ring.live().version == 4
    assert ring.registry.load(4).manifest.parent == 2


def test_after_a_refused_batch_that_brought_new_products_learning_goes_on_with_them(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    assert trainer._work is not None
    trainer._work.learner._policy.user_bias.data += 1e9
    upsert = ProductUpserted(product=Product(product_id="new", title="new thing"))
    ring.log.append(PRODUCTS.name, [Message(None, codec.encode(upsert))])

    newer = shop.size + 1
    for seed in (1, 2):
        rewards = shop.rewards(BATCH, seed=seed, points=good)
        ring.reward(*(msgspec.structs.replace(one, catalogue_version=newer) for one in rewards))
        drain(trainer)

    assert value(trainer.metrics.batches, outcome="refused") == 1
    assert ring.registry.load(ring.live().version).manifest.products == newer
    assert len(trainer._work.learner._model._parts[0].bias) == newer


def test_promise_3_a_killed_trainer_continues_to_the_same_weights(
    ring_of: Callable[[str], Ring], shop: Any
) -> None:
    killed, unbroken = ring_of("killed"), ring_of("unbroken")
    for ring in (killed, unbroken):
        for batch in range(3):
            ring.reward(*shop.rewards(BATCH, seed=batch, points=good))
    script = Path(__file__).with_name("killed_trainer.py")

    def run(ring: Ring, point: str, times: int) -> int:
        command = [sys.executable, str(script), str(ring.root), point, str(times)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.run(command, check=False, env=environment).returncode

    assert run(unbroken, "never", 1) == 0
    assert run(killed, "promoted", 2) == -signal.SIGKILL
    assert run(killed, "published", 1) == -signal.SIGKILL
    assert run(killed, "never", 1) == 0

    assert len(unbroken.digests()) == 4
    assert killed.digests() == unbroken.digests()
