"""Every fault the ring must survive, seeded, with what a client noted down as the judge."""

from tests.faults.suite import bad_records, kills, machine, parts_away, weights
from tests.faults.suite.beside import BESIDE
from tests.faults.suite.catalogue import FAULTS

__all__ = ["NAMES", "TITLES", "bad_records", "kills", "machine", "parts_away", "weights"]

NAMES = sorted([*FAULTS, *BESIDE], key=lambda name: (int(name[1:].rstrip("kw")), name))
TITLES = {name: each.title for name, each in (*FAULTS.items(), *BESIDE.items())}
