"""What befalls a synthetic shop, whichever its principles: how its visits are mixed."""

from dataclasses import dataclass
from typing import Final

from simulator.errors import WorldNotPossible


@dataclass(frozen=True, slots=True)
class SyntheticShare:
    """How the visits of a synthetic shop are mixed.

    Attributes:
        anonymous: share of visits without a user id.
        viewed: share of visits on a product page.
        searching: share of visits whose shopper also buys what she always buys, or the product
            viewed, by herself.
    """

    anonymous: float = 0.1
    viewed: float = 0.8
    searching: float = 0.25

    def __post_init__(self) -> None:
        if not all(0.0 <= share <= 1.0 for share in (self.anonymous, self.viewed, self.searching)):
            raise WorldNotPossible("shares lie between 0 and 1")


ORDINARY: Final = SyntheticShare()
