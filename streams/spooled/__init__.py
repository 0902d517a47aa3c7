"""A log that may be away: what it does not take waits on this machine's disk, in order."""

from streams.spooled.log import Meter, SpooledLog, SpoolSettings
from streams.spooled.spool import Spool

__all__ = ["Meter", "Spool", "SpoolSettings", "SpooledLog"]
