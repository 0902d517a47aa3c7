"""What can be wrong with a policy, a draw or a snapshot."""


class PolicyError(ValueError):
    """Something about the policy is not as it must be."""


class BannerNotDrawable(PolicyError):
    """A banner repeats a candidate or shows one that is not among the candidates."""


class SnapshotRejected(PolicyError):
    """A snapshot may not serve; the text names the check that refused it."""


class SnapshotUnreadable(SnapshotRejected):
    """A snapshot cannot be read just now (too many open files, a disk that fails): try again."""


class NoLiveSnapshot(PolicyError):
    """The registry has no live snapshot yet: run `quintet pretrain`."""


class LivePointerNotReadable(PolicyError):
    """`live.json` is damaged; what serves goes on, and `rollback --to` makes the pointer anew."""


class RegistryHeld(PolicyError):
    """The registry holds after a rollback: nothing is promoted until `quintet policies resume`."""


class SnapshotUnknown(PolicyError):
    """The registry does not keep that version: see `quintet policies list`."""


class VersionTaken(PolicyError):
    """The version exists with other weights, or its number has passed; numbers are never reused."""
