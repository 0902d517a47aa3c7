"""The trainer over the log in memory, driven by a machine that crashes, repeats and reorders."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from policy.registry import Registry
from schemas import codec
from schemas.errors import SchemaError
from schemas.identity import fingerprint
from schemas.products import Product, ProductUpserted
from schemas.rewards import Reward
from streams.port import Message
from streams.topics import PRODUCTS, REWARDS
from tests.memory_log import Clock, MemoryLog
from trainer.checkpoint import CheckpointFolder
from trainer.learner_settings import LearnerSettings
from trainer.loop import Trainer
from trainer.settings import TrainerSettings

BATCH = 8
SETTINGS = TrainerSettings(
    batch_seconds=2.0,
    least_seconds=0.3,
    poll_seconds=0.0,
    poll_records=5,  # batches end inside and between polls
    learner=LearnerSettings(batch_banners=BATCH, device="cpu", threads=1),
)
POINTS = st.sampled_from(["learned", "published", "promoted", "announced", "saved"])


def _earned(rows: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(float(row % 3 == 0) for row in rows)


class Killed(BaseException):
    """Stands for `kill -9`."""


class House:
    """A log, and the folders of one trainer over it."""

    def __init__(self, log: MemoryLog, root: Path, shop: Any, clock: Clock) -> None:
        self.log, self.root, self.clock = log, root, clock
        self.registry = Registry(root / "registry", clock=clock)
        self.registry.publish_foundation(shop.weights, catalogue_version=shop.size)
        self.registry.promote(1, reason="pretrained")

    def trainer(self, crash_point: Any = lambda _: None) -> Trainer:
        return Trainer(
            self.log, self.registry, self.root / "checkpoints", clock=self.clock,
            settings=SETTINGS, crash_point=crash_point,
        )  # fmt: skip

    def learned(self) -> object:
        """Return everything that is left of learning, bit by bit."""
        checkpoint = CheckpointFolder(self.root / "checkpoints").latest()
        live = self.registry.live()
        assert live is not None
        return (
            [(manifest.version, manifest.sha256) for manifest in self.registry.manifests()],
            (live.version, live.previous),
            checkpoint and msgspec.structs.replace(checkpoint.progress, number=0),
            checkpoint and {name: t.tobytes() for name, t in checkpoint.tensors.items()},
        )


class Twin(RuleBasedStateMachine):
    shop: Any = None
    made: list[Reward] = []  # noqa: RUF012 - made once, for every run of the machine

    def __init__(self) -> None:
        super().__init__()
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(dir=place))
        self.clock = Clock()
        self.house = House(MemoryLog(self.clock), self.folder / "killed", self.shop, self.clock)
        products = (
            Product(product_id=f"p{n}", title=f"thing {n % 5}", category=f"c{n % 3}")
            for n in range(self.shop.size)
        )
        self.house.log.append(
            PRODUCTS.name,
            [Message(None, codec.encode(ProductUpserted(product=one))) for one in products],
        )
        self.kill_at: str | None = None
        self.running: Trainer | None = None
        self.sent: list[Reward] = []
        self.held: list[Reward] = []

    def _crash_point(self, here: str) -> None:
        if here == self.kill_at:
            self.kill_at = None
            raise Killed

    def _append(self, reward: Reward) -> None:
        self.house.log.append(REWARDS.name, [Message(None, codec.encode(reward))])

    @rule(count=st.integers(1, 2 * BATCH), trainable=st.booleans(), hold=st.booleans())
    def settle(self, count: int, trainable: bool, hold: bool) -> None:
        for _ in range(count):
            reward = self.made[len(self.sent) % len(self.made)]
            reward = msgspec.structs.replace(
                reward, recommendation_id=f"r{len(self.sent)}", trainable=trainable
            )
            self.sent.append(reward)
            (self.held.append if hold else self._append)(reward)

    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        if self.sent:
            reward = data.draw(st.sampled_from(self.sent))
            delta = (1.0,) + (0.0,) * (len(reward.points) - 1)
            self.sent.append(
                msgspec.structs.replace(
                    reward, revision=reward.revision + 1, delta=delta,
                    points=(reward.points[0] + 1.0, *reward.points[1:]),
                )
            )  # fmt: skip
            self._append(self.sent[-1])

    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        if self.sent:
            self._append(data.draw(st.sampled_from(self.sent)))

    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        for reward in data.draw(st.permutations(self.held)):
            self._append(reward)
        self.held.clear()

    @rule()
    def poison(self) -> None:
        self.house.log.append(REWARDS.name, [Message(None, b"{broken")])

    @rule(ms=st.sampled_from([1, 400, 2_500]))
    def time_passes(self, ms: int) -> None:
        self.clock.now += ms

    @rule(kill_at=POINTS)
    def crash(self, kill_at: str) -> None:
        self.kill_at = kill_at

    @rule()
    def crash_between_steps(self) -> None:
        self.running = None

    @invariant()
    def the_trainer_steps_and_comes_back_when_killed(self) -> None:
        self.running = self.running or self.house.trainer(self._crash_point)
        try:
            self.running.step()
        except Killed:
            self.running = None

    def teardown(self) -> None:
        try:
            self._compare()
        finally:
            shutil.rmtree(self.folder)

    def _compare(self) -> None:
        self.kill_at = None
        for reward in self.held:
            self._append(reward)
        survivor = self.house.trainer()
        while survivor.step():
            pass
        in_peace = House(self.house.log, self.folder / "in_peace", self.shop, self.clock)
        never_killed = in_peace.trainer()
        while never_killed.step():
            pass

        assert self.house.learned() == in_peace.learned()
        self._each_trainable_reward_was_learned_once()

    def _each_trainable_reward_was_learned_once(self) -> None:
        """Both twins may be wrong in the same way, so hold one against the rewards themselves."""
        checkpoint = CheckpointFolder(self.house.root / "checkpoints").latest()
        assert checkpoint is not None
        first: dict[tuple[str, int], int] = {}  # offset of the first delivery
        for offset, (_, value) in enumerate(self.house.log.table()):
            with suppress(SchemaError):
                reward = codec.decode_reward(value)
                if reward.trainable:
                    first.setdefault((reward.recommendation_id, reward.revision), offset)
        learned = [name for name, at in first.items() if at < checkpoint.progress.offset]
        names = (f"{banner} {revision}".encode() for banner, revision in learned)
        assert checkpoint.tensors["seen"].tolist() == [fingerprint(name) for name in names]
        banners, _, refused = checkpoint.tensors["counters"].tolist()
        assert (banners, refused) == (sum(not revision for _, revision in learned), 0)
        assert len(first) - len(learned) < BATCH


def test_promise_3_under_crashes_duplicates_and_reordering(shop: Any) -> None:
    Twin.shop = shop
    Twin.made = [
        reward for seed in range(4) for reward in shop.rewards(16, seed=seed, points=_earned)
    ]

    run_state_machine_as_test(
        Twin, settings=settings(max_examples=20, stateful_step_count=20, deadline=None)
    )
