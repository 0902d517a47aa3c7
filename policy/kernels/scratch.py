"""Scratch space of one request: every intermediate result has its place, nothing is allocated."""

from typing import Final

import numpy as np

from policy.architecture import (
    FULL_CANDIDATES,
    NEIGHBOURS,
    TOP_CANDIDATES,
    UNIFORM_CANDIDATES,
)
from policy.kernels.encoder import ENCODER_FLOATS
from policy.kernels.layout import FACTORS, GROUPS, TILE, tile_count
from policy.kernels.packing import packed_bytes
from policy.kernels.plackett_luce import BLOCK
from policy.kernels.repeats import REPEAT_FLOATS
from policy.kernels.selection import BINS
from schemas.limits import BANNER_SIZE, RECENT_PURCHASES, REPEATS

GROUP: Final = 8
"""Requests that are scored together, an even number. Each has a line of scores and one of terms;
terms are 0 between requests."""

VALUES, MASS, WORK = range(3)
PLANES: Final = 3
"""Lines of the other array with a number per product. MASS is 0 between requests."""

MOST_CANDIDATES: Final = max(FULL_CANDIDATES, TOP_CANDIDATES + REPEATS + UNIFORM_CANDIDATES)
BLOCKS: Final = -(-MOST_CANDIDATES // BLOCK)
"""Sums of the draw."""

# Places in the array of integers.
RECENT_AT: Final = 0
OWN_AT: Final = RECENT_AT + RECENT_PURCHASES + 1  # the product viewed stands behind them
FEW_AT: Final = OWN_AT + REPEATS
BOTH_AT: Final = FEW_AT + UNIFORM_CANDIDATES
BINS_AT: Final = BOTH_AT + REPEATS + UNIFORM_CANDIDATES
BITS_AT: Final = BINS_AT + BINS
DRAWN_AT: Final = BITS_AT + MOST_CANDIDATES
CANDIDATES_AT: Final = DRAWN_AT + BANNER_SIZE
INTEGERS: Final = CANDIDATES_AT + MOST_CANDIDATES + 1  # one that is written before it is dropped

# Places in the array of floats.
REPEAT_AT: Final = ENCODER_FLOATS
MAXIMA_AT: Final = REPEAT_AT + REPEAT_FLOATS
OTHER_AT: Final = MAXIMA_AT + GROUPS
WEIGHTS_AT: Final = OTHER_AT + GROUPS
FLOATS: Final = WEIGHTS_AT + MOST_CANDIDATES

TOUCHED: Final = (RECENT_PURCHASES + 1) * NEIGHBOURS
"""Rows of a request whose terms the co-purchase neighbours changed."""

# Columns of what is asked and found, a line per request.
VIEWED, WORDS, EXCLUDED, SIZE = range(4)
"""Columns of what is asked: row of the product viewed (-1: none), how many words of the histories
and how many excluded rows are this request's, how many positions."""
CANDIDATES, POSITIONS, PACKED_END = range(3)
FOUND: Final = 3
"""Columns of what is found: candidates (below 0 when it cannot be done, see `scoring`), positions
drawn, where in `packed` this request's candidates end."""


class Scratch:
    """Space for a group of requests at a time."""

    def __init__(self, products: int) -> None:
        tiles = tile_count(products)
        self.scores = np.zeros((GROUP, tiles * TILE), np.float32)
        self.terms = np.zeros((GROUP, tiles * TILE), np.float32)
        self.users = np.zeros((GROUP, FACTORS), np.float32)
        self.touched = np.zeros((GROUP, TOUCHED), np.int32)
        self.prepared = np.zeros((GROUP, 2), np.int64)
        self.planes = np.zeros((PLANES, tiles * TILE), np.float32)
        self.flags = np.zeros(tiles * TILE, np.uint8)
        self.rows = np.zeros(tiles * TILE, np.int32)
        self.counts = np.zeros(tiles, np.int32)
        self.integers = np.zeros(INTEGERS, np.int32)
        self.floats = np.zeros(FLOATS, np.float32)
        self.sums = np.zeros(BLOCKS, np.float64)
        self.packed = np.zeros(GROUP * packed_bytes(products), np.uint8)
        self.found = np.zeros((GROUP, FOUND), np.int64)
        self.banner = np.zeros((GROUP, BANNER_SIZE), np.int32)
        self.log_probs = np.zeros((GROUP, BANNER_SIZE), np.float32)
