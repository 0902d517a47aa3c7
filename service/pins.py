"""Pins: products that must stand at a position, beside those the policy draws for the others."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.limits import BANNER_SIZE
from schemas.requests import Pin
from service.errors import PinRefused

Pinned = Mapping[int, int]
"""Position to row."""


def pinned_rows(
    pins: Sequence[Pin], row_of: Mapping[str, int], available: npt.NDArray[np.uint8]
) -> Pinned:
    """Return the row of every pinned position.

    Raises:
        PinRefused: a product is unknown or unavailable, or two pins share a product or a position.
    """
    found: dict[int, int] = {}
    for pin in pins:
        row = row_of.get(pin.product_id)
        if row is None or not available[row]:
            raise PinRefused(f"pinned: no product {pin.product_id!r} is available")
        if pin.position in found:
            raise PinRefused(f"pinned: two products at position {pin.position}")
        if row in found.values():
            raise PinRefused(f"pinned: product {pin.product_id!r} is given twice")
        found[pin.position] = row
    return found


def merge(
    pinned: Pinned, drawn: Sequence[int], log_probs: Sequence[float | None]
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Return rows and log-probabilities of the banner: pins at their positions, the drawn between.

    Where too few were drawn to fill a position before a pin, the pin moves forward: a banner has no
    gaps. Pins have no log-probability.

    Example:
        >>> merge({4: 7}, [1, 2], [-0.5, -1.0])
        ((1, 2, 7), (-0.5, -1.0, None))
    """
    if not pinned:
        return tuple(drawn), tuple(log_probs)
    others = iter(zip(drawn, log_probs, strict=True))
    banner: list[tuple[int, float | None]] = []
    for position in range(BANNER_SIZE):
        if position in pinned:
            banner.append((pinned[position], None))
        elif (drawn_next := next(others, None)) is not None:
            banner.append(drawn_next)
    return tuple(row for row, _ in banner), tuple(log_prob for _, log_prob in banner)
