"""What the policy is asked, and what it answers."""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.candidates import unpack

Rows = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Question:
    """What the policy is asked.

    Attributes:
        viewed_row: row of the product viewed, never eligible; -1: none.
        history: packed history (`schemas.history`); empty: none. Rows beyond the catalogue are
            ignored.
        eligible: (N,) uint8, 0 keeps a product out; shared by requests and only read.
        excluded: (few,) int32 rows that this request keeps out too.
        size: positions to fill, 0 to 5.
    """

    viewed_row: int
    history: bytes
    eligible: npt.NDArray[np.uint8]
    excluded: Rows
    size: int


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """A banner as the policy drew it (a frozen dataclass takes 1 us more to make).

    Attributes:
        rows: (K,) int32 rows in display order; fewer than asked when fewer are eligible.
        log_probs: (K,) float32 log-probability of each position given those before, of the policy
            that drew; <= 0.
        packed_candidates: the rows the policy chose among, as bytes (`schemas.candidates`).
    """

    rows: Rows
    log_probs: npt.NDArray[np.float32]
    packed_candidates: bytes

    @property
    def candidates(self) -> Rows:
        """Return (C,) int32 rows the policy chose among, ascending."""
        return unpack(self.packed_candidates)
