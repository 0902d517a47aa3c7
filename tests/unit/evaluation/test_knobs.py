"""Knobs reach the world they are meant for, and wrong ones are answered with those there are."""

from pathlib import Path

import pytest

from cli.errors import BadUsage
from cli.worlds import open_world
from evaluation.errors import NotationNotReadable
from evaluation.knobs import MADE_UP, read_knobs
from simulator.circumstances import Circumstances, Rhythm, Spell, SyntheticShare
from simulator.errors import WorldNotPossible


def test_no_knobs_leave_everything_as_usual() -> None:
    assert read_knobs("synthetic", "") == {}
    assert read_knobs("grocer", "") == {}


def test_each_knob_goes_where_it_belongs() -> None:
    found = read_knobs(
        "synthetic", "pull=.8,taste_drift=20000,bots=.05,viewed=.5,daily=.4,spells=1-2.5*4/8-15*.1"
    )

    rhythm = Rhythm(daily=0.4, spells=(Spell(1.0, 2.5, 4.0), Spell(8.0, 15.0, 0.1)))
    assert found == {
        "pull": 0.8,
        "share": SyntheticShare(viewed=0.5),
        "circumstances": Circumstances(taste_drift=20_000, bots=0.05, rhythm=rhythm),
    }


@pytest.mark.parametrize("world", list(MADE_UP))
def test_a_turned_world_is_another_one(world: str, tmp_path: Path) -> None:
    def opened(knobs: str) -> list[bool]:
        shop = open_world(world, seed=3, cache=tmp_path, products=60, knobs=knobs)
        visits = shop.visits(1)
        return [next(visits).is_bot for _ in range(60)]

    assert not any(opened("past=100,shoppers=20"))
    assert any(opened("past=100,shoppers=20,bots=.3"))


@pytest.mark.parametrize(
    ("world", "text", "said"),
    [
        ("aisles", "pull=.8", "'pull' is unknown; there are shoppers, past, delay"),
        ("synthetic", "seed=3", "unknown"),
        ("synthetic", "products=9", "unknown"),
        ("synthetic", "bots", "write KEY=VALUE"),
        ("synthetic", "taste_drift=.5", "a whole number is wanted"),
        ("synthetic", "spells=1*4", "DAY-DAY"),
        ("synthetic", "spells=2-1*4", "begins before it ends"),
        ("grocer", "bots=.1", "the world grocer has no knobs; synthetic, aisles have"),
    ],
)
def test_a_wrong_knob_is_answered_with_those_there_are(world: str, text: str, said: str) -> None:
    with pytest.raises((NotationNotReadable, WorldNotPossible), match=said):
        read_knobs(world, text)


@pytest.mark.parametrize("knobs", ["bots=2", "pull=2", "sorts=1"])
def test_a_world_that_cannot_be_is_bad_usage(knobs: str, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=f"--knobs {knobs}"):
        open_world("synthetic", seed=0, cache=tmp_path, products=60, knobs=knobs)
