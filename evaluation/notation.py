"""Settings as people write them on a command line: KEY=VALUE, tuples as 1/2."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, get_args

from evaluation.errors import NotationNotReadable

_WANTED = {int: "a whole number", float: "a number", str: "a word"}


def read_settings(parts: Sequence[str], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by key.

    Args:
        parts: KEY=VALUE each.
        kinds: by key, the type its value must have: int, float, str, a tuple of them, or one of
            them or None.

    Raises:
        NotationNotReadable: a key that is not among the kinds, twice the same, or a value of
            another type; the text says what is possible.

    Example:
        >>> kinds = {"weight": float, "spread": tuple[float, float]}
        >>> read_settings(["weight=6", "spread=.3/.1"], kinds)
        {'weight': 6.0, 'spread': (0.3, 0.1)}
    """
    found: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise NotationNotReadable(f"{part!r}: write KEY=VALUE; there are {', '.join(kinds)}")
        if key not in kinds:
            raise NotationNotReadable(f"{key!r} is unknown; there are {', '.join(kinds)}")
        if key in found:
            raise NotationNotReadable(f"{key!r} is given twice")
        found[key] = _read(part, value, kinds[key])
    return found


def _read(part: str, value: str, kind: Any) -> Any:  # noqa: ANN401 - a type, and one of it
    if not isinstance(kind, type) or hasattr(kind, "__args__"):
        kinds = [each for each in get_args(kind) if each is not NoneType]
        if getattr(kind, "__origin__", None) is not tuple:
            return _read(part, value, kinds[0])
        values = value.split("/")
        if len(values) != len(kinds):
            raise NotationNotReadable(f"{part}: {len(kinds)} values are wanted, with / between")
        return tuple(_read(part, each, of) for each, of in zip(values, kinds, strict=True))
    try:
        return kind(value)
    except ValueError:
        raise NotationNotReadable(f"{part}: {_WANTED[kind]} is wanted") from None
