"""What can go wrong in the console."""


class ConsoleError(RuntimeError):
    """The console could not do what was asked."""


class RecommendationNotFound(ConsoleError):
    """The log holds no such recommendation: it was never logged, or is older than the log."""


class PolicyNotFound(ConsoleError):
    """The registry holds no such version."""


class NotAllowed(ConsoleError):
    """The caller may not operate the ring; the text says what is missing."""


class BadRequest(ConsoleError):
    """The request cannot be understood; the text says where and why."""
