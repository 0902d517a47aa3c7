"""`python -m load.memory`: what a trainer's process takes, by the size of the catalogue.

A process of its own opens the installation, learns two batches, keeps a checkpoint and publishes a
snapshot, as `quintet train` does; what it took most is read from the kernel.
"""

import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from load import training
from load.installation import Installation, install
from schemas.codec import decode_reward
from trainer.checkpoint import CheckpointFolder, Progress

_BATCHES: Final = 2
_MB: Final = 1e6
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class TrainerMemory:
    """Megabytes (10^6 bytes) of one trainer.

    Attributes:
        products: of its catalogue.
        peak: resident memory at its highest.
        imported: of that, before it opened anything: Python, numpy, torch.
        checkpoint: what `learner.state()` holds, as it is kept on disk.
        reward_model: of that, the reward model's posterior.
        snapshot: the weights that serve.
    """

    products: int
    peak: float
    imported: float
    checkpoint: float
    reward_model: float
    snapshot: float


def trainer_memory(installed: Installation, *, products: int) -> TrainerMemory:
    """Measure a trainer over an installation, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_trained, installed, products).result()


def _trained(installed: Installation, products: int) -> TrainerMemory:
    imported = _most_resident()
    learner, records = training.beginning(installed, products=products)
    for _ in range(_BATCHES):
        learner.update([decode_reward(record) for record in records])
    state, registry = learner.state(), installed.registry()
    progress = Progress(
        number=1, offset=0, next_version=4, parent=2, promoted=2, foundation=1,
        catalogue_version=products,
    )  # fmt: skip
    CheckpointFolder(installed.folder / "checkpoints").save(progress, state)
    manifest = registry.publish(
        learner.weights(), parent=2, foundation=1, catalogue_version=products,
        updates=learner.updates, banners=learner.banners,
    )  # fmt: skip
    return TrainerMemory(
        products=products,
        peak=_most_resident(),
        imported=imported,
        checkpoint=_megabytes(state),
        reward_model=_megabytes({n: v for n, v in state.items() if n.startswith("model/")}),
        snapshot=manifest.size_bytes / _MB,
    )


def _megabytes(tensors: Mapping[str, npt.NDArray[Any]]) -> float:
    return sum(value.nbytes for value in tensors.values()) / _MB


def _most_resident() -> float:
    """Return the highest resident memory of this process so far, in megabytes."""
    lines: Iterable[str] = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * _KIB / _MB


def main(
    products: Annotated[str, typer.Option(help="catalogue sizes")] = "1000,10000,100000",
) -> None:
    """Measure; print the table."""
    table = Table(
        "products", "peak", "imported", "checkpoint", "of it reward model", "snapshot",
        title="memory of the trainer, MB", title_justify="left",
    )  # fmt: skip
    for size in [int(size) for size in products.split(",")]:
        folder = Path(tempfile.mkdtemp(prefix="quintet-memory-"))
        try:
            found = trainer_memory(install(folder / "shop", products=size, seed=1), products=size)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        figures = (
            found.peak, found.imported, found.checkpoint, found.reward_model, found.snapshot,
        )  # fmt: skip
        table.add_row(f"{size:,}", *(f"{figure:,.1f}" for figure in figures))
    Console(file=sys.stdout, width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
