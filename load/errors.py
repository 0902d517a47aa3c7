"""What can be wrong with a benchmark."""


class LoadError(Exception):
    """The root of this package's errors; its text says what to do."""


class ToolMissing(LoadError):
    """A program that the benchmark needs is not installed."""


class ProcessFailed(LoadError):
    """A process that the benchmark started did not come up, or ended with a failure."""


class AnswersRefused(LoadError):
    """Some requests of a round were not answered with a 2xx: its numbers would mean nothing."""
