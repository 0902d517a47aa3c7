"""`quintet learn --musts`: what must hold of the policy, played, judged and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import BadUsage, CommandFailed
from cli.output import Output, table
from cli.settings import Settings
from cli.wiring import learner_settings

if TYPE_CHECKING:
    from evaluation.parts import Part, PartsFolder
    from evaluation.results import LearnResults
    from simulator.world import World
    from trainer.learner_settings import LearnerSettings


@dataclass(frozen=True, slots=True)
class MustsOptions:
    """How the musts are played.

    Attributes:
        processes: seeds played at once.
        parts: names of the parts to play; empty: all.
        fresh: play them even where results are kept.
        smoke: play a few tiny parts, to see whether everything works.
        strict: fail where a must is not met.
        page: where the page is written; None: beside the results.
    """

    processes: int = 1
    parts: tuple[str, ...] = ()
    fresh: bool = False
    smoke: bool = False
    strict: bool = False
    page: Path | None = None


def play_musts(settings: Settings, output: Output, options: MustsOptions) -> None:
    """Play what is not kept yet, part by part; tell what was reached.

    Raises:
        BadUsage: there is no such part.
        CommandFailed: a rival is not installed; or, where asked to be strict, a must is not met.
    """
    from evaluation.errors import RivalNotInstalled
    from evaluation.musts import judged
    from evaluation.parts import PartsFolder
    from evaluation.plot import write_page

    parts = _chosen(options)
    kept = settings.data_dir / "learn" / ("smoke" if options.smoke else "")
    learner = learner_settings(settings)
    folder = PartsFolder(kept, learner)
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadUsage(f"--data-dir: {kept} cannot be made: {problem.strerror}") from None
    if options.fresh:
        folder.forget(parts)
    try:
        results = _play(settings, output, parts, folder, learner, options.processes)
    except RivalNotInstalled as problem:
        raise CommandFailed(str(problem)) from None
    results = {**_kept(folder, smoke=options.smoke), **results}
    found = judged(results)
    rows = [each.row() for each in found]
    title = "in tiny, to see that all works" if options.smoke else "what must hold of the policy"
    page = options.page or kept / "musts.html"
    write_page(title, rows, results, page)
    output.say(f"curves in {page}, results in {kept}")
    told = {"musts": [each.told() for each in found], "parts": list(results)}
    output.result(told, table(title, rows))
    wrong = [each.must.what for each in found if each.verdict in {"not met", "not played"}]
    if options.strict and wrong:
        raise CommandFailed(f"{len(wrong)} musts are not met or not played: {'; '.join(wrong)}")


def _kept(folder: "PartsFolder", *, smoke: bool) -> dict[str, "LearnResults"]:
    """Return what earlier runs left of all parts, so that every table and page is whole."""
    from evaluation import parts

    found = {part.name: folder.found(part) for part in (parts.smoke() if smoke else parts.PARTS)}
    return {name: results for name, results in found.items() if results is not None}


def _chosen(options: MustsOptions) -> tuple["Part", ...]:
    from evaluation.parts import PARTS, smoke

    parts = smoke() if options.smoke else PARTS
    unknown = set(options.parts) - {part.name for part in parts}
    if unknown:
        names = ", ".join(part.name for part in parts)
        raise BadUsage(f"--parts {','.join(sorted(unknown))}: choose among {names}")
    return tuple(part for part in parts if not options.parts or part.name in options.parts)


def _play(
    settings: Settings,
    output: Output,
    parts: Sequence["Part"],
    folder: "PartsFolder",
    learner: "LearnerSettings",
    processes: int,
) -> dict[str, "LearnResults"]:
    """Return what every part found, by its name; those that found nothing yet are played."""
    from evaluation.learn import learn
    from evaluation.parts import play
    from evaluation.recipe import code_digest

    open_world = partial(_world_of, settings.data_dir / "cache")
    results: dict[str, LearnResults] = {}
    new: set[str] = set()
    with output.progress() as progress:
        task = progress.add_task("parts", total=len(parts))

        def played(part: "Part") -> "LearnResults":
            output.say(f"{part.name}: {', '.join(part.contenders)}; {part.banners:,} banners")
            study = part.study(open_world, learner)
            found = learn(study, processes=processes, progress=progress)
            for other in set(progress.task_ids) - {task}:
                progress.remove_task(other)
            new.add(part.name)
            return found

        for part, found in play(parts, folder, played):
            results[part.name] = found
            progress.advance(task)
            how = "played" if part.name in new else "kept from before"
            if found.code != code_digest():
                how += ", by other code than this (--fresh plays it again)"
            output.say(f"{part.name}: {how}; {len(results)} of {len(parts)} parts")
    return results


def _world_of(cache: Path, part: "Part", seed: int) -> "World":
    from cli.worlds import open_world

    return open_world(
        part.world,
        seed=seed,
        cache=cache,
        products=part.products,
        households=part.households or "odd",
        knobs=part.knobs,
    )
