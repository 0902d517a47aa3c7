"""`quintet learn`: the laboratory without the wire."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.commands.ring import WorldOption
from cli.errors import BadUsage
from cli.musts import MustsOptions, play_musts
from cli.output import Output, table
from cli.settings import Settings

if TYPE_CHECKING:
    from evaluation.results import LearnResults
    from simulator.grocery import Parity
    from simulator.world import World


def learn(
    settings: Settings,
    output: Output,
    world: WorldOption = "synthetic",
    banners: Annotated[int, typer.Option(min=256, help="banners of each run")] = 20_000,
    seeds: Annotated[str, typer.Option(help="seeds, comma-separated")] = "0,1,2",
    products: Annotated[int, typer.Option(min=50, help="products of synthetic and aisles")] = 1_000,
    rivals: Annotated[
        str,
        typer.Option(
            help="who is played, comma-separated; a wrong name is answered with all of them. "
            "policy and base can be varied: policy:weight=6+stale=16,policy:pair_spread=.3/.1"
        ),
    ] = "",
    processes: Annotated[int, typer.Option(min=1, help="seeds played at once")] = 1,
    households: Annotated[
        Literal["odd", "even"], typer.Option(help="of the grocer; settings were chosen on the odd")
    ] = "odd",
    knobs: Annotated[
        str,
        typer.Option(
            help="of synthetic and aisles, comma-separated: pull=.8,taste_drift=20000,bots=.05; a "
            "wrong one is answered with all of them"
        ),
    ] = "",
    plot: Annotated[Path | None, typer.Option(help="write the curves here, as HTML")] = None,
    results: Annotated[Path | None, typer.Option(help="write the results here, as JSON")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="results of an earlier run to compare with")
    ] = None,
    musts: Annotated[
        bool, typer.Option("--musts", help="play everything that must hold; goes on where it ended")
    ] = False,
    parts: Annotated[
        str, typer.Option(help="of the musts, comma-separated; a wrong one is answered with all")
    ] = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="play kept parts of the musts too")
    ] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="the musts in tiny: all works?")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="fail where a must is not met")] = False,
) -> None:
    """Play the ring's own learner against its rivals, without the wire.

    Everybody meets the same shoppers with the same random numbers. The table shows shares of the
    best possible expected reward, over the last quarter before each mark.

    With --musts everything that must hold of the policy is played, part by part, and judged in one
    table. What a part found is kept in the data directory, so that the command, called again, goes
    on with the next; when the policy has changed since, --fresh plays all of them again.

    Example: quintet learn --world synthetic --rivals policy,linucb --seeds 0,1,2 --plot learn.html
    """
    import msgspec

    if musts or smoke:
        _refuse("--musts", rivals=rivals, knobs=knobs, results=results, compare=compare)
        chosen = tuple(filter(None, parts.split(",")))
        options = MustsOptions(processes, chosen, fresh, smoke, strict, page=plot)
        play_musts(settings, output, options)
        return
    _refuse("a single study, without --musts,", parts=parts, fresh=fresh, strict=strict)

    from evaluation.contenders import USUAL
    from evaluation.learn import Study
    from evaluation.learn import learn as run_learn
    from evaluation.plot import write_plot
    from trainer.learner import LearnerSettings

    names = tuple(rivals.split(",")) if rivals else USUAL
    _check(names, world, knobs)
    earlier = None if compare is None else _read(compare)
    cache = settings.data_dir / "cache"
    study = Study(
        world=world,
        open_world=partial(_world_of, world, cache, products, households, knobs),
        seeds=_seeds_of(seeds),
        banners=banners,
        contenders=names,
        learner=LearnerSettings(batch_banners=settings.batch_banners),
        knobs=knobs,
        households=households if world == "grocer" else "",
    )
    with output.progress() as progress:
        found = run_learn(study, processes=processes, progress=progress)
    if plot is not None:
        write_plot(found, plot)
        output.say(f"curves in {plot}")
    if results is not None:
        results.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    turned = f", {knobs}" if knobs else ""
    title = (
        f"{world}{turned}, {found.products} products, {banners} banners, seeds {seeds}: "
        "share of oracle"
    )
    output.result(found, table(title, found.rows()))
    if pairs := found.pair_rows():
        output.people.print(table("pairs that earn most together", pairs))
    if earlier is not None:
        output.people.print(table(f"changes since {compare}", found.changes(earlier)))


def _refuse(asked: str, **options: object) -> None:
    """Raise BadUsage where an option is given that what is asked for has no use for."""
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise BadUsage(f"{asked} takes no {', '.join(given)}")


def _world_of(
    name: str, cache: Path, products: int, households: "Parity", knobs: str, seed: int
) -> "World":
    from cli.worlds import open_world

    return open_world(
        name, seed=seed, cache=cache, products=products, households=households, knobs=knobs
    )


def _check(names: Sequence[str], world: str, knobs: str) -> None:
    """Raise BadUsage where a contender or knob cannot be meant, before anything is played."""
    from evaluation.contenders import maker
    from evaluation.errors import EvaluationError
    from evaluation.knobs import read_knobs
    from simulator.errors import WorldNotPossible

    try:
        for name in names:
            maker(name)
    except EvaluationError as problem:
        raise BadUsage(f"--rivals {problem}") from None
    try:
        read_knobs(world, knobs)
    except (EvaluationError, WorldNotPossible) as problem:
        raise BadUsage(f"--knobs {problem}") from None


def _seeds_of(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError:
        raise BadUsage(f"--seeds {text!r}: give whole numbers, comma-separated") from None


def _read(path: Path) -> "LearnResults":
    import msgspec

    from evaluation.results import LearnResults

    try:
        return msgspec.json.decode(path.read_bytes(), type=LearnResults)
    except (OSError, msgspec.MsgspecError) as problem:
        raise BadUsage(f"--compare {path}: {problem}") from None
