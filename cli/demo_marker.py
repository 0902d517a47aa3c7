"""The mark a demo leaves in its data directory: which world it holds, and who its shoppers are."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cli.errors import BadUsage
from service.past_purchases import PastOrderLines

_NAME = "demo.json"
_SHOPPERS_OFFERED = 12


class DemoMarker(msgspec.Struct, frozen=True):
    """What a demo notes.

    Attributes:
        world: its name; empty: this data directory is no demo's.
        shoppers: some user ids with a past, for the storefront page.
    """

    world: str = ""
    shoppers: tuple[str, ...] = ()


def marker_of(world: str, past: Sequence[PastOrderLines]) -> DemoMarker:
    """Return the mark of a world with the shoppers who ordered last, `past` being in time order."""
    shoppers = dict.fromkeys(order.user_id for order in reversed(past))
    return DemoMarker(world, tuple(shoppers)[:_SHOPPERS_OFFERED])


def read_marker(data_dir: Path) -> DemoMarker:
    """Return the mark; an empty one where no demo has been."""
    try:
        return msgspec.json.decode((data_dir / _NAME).read_bytes(), type=DemoMarker)
    except FileNotFoundError:
        return DemoMarker()


def claim(data_dir: Path, marker: DemoMarker) -> None:
    """Mark a data directory as a demo's.

    Raises:
        BadUsage: it holds another world, or data that no demo made.
    """
    found = read_marker(data_dir)
    if found.world and found.world != marker.world:
        raise BadUsage(f"{data_dir} holds the {found.world} demo: give another --data-dir")
    if not found.world and (data_dir / "registry").exists():
        raise BadUsage(f"{data_dir} holds data of its own: give another --data-dir")
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / _NAME).write_bytes(msgspec.json.encode(marker))
