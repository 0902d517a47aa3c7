"""Settings that no learner could follow are refused where they are made."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from trainer.errors import SettingsNotPossible


def require_sound(settings: Any, *, from_one: Sequence[str] = ()) -> None:  # noqa: ANN401
    """Require that the numbers of a dataclass are finite and not negative.

    Args:
        settings: numbers, and tuples of them; other fields are passed over.
        from_one: names of those that must be 1 at least.

    Raises:
        SettingsNotPossible: the text names the setting.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        least = 1 if field.name in from_one else 0
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not least <= number < math.inf:
                raise SettingsNotPossible(
                    f"{field.name} is {number}: give a finite number, {least} at least"
                )
