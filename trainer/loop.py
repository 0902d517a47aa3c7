"""The loop around the learner: rewards in, published policies out, progress in a checkpoint.

The order after each batch, the same wherever it is told:
    1. learn       one update (`learner.py`)
    2. publish     the snapshot; the same version with the same bytes again changes nothing
    3. promote     the live pointer, unless the registry holds
    4. announce    on the topic `policies`
    5. checkpoint  weights, moments, offset: offsets follow effects
A crash between any two of them reads the batch again from the checkpoint before, makes the same
bits, and does the rest. Where the live version is neither the trainer's own last nor the one it was
about to promote (a rollback, a new foundation), training goes on from what is live, with fresh
moments; where that could not serve, training goes on as it was, and its next version replaces it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from policy.errors import (
    PolicyError,
    RegistryHeld,
    SnapshotRejected,
    SnapshotUnknown,
    SnapshotUnreadable,
    VersionTaken,
)
from policy.registry import Registry
from schemas import codec
from schemas.errors import SchemaError
from schemas.policies import Announcement, Live, Manifest
from streams.dead_letters import bury
from streams.errors import LogUnavailable
from streams.port import Consumer, Log, Message, Partition, Record
from streams.topics import POLICIES, REWARDS
from trainer.catalogue import FollowedCatalogue
from trainer.checkpoint import CheckpointFolder, Progress
from trainer.errors import RewardNotUsable
from trainer.examples import Example, causes_ms, read_example
from trainer.learner import Learner
from trainer.metrics import TrainerMetrics
from trainer.open_batch import OpenBatch, Seen
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)

PROCESS: Final = "train"
_VERSIONS_PER_PRUNING: Final = 16
_REWARDS: Final = Partition(REWARDS.name, 0)


@dataclass(slots=True)
class _Work:
    """What is known between a start and the next fault."""

    consumer: Consumer
    learner: Learner
    progress: Progress
    seen: Seen
    batch: OpenBatch


class Trainer:
    """Follows the topic `rewards` and publishes policies.

    One runs at a time. Unreadable records go to `events.dead`, duplicates and untrainable ones are
    counted and left out.

    Args:
        event_log: `rewards` and `products` are read, `policies` and `events.dead` appended to.
        registry: where snapshots are published and promoted.
        checkpoints: folder of the checkpoints.
        clock: milliseconds since 1970; stamps announcements, decides nothing.
        settings: see `TrainerSettings`.
        metrics_registry: for the metrics; None: one of its own.
        crash_point: called after each named step; tests stop there.
    """

    def __init__(
        self,
        event_log: Log,
        registry: Registry,
        checkpoints: Path,
        *,
        clock: Callable[[], int],
        settings: TrainerSettings | None = None,
        metrics_registry: CollectorRegistry | None = None,
        crash_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings = settings or TrainerSettings()
        self.metrics = TrainerMetrics(metrics_registry or CollectorRegistry())
        self._log = event_log
        self._registry = registry
        self._checkpoints = CheckpointFolder(checkpoints)
        self._clock = clock
        self._crash_point = crash_point
        self._catalogue = FollowedCatalogue(event_log)
        self._work: _Work | None = None
        self._lag_at_ms = 0

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set; wait and start again from the checkpoint after a fault."""
        while not stop.is_set():
            try:
                if not self.step() and self._work is None:
                    stop.wait(self.settings.retry_seconds)
            except (LogUnavailable, PolicyError, OSError) as problem:
                log.warning("training_interrupted", problem=str(problem))
                self.close()
                stop.wait(self.settings.retry_seconds)
        self.close()

    def step(self) -> int:
        """Read once and learn from every batch that closed; return how many records were read.

        Without a live snapshot there is nothing to train: 0.

        Raises:
            LogUnavailable: the log cannot be reached; `close`, then step again.
            OSError: a snapshot or checkpoint could not be written; likewise.
        PolicyError: what is live cannot be read; likewise.
        """
        if self._work is None:
            live = self._registry.live()
            if live is None:
                return 0
            self._work = self._start(live)
        work = self._work
        records = work.consumer.poll(
            max_records=self.settings.poll_records, timeout_seconds=self.settings.poll_seconds
        )
        for record in records:
            if work.batch.is_over(record.appended_at_ms):
                self._close_batch(work, record.offset)
            example = self._read(work, record)
            if example and work.batch.add(example, record.appended_at_ms):
                self._close_batch(work, record.offset + 1)
        self._look_up_lag(work)
        return len(records)

    def _look_up_lag(self, work: _Work) -> None:
        now_ms = self._clock()
        if now_ms - self._lag_at_ms >= self.settings.lag_ms:
            self._lag_at_ms = now_ms
            end = self._log.end_offsets(REWARDS.name)[_REWARDS]
            self.metrics.lag.set(max(end - work.progress.offset, 0))

    def close(self) -> None:
        """Let go of the log; what is not in a checkpoint is read again at the next step."""
        if self._work is not None:
            self._work.consumer.close()
            self._work = None
        self._catalogue.close()
        self._catalogue = FollowedCatalogue(self._log)

    def _read(self, work: _Work, record: Record) -> Example | None:
        """Return a record as an example; None: not to be trained."""
        try:
            reward = codec.decode_reward(record.value)
            if not reward.trainable:
                self.metrics.records.labels("untrainable").inc()
                return None
            products = len(self._catalogue.reach(reward.catalogue_version))
            example = read_example(reward, products)
        except (SchemaError, RewardNotUsable) as problem:
            log.warning("reward_not_readable", offset=record.offset, reason=str(problem))
            letter = bury(record, str(problem), PROCESS)
            self._log.append(letter.topic, [Message(letter.key, letter.value)])
            self.metrics.records.labels("unreadable").inc()
            return None
        new = work.seen.add(reward)
        self.metrics.records.labels("trained" if new else "duplicate").inc()
        behind = work.progress.parent - reward.policy_version
        self.metrics.staleness.observe(max(behind, 0))
        if behind > self.settings.stale_versions:
            self.metrics.stale.inc()
        return example if new else None

    def _close_batch(self, work: _Work, offset: int) -> None:
        """Learn from the open batch, which ends before `offset`, and make the effects known."""
        started = time.monotonic()
        live = self._registry.live()
        if live is not None and self._follow(live, work):
            self._save(work, work.progress)  # a refused batch goes back to here, not before
        if self._catalogue.current.version > work.progress.catalogue_version:
            work.learner.grow(self._catalogue.current.features)
        examples = work.batch.take()
        health = work.learner.learn(examples)
        if health["refused"]:
            log.error("batch_refused", banners=len(examples), reason="not finite")
            self._forget_batch(work)
        self._crash_point("learned")
        progress = msgspec.structs.replace(
            work.progress,
            number=work.progress.number + 1,
            offset=offset,
            catalogue_version=self._catalogue.current.version,
        )
        outcome = "refused"
        if not health["refused"]:
            progress, outcome = self._publish(work, progress, health, examples)
        work.batch.batch_banners = work.learner.wanted
        self._save(work, progress)
        self._crash_point("saved")
        self.metrics.show(health)
        self.metrics.batches.labels(outcome).inc()
        self.metrics.version.set(progress.parent)
        self.metrics.offset.set(offset)
        self.metrics.update_seconds.observe(time.monotonic() - started)
        _tell(examples, progress, outcome)

    def _publish(
        self,
        work: _Work,
        progress: Progress,
        health: dict[str, float],
        examples: Sequence[Example],
    ) -> tuple[Progress, str]:
        """Publish, promote unless held, announce; return the progress and what became of it."""
        try:
            version = self._publish_snapshot(work.learner, progress, health, examples)
        except SnapshotRejected:
            log.exception("batch_refused", banners=len(examples))
            self._forget_batch(work)
            return progress, "refused"
        self.metrics.published_timestamp.set(self._clock() / 1000)
        self._crash_point("published")
        promoted, outcome = progress.promoted, "held"
        try:
            promoted, outcome = self._promote(version), "promoted"
        except RegistryHeld:
            log.info("promotion_held", version=version)
        self._crash_point("promoted")
        self._announce(version, causes_ms(examples), promoted=outcome == "promoted")
        self._crash_point("announced")
        if version % _VERSIONS_PER_PRUNING == 0:
            self._registry.prune()
        progress = msgspec.structs.replace(
            progress, next_version=version + 1, parent=version, promoted=promoted
        )
        return progress, outcome

    def _publish_snapshot(
        self,
        learner: Learner,
        progress: Progress,
        health: dict[str, float],
        examples: Sequence[Example],
    ) -> int:
        """Return the version: the planned one, or a later one when others published meanwhile."""
        publish = partial(
            self._registry.publish,
            learner.weights(),
            parent=progress.parent,
            foundation=progress.foundation,
            catalogue_version=progress.catalogue_version,
            updates=learner.updates,
            banners=learner.banners,
            rewards_offset=progress.offset,
            learned_events_ms=causes_ms(examples),
            health=health,
        )
        try:
            return publish(version=progress.next_version).version
        except VersionTaken:
            return publish().version

    def _forget_batch(self, work: _Work) -> None:
        """Put the learner back to the checkpoint before the batch."""
        checkpoint = self._checkpoints.latest()
        if checkpoint is not None:
            work.learner.restore(checkpoint.tensors)

    def _promote(self, version: int) -> int:
        live = self._registry.live()
        if live is not None and live.version == version:  # before a crash
            return version
        return self._registry.promote(version, reason="learned").version

    def _announce(self, version: int, learned_ms: tuple[int, ...], *, promoted: bool) -> None:
        now = self._clock()
        news = [
            Announcement(
                kind="published",
                version=version,
                at_ms=now,
                process=PROCESS,
                learned_events_ms=learned_ms,
            ),
            Announcement(kind="promoted", version=version, at_ms=now, process=PROCESS),
        ]
        self._log.append(
            POLICIES.name, [Message(None, codec.encode(one)) for one in news[: 1 + promoted]]
        )

    def _save(self, work: _Work, progress: Progress) -> None:
        tensors = {**work.learner.state(), "seen": work.seen.fingerprints()}
        self._checkpoints.save(progress, tensors)
        work.progress = progress

    def _start(self, live: Live) -> _Work:
        """Return the work as the last checkpoint left it, or from the live snapshot."""
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            learner, progress = self._from_live(live, number=0, offset=0)
            seen = Seen()
        else:
            progress = checkpoint.progress
            seen = Seen(checkpoint.tensors["seen"])
            catalogue = self._catalogue.reach(progress.catalogue_version)
            foundation = self._registry.load(progress.foundation).weights
            kept = checkpoint.part("weights/")
            learner = Learner(kept, foundation, catalogue.features, self.settings.learner)
            learner.restore(checkpoint.tensors)
        consumer = self._log.consumer([REWARDS.name], group=None)
        batch = OpenBatch(
            batch_banners=learner.wanted,
            batch_ms=round(self.settings.batch_seconds * 1000),
            least_ms=round(self.settings.least_seconds * 1000),
            most_banners=self.settings.learner.batch_banners,
        )
        work = _Work(consumer, learner, progress, seen, batch)
        self._follow(live, work)
        if checkpoint is None:
            self._save(work, msgspec.structs.replace(work.progress, number=1))
        first = self._log.start_offsets(REWARDS.name).get(_REWARDS, 0)
        consumer.seek(_REWARDS, max(work.progress.offset, first))
        log.info("training_starts", offset=work.progress.offset, parent=work.progress.parent)
        return work

    def _follow(self, live: Live, work: _Work) -> bool:
        """Go on from what somebody else made live; False: what is live is ours, or cannot serve.

        What cannot serve is replaced by the next promotion; under a hold nothing would replace it.

        Raises:
            PolicyError: it cannot serve and the registry holds, or the disk does not give it.
        """
        try:
            if self._is_ours(live, work.progress):
                return False
            self._go_on_from(live, work)
        except (SnapshotRejected, SnapshotUnknown) as problem:
            if live.hold or isinstance(problem, SnapshotUnreadable):
                raise
            log.warning("live_cannot_serve", version=live.version, reason=str(problem))
            return False
        return True

    def _is_ours(self, live: Live, progress: Progress) -> bool:
        """Return whether what is live is what the trainer made live, or was about to."""
        if live.version in {progress.promoted, progress.parent}:
            return True
        if live.version != progress.next_version:
            return False
        manifest = self._registry.load(live.version).manifest
        return manifest.parent == progress.parent and manifest.rewards_offset is not None

    def _go_on_from(self, live: Live, work: _Work) -> None:
        """Take what is live, with fresh moments; records that are in it already are passed over."""
        learner, progress = self._from_live(
            live, number=work.progress.number, offset=work.progress.offset
        )
        log.info("training_goes_on_from_live", version=live.version, before=work.progress.parent)
        work.learner, work.progress = learner, progress
        work.batch.batch_banners = learner.wanted

    def _from_live(self, live: Live, *, number: int, offset: int) -> tuple[Learner, Progress]:
        snapshot = self._registry.load(live.version)
        manifest: Manifest = snapshot.manifest
        foundation = self._registry.load(manifest.foundation).weights
        catalogue = self._catalogue.reach(manifest.catalogue_version)
        learner = Learner(snapshot.weights, foundation, catalogue.features, self.settings.learner)
        learner.banners, learner.updates = manifest.banners, manifest.updates
        return learner, Progress(
            number=number,
            offset=max(offset, manifest.rewards_offset or 0),
            next_version=self._registry.next_version(),
            parent=live.version,
            promoted=live.version,
            foundation=manifest.foundation,
            catalogue_version=catalogue.version,
        )


def _tell(examples: Sequence[Example], progress: Progress, outcome: str) -> None:
    """Log what became of a batch and, for those who follow a banner, what was in it."""
    said = log.bind(version=progress.parent, offset=progress.offset, outcome=outcome)
    said.info("batch_learned", banners=len(examples))
    if log.is_enabled_for(logging.DEBUG):
        ids = [example.reward.recommendation_id for example in examples]
        said.debug("banners_learned", recommendation_ids=ids)
