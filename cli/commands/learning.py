"""`quintet learn`: the laboratory without the wire."""

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from cli.commands.ring import WORLD_HELP, World
from cli.errors import BadUsage
from cli.musts import MustsOptions, play_musts
from cli.output import Output, table
from cli.settings import Settings
from cli.wiring import learner_settings

if TYPE_CHECKING:
    from evaluation.learn import Study
    from evaluation.results import LearnResults

Households = Literal["odd", "even"]
_WORLD: Final[World] = "synthetic"
_BANNERS: Final = 20_000
_SEEDS: Final = "0,1,2"
_PRODUCTS: Final = 1_000
_HOUSEHOLDS: Final[Households] = "odd"


def learn(
    settings: Settings,
    output: Output,
    world: Annotated[World | None, typer.Option(help=WORLD_HELP, show_default=_WORLD)] = None,
    banners: Annotated[
        int | None, typer.Option(min=256, help="banners of each run", show_default=str(_BANNERS))
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="seeds, comma-separated", show_default=_SEEDS)
    ] = None,
    products: Annotated[
        int | None,
        typer.Option(min=50, help="products of synthetic and aisles", show_default=str(_PRODUCTS)),
    ] = None,
    rivals: Annotated[
        str,
        typer.Option(
            help="who is played, comma-separated; a wrong name is answered with all of them. "
            "policy and base can be varied: policy:weight=6+stale=16,policy:pair_spread=.3/.1"
        ),
    ] = "",
    processes: Annotated[int, typer.Option(min=1, help="seeds played at once")] = 1,
    households: Annotated[
        Households | None,
        typer.Option(
            help="of the grocer; settings were chosen on the odd", show_default=_HOUSEHOLDS
        ),
    ] = None,
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
        _refuse(
            "--smoke" if smoke else "--musts", world=world, banners=banners, seeds=seeds,
            products=products, households=households, rivals=rivals, knobs=knobs, results=results,
            compare=compare, strict=smoke and strict,
        )  # fmt: skip
        chosen = tuple(filter(None, parts.split(",")))
        options = MustsOptions(processes, chosen, fresh, smoke, strict, page=plot)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        play_musts(settings, output, options)
        return
    _refuse("a single study, without --musts,", parts=parts, fresh=fresh, strict=strict)

    from evaluation.learn import learn as run_learn
    from evaluation.plot import write_plot

    if (world or _WORLD) == "grocer":
        _refuse("the grocer", products=products)
    else:
        _refuse(f"the world {world or _WORLD}", households=households)
    products = products or _PRODUCTS
    study = _study(
        settings,
        world=world or _WORLD,
        banners=banners or _BANNERS,
        seeds=_SEEDS if seeds is None else seeds,
        products=products,
        rivals=rivals,
        households=households or _HOUSEHOLDS,
        knobs=knobs,
    )
    earlier = None if compare is None else _read(compare, study, products)
    _check_places(plot=plot, results=results)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the seeds' processes too
    with output.progress() as progress:
        found = run_learn(study, processes=processes, progress=progress)
    turned = f", {knobs}" if knobs else ""
    title = (
        f"{found.world}{turned}, {found.products} products, {found.banners} banners, "
        f"seeds {_listed(found.seeds)}: share of oracle"
    )
    output.result(found, table(title, found.rows()))
    if pairs := found.pair_rows():
        output.people.print(table("pairs that earn most together", pairs))
    if results is not None:
        results.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
        output.say(f"results in {results}")
    if plot is not None:
        write_plot(found, plot)
        output.say(f"curves in {plot}")
    if earlier is not None:
        same = set(earlier.seeds) == set(found.seeds)
        on = "" if same else f", which played seeds {_listed(earlier.seeds)}"
        output.people.print(table(f"changes since {compare}{on}", found.changes(earlier)))


def _study(
    settings: Settings,
    *,
    world: World,
    banners: int,
    seeds: str,
    products: int,
    rivals: str,
    households: Households,
    knobs: str,
) -> "Study":
    """Return what is to be played.

    Raises:
        BadUsage: a seed, contender or knob cannot be meant.
    """
    from cli.worlds import open_world
    from evaluation.contenders import USUAL
    from evaluation.learn import Study

    names = tuple(name.strip() for name in rivals.split(",")) if rivals else USUAL
    _check(names, world, knobs)
    cache = settings.data_dir / "cache"
    return Study(
        world=world,
        open_world=partial(
            open_world, world, cache=cache, products=products, households=households, knobs=knobs
        ),
        seeds=_seeds_of(seeds),
        banners=banners,
        contenders=names,
        learner=learner_settings(settings),
        knobs=knobs,
        households=households if world == "grocer" else "",
    )


def _check_places(**places: Path | None) -> None:
    """Raise BadUsage where a file cannot be written, before anything is played."""
    for option, path in places.items():
        if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
            raise BadUsage(f"--{option} {path}: give a file in a folder that can be written to")


def _refuse(asked: str, **options: object) -> None:
    """Raise BadUsage where an option is given that what is asked for has no use for."""
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise BadUsage(f"{asked} takes no {', '.join(given)}")


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
        seeds = tuple(int(seed) for seed in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise BadUsage(f"--seeds {text!r}: give different whole numbers from 0, comma-separated")
    return seeds


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))


def _read(path: Path, study: "Study", products: int) -> "LearnResults":
    """Return results to compare a study with; its banners, seeds and contenders may be others.

    Raises:
        BadUsage: they cannot be read, or are of another shop.
    """
    import msgspec

    from evaluation.results import LearnResults

    try:
        earlier = msgspec.json.decode(path.read_bytes(), type=LearnResults)
    except OSError as problem:
        raise BadUsage(
            f"--compare {path}: {problem.strerror}; `--results FILE` of an earlier run writes one"
        ) from None
    except msgspec.MsgspecError as problem:
        raise BadUsage(
            f"--compare {path} holds no results of `--results FILE`: {problem}"
        ) from None
    ours = {"world": study.world, "knobs": study.knobs, "households": study.households}
    theirs = {name: getattr(earlier, name) for name in ours}
    if study.world != "grocer":  # the grocery has its own products
        ours["products"], theirs["products"] = str(products), str(earlier.products)
    others = [
        f"{name} {theirs[name] or 'as usual'}, not {value or 'as usual'}"
        for name, value in ours.items()
        if theirs[name] != value
    ]
    if others:
        raise BadUsage(f"--compare {path} is of another shop: {'; '.join(others)}")
    return earlier
