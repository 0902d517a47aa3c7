"""exp in float32 over a whole array at once: the library's is called number by number."""

import math
from typing import Final

import numpy as np
from numba import njit

from policy.kernels.layout import Floats, Ints

_PER_LN2: Final = np.float32(1.0 / math.log(2.0))
_LN2_HIGH: Final = np.float32(0.693359375)
_LN2_LOW: Final = np.float32(-2.12194440e-4)
_HALF: Final = np.float32(0.5)
_ONE: Final = np.float32(1.0)
_ZERO: Final = np.float32(0.0)
_LOWEST: Final = np.float32(-87.0)
_EXPONENT_BIAS: Final = 127
_MANTISSA_BITS: Final = 23
# Minimax polynomial of (exp(f) - 1 - f) / f^2 on |f| <= ln(2)/2 (Cephes, S. Moshier): 2 ulp.
_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(number)
    for number in (
        5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2,
        8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4,
    )
)  # fmt: skip


@njit(fastmath={"contract"})
def exponentials(
    values: Floats, count: int, shift: np.float32, bits: Ints, results: Floats
) -> None:  # pragma: no cover
    """Write exp(values - shift) into `results`; exactly 0 below exp(-87), about 1.6e-38.

    Args:
        values: at least (count,), none above `shift`; -inf gives 0.
        count: how many.
        shift: the highest value.
        bits: at least (count,) scratch space.
        results: at least (count,).
    """
    powers = bits.view(np.float32)
    for place in range(count):
        x = max(values[place] - shift, _LOWEST)
        whole = np.int32(x * _PER_LN2 - _HALF)  # x <= 0, so cutting off rounds to the nearest
        bits[place] = (whole + np.int32(_EXPONENT_BIAS)) << np.int32(_MANTISSA_BITS)
        k = np.float32(whole)
        f = x - k * _LN2_HIGH - k * _LN2_LOW
        p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5))))
        results[place] = p * f * f + f + _ONE
    for place in range(count):
        low = values[place] - shift < _LOWEST
        results[place] = _ZERO if low else results[place] * powers[place]
