"""Every fault the ring must survive, seeded, with what a client noted down as the judge."""

from tests.faults.suite import bad_records, kills, machine, parts_away, weights
from tests.faults.suite.catalogue import BESIDE, FAULTS

__all__ = ["NAMES", "bad_records", "kills", "machine", "parts_away", "weights"]

NAMES = sorted([*FAULTS, *BESIDE], key=lambda name: (int(name[1:].rstrip("kw")), name))
