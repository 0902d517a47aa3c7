"""The faults that are played without a ring of this suite."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.suite.finding import Finding


class Beside(NamedTuple):
    """What is done, and who plays it: a function of finding, folder, and whether it may be long."""

    title: str
    play: Callable[[Finding, Path, bool], None]


def fuzzed(finding: Finding, folder: Path, long: bool) -> None:
    """Send what the OpenAPI documents allow, and what they do not."""
    from tests.faults.fuzz import fuzz

    found = fuzz(folder, requests=100_000 if long else 1_000, seed=finding.seed)
    finding.events = found.requests
    finding.wrong += found.failures
    finding.check(found.holds, "not every kind of answer came")
    finding.told.append(
        f"{found.requests:,} requests to {len({label for label, _ in found.statuses})} operations,"
        f" {len(found.failures)} answers that are not as documented"
    )


def attacked(finding: Finding, folder: Path, long: bool) -> None:
    """Let attackers push a product in a simulated shop; the short form leaves floods out."""
    from tests.faults.attacks import ATTACKS, HONEST, attack_table, line

    attacks = [each for each in ATTACKS if long or not each.kind or each.earns_nothing]
    found = attack_table(finding.seed, honest=HONEST if long else 400, attacks=attacks)
    finding.banners = len(attacks) * (HONEST if long else 400)
    finding.events = sum(row.outcomes.total() for row in found.rows)
    finding.wrong += found.broken
    finding.told += ["attack, exposure, reward, events of the attackers", *map(line, found.rows)]


BESIDE = {
    "F18": Beside("anything at all over HTTP, from the OpenAPI document", fuzzed),
    "F19": Beside("replayed, forged, cross-user events; floods of clicks", attacked),
}
