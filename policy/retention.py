"""Which snapshots are kept: foundations, what is live, the newest, and one an hour for a week."""

from collections.abc import Sequence
from typing import Final

from schemas.policies import Live, Manifest

NEWEST: Final = 50
HOURLY_DAYS: Final = 7
_HOUR_MS: Final = 3_600_000


def versions_to_drop(manifests: Sequence[Manifest], live: Live | None, *, now_ms: int) -> list[int]:
    """Return the versions that need not be kept, ascending.

    Of every hour the newest version stays. What the live version's own foundation and what a kept
    one names as its foundation stay too.

    Args:
        manifests: of all versions.
        live: the live pointer; None: there is none.
        now_ms: milliseconds since 1970.
    """
    by_version = sorted(manifests, key=lambda manifest: manifest.version)
    kept = {manifest.version for manifest in by_version[-NEWEST:]}
    kept |= {manifest.version for manifest in by_version if manifest.parent is None}
    kept |= {manifest.foundation for manifest in by_version}
    if live is not None:
        kept |= {live.version, live.foundation}
    since = now_ms - HOURLY_DAYS * 24 * _HOUR_MS
    hourly = {
        manifest.created_at_ms // _HOUR_MS: manifest.version
        for manifest in by_version
        if manifest.created_at_ms >= since
    }
    kept |= set(hourly.values())
    return [manifest.version for manifest in by_version if manifest.version not in kept]
