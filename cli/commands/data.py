"""`quintet import`, `pretrain`: what goes into the log beside the ring, and what comes of it."""

from pathlib import Path
from typing import Annotated

import typer

from cli import wiring
from cli.commands.ring import WORLD_HELP, World
from cli.demo_marker import claim, marker_of
from cli.errors import BadUsage
from cli.output import Output, table
from cli.settings import Settings

EXAMPLES_SHOWN = 10


def import_files(
    settings: Settings,
    output: Output,
    products: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: product_id,title[,category,brand,...]")
    ] = None,
    purchases: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: user_id,product_id,occurred_at[,order_id]")
    ] = None,
    world: Annotated[
        World | None, typer.Option(help=f"no files: the past of a shop for tests. {WORLD_HELP}")
    ] = None,
) -> None:
    """Put products and past purchases into the log.

    Both files are read before anything is appended. Bad rows are refused with their line numbers
    and counted. Past purchases make history and train the foundation; they earn nothing. With
    --world they are those of the shoppers that `quintet simulate` sends.

    Example: quintet import --products products.csv --purchases purchases.csv
    """
    from cli import importing

    if (products is None and purchases is None) == (world is None):
        raise BadUsage("give --products FILE, --purchases FILE, or both; or --world alone")
    if world is not None:
        _import_world(settings, output, world)
        return
    with wiring.opened_log(settings, member="import") as log, output.progress() as progress:
        imported = importing.import_files(
            log,
            secret=wiring.secret(settings),
            products=products,
            purchases=purchases,
            watch=importing.Watch(progress),
        )
    for refused in imported.refused[:EXAMPLES_SHOWN]:
        output.say(f"refused: {refused}")
    if imported.refused_rows > EXAMPLES_SHOWN:
        output.say(
            f"and {imported.refused_rows - EXAMPLES_SHOWN} more (--json shows the first 1,000)"
        )
    output.result(
        imported.as_dict(),
        f"imported {imported.products} products and {imported.lines} purchase lines in "
        f"{imported.orders} orders; refused {imported.refused_rows} rows, "
        f"{imported.unknown_products} lines name products that are not in the catalogue\n"
        "next: quintet pretrain",
    )


def _import_world(settings: Settings, output: Output, name: World) -> None:
    from cli import importing
    from cli.worlds import open_world

    seed = settings.seed or 0
    world = open_world(name, seed=seed, cache=settings.data_dir / "cache")
    past = importing.as_orders(world.past_orders())
    claim(settings.data_dir, marker_of(name, past))
    with wiring.opened_log(settings, member="import") as log, output.progress() as progress:
        imported = importing.import_into(
            log,
            secret=wiring.secret(settings),
            products=world.products,
            orders=past,
            watch=importing.Watch(progress),
        )
    output.result(
        imported.as_dict(),
        f"imported {imported.products} products and {imported.lines} purchase lines in "
        f"{imported.orders} orders of the {name} world\nnext: quintet pretrain",
    )


def pretrain(
    settings: Settings,
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the foundation policy on the purchases in the log and put it live.

    Prints its held-out report: recall and NDCG of the five products it would have shown before
    each of the latest orders, beside the most popular products and the shopper's own frequent ones.
    """
    from cli import importing

    with wiring.opened_log(settings, member="pretrain") as log, output.progress() as progress:
        manifest, report = importing.pretrain_from_log(
            log,
            wiring.open_registry(settings),
            seed=settings.seed or 0,
            device=device,
            watch=importing.Watch(progress),
        )
    rows = importing.held_out_rows(report)
    output.result(
        {"version": manifest.version, "held_out": report},
        table(f"policy {manifest.version} is live; held-out orders by time", rows),
    )
