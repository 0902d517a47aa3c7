"""The sizes that every process agrees on."""

from typing import Annotated, Final

import msgspec

BANNER_SIZE: Final = 5
RECENT_PURCHASES: Final = 10
"""A context holds at most this many purchased products, oldest first."""
REPEATS: Final = 256
"""A shopper's history counts at most this many distinct products."""
ITEMS_PER_EVENT: Final = 200
EVENTS_PER_REQUEST: Final = 1000
RECOMMEND_BYTES: Final = 64 * 1024
BODY_BYTES: Final = 2 * 1024 * 1024

Identifier = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")
]
"""An id given by a client: 1 to 128 characters without control characters.

Lone surrogates need no pattern: they do not decode. Python's `$` lets a newline follow, hence the
look-ahead."""
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Cents = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
"""Money in integer minor units."""
Position = Annotated[int, msgspec.Meta(ge=0, lt=BANNER_SIZE)]
"""0-based place on the banner."""
