"""What one fault came to."""

import statistics
from collections.abc import Sequence

import msgspec


class Finding(msgspec.Struct, kw_only=True):
    """One row of the table.

    Attributes:
        fault, seed: what was played; `long`: not in its short form.
        banners: answered to the client; `events`: it sent, copies left out.
        lost: banners that earned less than accepted events are worth, or were never settled.
        doubled: banners that were settled twice or earned more than was sent.
        recovery_seconds: from the end of the fault to a shopper whose click was rewarded, and to
            the next version; None: never.
        p99_ms, calm_p99_ms: of `/recommend`, from the fault to the recovery, and before the fault.
        seconds: how long it took altogether.
        wrong: sentences; each makes the finding red.
        slow: sentences about times held against times of other moments; each makes it red too, but
            may be the machine's, where others share it.
        told: what else is worth knowing.
        skipped: why it could not be played; empty: it was.
    """

    fault: str
    seed: int
    long: bool = True
    banners: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    recovery_seconds: float | None = None
    p99_ms: float | None = None
    calm_p99_ms: float | None = None
    seconds: float = 0.0
    wrong: list[str] = msgspec.field(default_factory=list)
    slow: list[str] = msgspec.field(default_factory=list)
    told: list[str] = msgspec.field(default_factory=list)
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """Return `green`, `red` or `not played`."""
        if self.wrong or self.slow:
            return "red"
        return "not played" if self.skipped else "green"

    def check(self, holds: object, sentence: str) -> None:
        """Keep a sentence about what does not hold."""
        if not holds:
            self.wrong.append(sentence)

    def check_time(self, holds: object, sentence: str) -> None:
        """Keep a sentence about what took too long."""
        if not holds:
            self.slow.append(sentence)


def p99_ms(seconds: Sequence[float]) -> float | None:
    """Return the 99th percentile in milliseconds; None for fewer than 20 values."""
    if len(seconds) < 20:
        return None
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[98]
