"""The recipe's numbers."""

from dataclasses import dataclass, field
from typing import Final

from trainer.errors import SettingsNotPossible
from trainer.reward_model import RewardModelSettings
from trainer.sound import require_sound

_FROM_ONE: Final = (
    "batch_banners", "early_batch_banners", "epochs", "threads", "full_batch", "horizon_batches",
    "rate_decay_banners", "kl_decay_banners", "focus_banners",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LearnerSettings:
    """The recipe's numbers.

    Attributes:
        batch_banners: the policy gradient moves when so many records have come since it last did.
        early_batch_banners, early_banners: the reward model learns, and draws, this often until so
            many banners were rewarded; then with the policy gradient.
        epochs: passes over a batch.
        learning_rate: of Adam at the start; it falls with 1/sqrt(1 + banners/rate_decay_banners)
            down to rate_floor times.
        clip: half-width of the interval around 1 outside which rho earns nothing.
        weight_cap: of the importance weights w_k.
        kl: beta at the start; it falls with 1/(1 + banners/kl_decay_banners) down to kl_floor.
        full_batch: a batch of fewer records moves the weights less, by sqrt(records/full_batch):
            Adam's steps are as long on noise, and at low traffic batches close by time.
        gradient_norm: gradients are scaled down to at most this.
        horizon_batches: of the moving baseline.
        focus_gain, focus_banners: scores are served times 1 + focus_gain/(1 + banners/
            focus_banners), because at first the reward model's draw explores better than chance; 0,
            or no reward model: as trained.
        threads: of torch on the CPU.
        device: "auto", "cpu" or "cuda".
        reward_model: of the reward model.
    """

    batch_banners: int = 256
    early_batch_banners: int = 64
    early_banners: int = 10_000
    epochs: int = 2
    learning_rate: float = 3e-3
    rate_floor: float = 0.2
    rate_decay_banners: float = 100_000.0
    clip: float = 0.2
    weight_cap: float = 2.0
    kl: float = 0.05
    kl_floor: float = 0.01
    kl_decay_banners: float = 100_000.0
    full_batch: int = 64
    gradient_norm: float = 1.0
    horizon_batches: float = 50.0
    focus_gain: float = 3.0
    focus_banners: float = 2_000.0
    threads: int = 1
    device: str = "auto"
    reward_model: RewardModelSettings = field(default_factory=RewardModelSettings)

    def __post_init__(self) -> None:
        require_sound(self, from_one=_FROM_ONE)
        if self.device not in {"auto", "cpu"} and not self.device.startswith("cuda"):
            raise SettingsNotPossible(f"device is {self.device!r}: auto, cpu or cuda")
