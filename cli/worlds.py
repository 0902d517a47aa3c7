"""The simulated worlds by name."""

from pathlib import Path

from cli.errors import BadUsage, CommandFailed
from evaluation.errors import EvaluationError
from evaluation.knobs import MADE_UP, read_knobs
from simulator.errors import WorldNotPossible
from simulator.grocery import Parity
from simulator.world import World


def open_world(
    name: str,
    seed: int,
    *,
    cache: Path,
    products: int = 1_000,
    households: Parity = "odd",
    knobs: str = "",
) -> World:
    """Return a world of the simulator.

    Args:
        name: `grocer` (a real grocery's households), `synthetic` or `aisles`.
        seed: of everything random in it.
        cache: folder for what is slow to prepare.
        products: size of the catalogue of a world that is not real.
        households: of the grocery; settings are chosen on the odd ones.
        knobs: of a world that is not real (`evaluation.knobs`).

    Raises:
        BadUsage: a knob cannot be turned so, or the grocery has none.
        CommandFailed: the grocery's data package is not installed.
    """
    try:
        turned = read_knobs(name, knobs)
        if name in MADE_UP:
            return MADE_UP[name](products=products, seed=seed, **turned)
    except (EvaluationError, WorldNotPossible) as problem:
        raise BadUsage(f"--knobs {knobs}: {problem}" if knobs else str(problem)) from None
    from simulator.grocer import GrocerWorld

    try:
        return GrocerWorld(seed=seed, cache=cache, parity=households)
    except ImportError:
        raise CommandFailed(
            "the grocery's purchases are not installed: pip install 'quintet[demo]'"
        ) from None
