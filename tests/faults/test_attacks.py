"""Forged, replayed and cross-user events earn nothing; what a flood of clicks can do is bounded."""

import pytest

from tests.faults.attackers import Attack
from tests.faults.attacks import ATTACKS, Finding, attack_table

HONEST = 400


@pytest.fixture(scope="module")
def found() -> Finding:
    kinds = ("replayed", "forged", "cross-user", "click flood")
    attacks = [Attack(kind, 0.2, defended=on) for kind in kinds for on in (True, False)]
    return attack_table(1, honest=HONEST, attacks=[Attack(), *attacks])


def rows_of(found: Finding, kind: str, *, defended: bool) -> list:
    return [r for r in found.rows if r.attack.kind == kind and r.attack.defended == defended]


@pytest.mark.parametrize("kind", ["replayed", "forged", "cross-user"])
def test_promise_9_not_one_event_of_an_attacker_counts_and_nobody_notices(found, kind):
    calm = found.rows[0]
    (defended,), (open_,) = (rows_of(found, kind, defended=on) for on in (True, False))

    assert set(defended.outcomes) == {"forged"}
    assert (defended.exposure, defended.reward) == (calm.exposure, calm.reward)
    assert open_.outcomes["accepted"] > 10
    assert (open_.exposure, open_.reward) != (calm.exposure, calm.reward)


def test_one_machine_cannot_click_a_product_up_without_end(found):
    (defended,), (open_,) = (rows_of(found, "click flood", defended=on) for on in (True, False))

    assert defended.outcomes["accepted"] == 60
    assert defended.outcomes["rate_limited"] > 10
    assert open_.outcomes["accepted"] > 70


def test_the_table_holds_every_attack_at_every_share():
    floods = {attack.share for attack in ATTACKS if attack.kind == "click flood"}

    assert floods == {0.01, 0.05, 0.2}
    assert {a.kind for a in ATTACKS} >= {"", "replayed", "forged", "cross-user", "paid buyers"}
    assert all(any(not a.defended for a in ATTACKS if a.kind == kind) for kind in ("forged",))
