"""What can go wrong while training."""


class TrainerError(RuntimeError):
    """Training could not go on."""


class SettingsNotPossible(TrainerError, ValueError):
    """No learner can follow these settings."""


class NotEnoughPastOrders(TrainerError):
    """There are too few past orders to pretrain on: import more purchases."""


class RewardNotUsable(TrainerError):
    """A reward record contradicts itself or the catalogue and cannot be learned from."""


class CheckpointNotReadable(TrainerError):
    """A checkpoint file is torn or of another layout."""


class Stopped(TrainerError):
    """A named crash point was reached (tests only)."""
