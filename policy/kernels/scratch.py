"""Scratch space of one request: every intermediate result has its place, nothing is allocated."""

from typing import Final

from policy.architecture import (
    FULL_CANDIDATES,
    NEIGHBOURS,
    TOP_CANDIDATES,
    UNIFORM_CANDIDATES,
    VECTOR,
)
from policy.kernels.encoder import ENCODER_FLOATS
from policy.kernels.layout import GROUPS
from policy.kernels.plackett_luce import BLOCK
from policy.kernels.repeats import REPEAT_FLOATS
from policy.kernels.selection import BINS
from schemas.limits import BANNER_SIZE, RECENT_PURCHASES, REPEATS

SCORES, TERMS, VALUES, MASS, WORK = range(5)
PLANES: Final = 5
"""Lines of the array with a number per product. TERMS and MASS are 0 between requests."""

MOST_CANDIDATES: Final = max(FULL_CANDIDATES, TOP_CANDIDATES + REPEATS + UNIFORM_CANDIDATES)
BLOCKS: Final = -(-MOST_CANDIDATES // BLOCK)
"""Sums of the draw."""

# Places in the array of integers.
RECENT_AT: Final = 0
TOUCHED_AT: Final = RECENT_AT + RECENT_PURCHASES + 1  # the product viewed stands behind them
OWN_AT: Final = TOUCHED_AT + (RECENT_PURCHASES + 1) * NEIGHBOURS
FEW_AT: Final = OWN_AT + REPEATS
BOTH_AT: Final = FEW_AT + UNIFORM_CANDIDATES
BINS_AT: Final = BOTH_AT + REPEATS + UNIFORM_CANDIDATES
BITS_AT: Final = BINS_AT + BINS
DRAWN_AT: Final = BITS_AT + MOST_CANDIDATES
BANNER_AT: Final = DRAWN_AT + BANNER_SIZE
CANDIDATES_AT: Final = BANNER_AT + BANNER_SIZE
INTEGERS: Final = CANDIDATES_AT + MOST_CANDIDATES + 1  # one that is written before it is dropped

# Places in the array of floats.
USER_AT: Final = ENCODER_FLOATS
REPEAT_AT: Final = USER_AT + VECTOR
MAXIMA_AT: Final = REPEAT_AT + REPEAT_FLOATS
OTHER_AT: Final = MAXIMA_AT + GROUPS
WEIGHTS_AT: Final = OTHER_AT + GROUPS
LOG_PROBS_AT: Final = WEIGHTS_AT + MOST_CANDIDATES
FLOATS: Final = LOG_PROBS_AT + BANNER_SIZE
