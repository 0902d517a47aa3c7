"""The simulated worlds by name."""

from pathlib import Path

from cli.errors import CommandFailed
from simulator.grocery import Parity
from simulator.world import World


def open_world(
    name: str, *, seed: int, cache: Path, products: int = 1_000, households: Parity = "odd"
) -> World:
    """Return a world of the simulator.

    Args:
        name: `grocer` (a real grocery's households), `synthetic` or `aisles`.
        seed: of everything random in it.
        cache: folder for what is slow to prepare.
        products: size of the catalogue of a world that is not real.
        households: of the grocery; settings are chosen on the odd ones.

    Raises:
        CommandFailed: the grocery's data package is not installed.
    """
    if name == "synthetic":
        from simulator.synthetic import SyntheticWorld

        return SyntheticWorld(products=products, seed=seed)
    if name == "aisles":
        from simulator.aisles import AislesWorld

        return AislesWorld(products=products, seed=seed)
    from simulator.grocer import GrocerWorld

    try:
        return GrocerWorld(seed=seed, cache=cache, parity=households)
    except ImportError:
        raise CommandFailed(
            "the grocery's purchases are not installed: pip install 'quintet[demo]'"
        ) from None
