"""What serves now: catalogue and policies as one immutable reference, so a request sees one of it.

The watcher replaces the reference; a request reads it once and never again.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.serving import ServingPolicy
from projections.catalogue import Catalogue

NO_VERSION: Final = 0
"""The policy version while no weights are loaded."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy compiled for a catalogue, warm."""

    policy: ServingPolicy
    version: int


@dataclass(frozen=True, slots=True)
class ServingState:
    """Everything of one request that can be swapped.

    Attributes:
        catalogue: the products and what may be shown.
        behaviour: the live policy; None: no weights are loaded.
        foundation: the reference policy, which serves the control arm.
        popular: (n,) int32 rows by popularity, the most popular first; empty: not known.
    """

    catalogue: Catalogue
    behaviour: Loaded | None
    foundation: Loaded | None
    popular: npt.NDArray[np.int32]

    @property
    def policy_version(self) -> int:
        """Return the live policy's version; 0: none."""
        return NO_VERSION if self.behaviour is None else self.behaviour.version


class Behaviour:
    """Holds the serving state. Reading and replacing are single references: no lock is needed.

    Attributes:
        state: what serves now.
    """

    def __init__(self, state: ServingState) -> None:
        self.state = state

    @property
    def ready(self) -> bool:
        """True when weights are loaded and warm."""
        return self.state.behaviour is not None
