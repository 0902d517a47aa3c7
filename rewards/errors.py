"""What can be wrong with a reward."""


class RewardError(ValueError):
    """Something about rewards is not as it must be."""


class SpecificationRefused(RewardError):
    """A reward specification contradicts `nothing < click < buy < multi-buy`, or itself."""


class LedgerNotReadable(RewardError):
    """The kept state of a routing key is of another layout; replay the log to rebuild it."""
