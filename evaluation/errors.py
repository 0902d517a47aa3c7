"""What can be wrong with a closed loop."""


class EvaluationError(ValueError):
    """Something about a closed loop is not as it must be."""


class RivalNotInstalled(EvaluationError):
    """A rival's package is missing: install the extra `rivals`."""
