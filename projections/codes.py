"""Names as small numbers, so that a filter over all products is one table look-up per product."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

NONE: Final = -1
"""Code of a product that has no such name."""


class NameCodes:
    """Codes of names, upper and lower case the same.

    Codes are never taken back or changed, so every version of the catalogue shares one of these.

    Args:
        separator: where given, names are paths, and a leading part of a path finds it too.

    Example:
        >>> codes = NameCodes(separator="/")
        >>> rows = np.array([codes.code("Food/Fruit"), codes.code("food"), codes.code(None)])
        >>> codes.mask(rows, ["FOOD"]).tolist(), codes.mask(rows, ["food/fruit"]).tolist()
        ([1, 1, 0], [1, 0, 0])
    """

    def __init__(self, *, separator: str | None = None) -> None:
        self._separator = separator
        self._codes: dict[str, int] = {}
        self._found_by: dict[str, list[int]] = {}

    def code(self, name: str | None) -> int:
        """Return the code of a name, a new one for a new name; -1 for None or an empty name."""
        if not name:
            return NONE
        folded = name.casefold()
        code = self._codes.get(folded)
        if code is None:
            code = len(self._codes)
            for part in self._leading_parts(folded):
                self._found_by.setdefault(part, []).append(code)
            self._codes[folded] = code
        return code

    def mask(self, codes: npt.NDArray[np.int32], names: Iterable[str]) -> npt.NDArray[np.uint8]:
        """Return 1 where a code is found by one of `names`, else 0.

        Args:
            codes: (N,) codes of this object, -1 where there is none.
            names: full names, or leading parts of paths.

        Returns:
            (N,) uint8.
        """
        # A newer version of the catalogue may be adding codes meanwhile; `codes` has none of them.
        known = len(self._codes)
        passes = np.zeros(known + 1, np.uint8)  # the last is read by code -1
        for name in names:
            found = tuple(self._found_by.get(name.casefold(), ()))
            passes[[code for code in found if code < known]] = 1
        return passes[codes]

    def _leading_parts(self, name: str) -> list[str]:
        if self._separator is None:
            return [name]
        levels = name.split(self._separator)
        return [self._separator.join(levels[:depth]) for depth in range(1, len(levels) + 1)]
