"""What the policy is asked, and what it answers.

Structs, because a frozen dataclass takes a microsecond more to make.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from policy.kernels.scratch import GROUP
from schemas import history as histories
from schemas.candidates import unpack

Rows = npt.NDArray[np.int32]

_NO_HISTORY: Final = histories.pack(histories.EMPTY)
_WORD: Final = 4


class Question(msgspec.Struct, frozen=True):
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
    """A banner as the policy drew it.

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


def grouped(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    """Yield the questions in their order, those of one mask together, at most GROUP."""
    start = 0
    while start < len(questions):
        mask, end = questions[start].eligible, start + 1
        while end < min(start + GROUP, len(questions)) and questions[end].eligible is mask:
            end += 1
        yield questions[start:end]
        start = end


def as_arrays(group: Sequence[Question], products: int) -> tuple[npt.NDArray[np.generic], ...]:
    """Return what a group asks as the kernels take it (`kernels.scratch` has the columns).

    Args:
        group: questions of one mask.
        products: N; rows beyond are no product viewed.
    """
    packed = [_words(question.history) for question in group]
    asked = [
        (
            question.viewed_row if 0 <= question.viewed_row < products else -1,
            len(history) // _WORD,
            len(question.excluded),
            question.size,
        )
        for question, history in zip(group, packed, strict=True)
    ]
    excluded = [question.excluded for question in group]
    return (
        np.array(asked, np.int64),
        np.frombuffer(b"".join(packed), np.uint32),
        excluded[0] if len(group) == 1 else np.concatenate(excluded),
        group[0].eligible,
    )


def _words(history: bytes) -> bytes:
    """Return the whole words of a packed history: what is cut short is seen by the kernels."""
    if not history:
        return _NO_HISTORY
    beyond = len(history) % _WORD
    return history[:-beyond] if beyond else history
