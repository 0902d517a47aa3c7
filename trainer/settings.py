"""How the trainer's loop paces itself."""

from dataclasses import dataclass, field

from trainer.learner_settings import LearnerSettings


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How the loop works.

    Attributes:
        batch_seconds: a batch that is not full closes with the first record appended so much later
            than its first.
        least_seconds: a batch of fewer than the learner's `batch_banners` lasts at least so long.
        stale_versions: records drawn by a version further behind are counted as stale.
        poll_records, poll_seconds: of the log.
        retry_seconds: wait when the log or the disk refuses.
        lag_ms: how often the lag is looked up.
        learner: the recipe.
    """

    batch_seconds: float = 4.0
    least_seconds: float = 0.7
    stale_versions: int = 50
    poll_records: int = 512
    poll_seconds: float = 0.2
    retry_seconds: float = 1.0
    lag_ms: int = 5_000
    learner: LearnerSettings = field(default_factory=LearnerSettings)
