"""What can go wrong with the log."""


class LogError(RuntimeError):
    """The log could not do what was asked."""


class LogUnavailable(LogError):
    """The log cannot be reached or has no room; nothing is known to be durable, try again."""


class Fenced(LogError):
    """Another member of the group owns the partition now; drop what was not committed."""


class NameTaken(LogError):
    """Another living process bears this one's name in a group; the text says what to set."""


class TopicMismatch(LogError):
    """A topic is missing or differs from its declaration; the text says in what and what to do."""


class MessageTooLarge(LogError):
    """A message is larger than the log takes; trying again does not help."""


class SpoolFull(LogUnavailable):
    """Neither the log nor the spool before it has room; nothing is durable, try again later."""
