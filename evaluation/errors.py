"""What can be wrong with a closed loop."""


class EvaluationError(ValueError):
    """Something about a closed loop is not as it must be."""


class RivalNotInstalled(EvaluationError):
    """A rival's package is missing: install the extra `rivals`."""


class NotationNotReadable(EvaluationError):
    """A setting on the command line has a key that does not exist or a value of another type."""


class ConditionsNotPossible(EvaluationError):
    """A ring cannot work under such conditions."""


class SeedEnded(EvaluationError):
    """The process that played a seed ended without telling what it found."""
