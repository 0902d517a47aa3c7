"""The log in one SQLite file, for one machine."""

from streams.local.log import LocalLog

__all__ = ["LocalLog"]
