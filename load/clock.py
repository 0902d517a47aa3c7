"""The wall clock of a benchmark's processes, read here and passed on as an argument."""

import time


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000
