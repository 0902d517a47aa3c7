"""Which eligible products the policy chooses among: part of the context of every probability.

Few eligible products are all candidates. Of many, those that the policy scores highest are, with
the shopper's own repeats, and a few drawn uniformly, so that everything keeps a way in. The draw of
those few is part of the context too: probabilities are given the candidates.
"""

import numpy as np
import numpy.typing as npt

from policy.architecture import FULL_CANDIDATES, TOP_CANDIDATES, UNIFORM_CANDIDATES

Rows = npt.NDArray[np.int32]


def choose_candidates(
    scores: npt.NDArray[np.floating],
    eligible: npt.NDArray[np.bool_],
    *,
    repeats: npt.NDArray[np.integer],
    uniforms: npt.NDArray[np.float64],
) -> Rows:
    """Return the rows of the candidates, ascending.

    The rule, written to be read; `kernels.selection` follows it on every request.

    Args:
        scores: (N,) the policy's scores in this context.
        eligible: (N,) which products may be shown: in the mask, not excluded, not the one viewed.
        repeats: (m,) rows of the shopper's repeats; those not eligible or unknown are left out.
        uniforms: (UNIFORM_CANDIDATES,) numbers in [0, 1), one for each product drawn uniformly.

    Example:
        >>> choose_candidates(np.zeros(4), np.array([True, False, True, True]),
        ...                   repeats=np.array([1]), uniforms=np.zeros(16)).tolist()
        [0, 2, 3]
    """
    rows = np.flatnonzero(eligible).astype(np.int32)
    if len(rows) <= FULL_CANDIDATES:
        return rows
    highest_first = np.argsort(-scores[rows], kind="stable")  # of equal scores the lower row
    top = rows[highest_first[:TOP_CANDIDATES]]
    known = repeats[repeats < len(scores)].astype(np.int64)
    own = known[eligible[known]]
    drawn = rows[uniform_places(uniforms, len(rows))]
    return np.unique(np.concatenate([top, own.astype(np.int32), drawn]))


def uniform_places(uniforms: npt.NDArray[np.float64], eligible: int) -> npt.NDArray[np.int64]:
    """Return floor(u * eligible) of each of the UNIFORM_CANDIDATES numbers: places from 0.

    Example:
        >>> uniform_places(np.array([0.0, 0.5, 0.999]), 10).tolist()
        [0, 5, 9]
    """
    places = np.floor(uniforms[:UNIFORM_CANDIDATES] * eligible).astype(np.int64)
    return np.minimum(places, eligible - 1)
