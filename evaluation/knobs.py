"""What can be turned at a made-up world, as people write it: pull=.8,taste_drift=20000,bots=.05."""

from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

from evaluation.errors import NotationNotReadable
from evaluation.notation import read_settings
from simulator.aisles import AislesWorld
from simulator.circumstances import Circumstances, Rhythm, Spell, SyntheticShare
from simulator.synthetic import SyntheticWorld
from simulator.world import World

MADE_UP: Final[Mapping[str, Callable[..., World]]] = {
    "synthetic": SyntheticWorld,
    "aisles": AislesWorld,
}
_ELSEWHERE: Final = ("products", "seed")
_SHARE: Final = get_type_hints(SyntheticShare)
_RHYTHM: Final = {**get_type_hints(Rhythm), "spells": str}
_CIRCUMSTANCES: Final = {
    name: kind for name, kind in get_type_hints(Circumstances).items() if name != "rhythm"
}


def read_knobs(world: str, text: str) -> dict[str, Any]:
    """Return the keyword arguments of a made-up world that its knobs mean.

    Args:
        world: its name; others than `MADE_UP` have none.
        text: KEY=VALUE, comma-separated: what the world's constructor takes, and fields of
            `SyntheticShare`, `Circumstances` and `Rhythm`. A spell is DAY-DAY*FACTOR, several have
            / between. Empty: everything as usual.

    Raises:
        NotationNotReadable: a key or value that cannot be used; the text names the keys there are.
        simulator.errors.WorldNotPossible: a value that makes no shop.

    Example:
        >>> read_knobs("synthetic", "pull=.8,bots=.05")["circumstances"].bots
        0.05
    """
    if not text:
        return {}
    if world not in MADE_UP:
        raise NotationNotReadable(f"the world {world} has no knobs; {', '.join(MADE_UP)} have")
    own = {
        name: kind
        for name, kind in get_type_hints(MADE_UP[world].__init__).items()
        if kind in (int, float) and name not in _ELSEWHERE
    }
    given = read_settings(text.split(","), {**own, **_SHARE, **_CIRCUMSTANCES, **_RHYTHM})
    if "spells" in given:
        given["spells"] = tuple(_spell(each) for each in given["spells"].split("/"))

    def of(kinds: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name in kinds}

    circumstances = Circumstances(**of(_CIRCUMSTANCES), rhythm=Rhythm(**of(_RHYTHM)))
    return {**of(own), "share": SyntheticShare(**of(_SHARE)), "circumstances": circumstances}


def _spell(text: str) -> Spell:
    """Return a spell.

    Example:
        >>> _spell("1-2.5*4")
        Spell(begin=1.0, end=2.5, factor=4.0)
    """
    days, _, factor = text.partition("*")
    begin, _, end = days.partition("-")
    try:
        return Spell(float(begin), float(end), float(factor))
    except ValueError as problem:
        raise NotationNotReadable(f"spells={text}: write DAY-DAY*FACTOR ({problem})") from None
