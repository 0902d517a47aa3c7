"""Contenders with other settings, as they are named on the command line: policy:weight=6+stale=16.

What is varied may be any field of the learner's settings, of its reward model's, and of the ring's
conditions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_type_hints

from evaluation.errors import NotationNotReadable
from evaluation.notation import read_settings
from evaluation.rivals.conditions import RingConditions
from trainer.learner_settings import LearnerSettings
from trainer.reward_model import RewardModelSettings

VARIED: Final = ("policy", "base")
"""The contenders built on the ring's learner."""
_REWARD_MODEL: Final = get_type_hints(RewardModelSettings)
_RING: Final = get_type_hints(RingConditions)
_LEARNER: Final = {
    name: kind
    for name, kind in get_type_hints(LearnerSettings).items()
    if name != "reward_model" and name not in _REWARD_MODEL
}
_NEXT: Final = re.compile(r"\+(?=[a-z_]+(?:=|$))")


@dataclass(frozen=True, slots=True)
class Variant:
    """A contender on the ring's learner.

    Attributes:
        contender: `policy` or `base`.
        learner, reward_model: values that differ, by field.
        ring: what befalls rewards and weights on their way.
    """

    contender: str
    learner: Mapping[str, Any]
    reward_model: Mapping[str, Any]
    ring: RingConditions

    def settings(self, usual: LearnerSettings) -> LearnerSettings:
        """Return the learner's settings, where the usual ones hold for what does not differ."""
        model = usual.reward_model
        if self.contender == "base":
            model = replace(model, weight=0.0)
        return replace(usual, reward_model=replace(model, **self.reward_model), **self.learner)


def read_variant(text: str) -> Variant:
    """Return the variant that a name means: NAME, or NAME:KEY=VALUE+KEY=VALUE.

    Raises:
        NotationNotReadable: the contender is not one of VARIED, or a key or value cannot be used;
            the text names the keys there are.

    Example:
        >>> read_variant("policy:weight=6+stale=16").reward_model
        {'weight': 6.0}
    """
    name, colon, rest = text.partition(":")
    if name not in VARIED:
        raise NotationNotReadable(f"{text}: only {' and '.join(VARIED)} can be varied")
    try:
        kinds = {**_LEARNER, **_REWARD_MODEL, **_RING}
        given = read_settings(_NEXT.split(rest) if colon else [], kinds)
        variant = Variant(
            contender=name,
            learner={key: value for key, value in given.items() if key in _LEARNER},
            reward_model={key: value for key, value in given.items() if key in _REWARD_MODEL},
            ring=RingConditions(**{key: value for key, value in given.items() if key in _RING}),
        )
        variant.settings(LearnerSettings())
    except ValueError as problem:
        raise NotationNotReadable(f"{text}: {problem}") from None
    return variant
