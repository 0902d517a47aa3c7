"""What is known when a request arrives, as arrays."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schemas import history as histories
from schemas.history import History


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one request.

    Attributes:
        viewed_row: row of the product viewed; -1: none.
        history: the shopper's last ten purchases and repeats; rows the catalogue does not know are
            ignored.
    """

    viewed_row: int = -1
    history: History = field(default=histories.EMPTY)

    @property
    def recent_rows(self) -> npt.NDArray[np.int64]:
        """Return (n,) rows of the last purchases, oldest first, n <= 10."""
        return self.history.recent.astype(np.int64)
