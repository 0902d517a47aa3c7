"""A log, a registry and a checkpoint folder around one trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy.registry import Registry
from schemas import codec
from schemas.policies import Live
from schemas.products import Product, ProductUpserted
from schemas.rewards import Reward
from streams.local import LocalLog
from streams.port import Log, Message
from streams.topics import PRODUCTS, REWARDS
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


def good(rows: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(1.0 if row == 7 else 0.0 for row in rows)
