"""What a command can fail with, and its exit status."""


class CommandFailed(RuntimeError):
    """The command could not do its work (exit status 1)."""


class BadUsage(CommandFailed):
    """The command was called with something that cannot be used (exit status 2)."""
