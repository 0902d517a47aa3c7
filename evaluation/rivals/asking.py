"""What every rival asks of a foundation's serving policy: who is eligible, what is kept out."""

import numpy as np
import numpy.typing as npt

from evaluation.shop import Situation


def excluded_rows(situation: Situation) -> npt.NDArray[np.int32]:
    """Return what may not be shown: the product viewed."""
    viewed = [] if situation.viewed_row < 0 else [situation.viewed_row]
    return np.array(viewed, np.int32)
