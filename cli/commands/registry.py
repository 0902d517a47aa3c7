"""`quintet policies`, `explain`, `settings`: looking at what is there, and operating it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli import wiring
from cli.clock import now_ms
from cli.errors import BadUsage
from cli.output import Output, table
from cli.settings import Settings, described
from policy.errors import LivePointerNotReadable, SnapshotUnknown
from policy.registry import Registry
from schemas.codec import encode
from schemas.policies import Announcement, Live, Manifest
from streams.errors import LogError
from streams.port import Message
from streams.topics import POLICIES

Version = Annotated[int, typer.Argument(help="a version from `quintet policies list`")]
Reason = Annotated[str, typer.Option(help="why, for those who read it later")]


def list_policies(settings: Settings, output: Output) -> None:
    """List the snapshots that are kept, newest last, and which one is live."""
    registry = wiring.open_registry(settings)
    try:
        live = registry.live()
    except LivePointerNotReadable as problem:
        output.say(str(problem))
        live = None
    manifests = registry.manifests()
    rows = [_row(manifest, live) for manifest in manifests]
    held = "; held: nothing is promoted until `quintet policies resume`"
    title = f"{len(rows)} snapshots" + (held if live is not None and live.hold else "")
    output.result(
        {"live": live, "policies": manifests},
        table(title, rows) if rows else "no snapshots yet: run `quintet pretrain`",
    )


def _row(manifest: Manifest, live: Live | None) -> dict[str, object]:
    made = datetime.fromtimestamp(manifest.created_at_ms / 1000, UTC)
    mark = "live" if live is not None and manifest.version == live.version else ""
    return {
        "version": manifest.version,
        "made": f"{made:%Y-%m-%d %H:%M:%S}Z",
        "parent": manifest.parent,
        "updates": manifest.updates,
        "banners": manifest.banners,
        "": "foundation" if manifest.foundation == manifest.version and not mark else mark,
    }


def show_policy(settings: Settings, output: Output, version: Version) -> None:
    """Show one snapshot's manifest."""
    for manifest in wiring.open_registry(settings).manifests():
        if manifest.version == version:
            output.result(manifest)
            return
    raise BadUsage(f"there is no policy {version}: see `quintet policies list`")


def _known(registry: Registry, version: int) -> None:
    try:
        registry.load(version)
    except SnapshotUnknown as problem:
        raise BadUsage(str(problem)) from None


def promote(
    settings: Settings, output: Output, version: Version, reason: Reason = "by hand"
) -> None:
    """Put a snapshot live."""
    registry = wiring.open_registry(settings)
    _known(registry, version)
    _announce(settings, output, "promoted", registry.promote(version, reason=reason))
    output.result({"live": version}, f"policy {version} is live")


def rollback(
    settings: Settings,
    output: Output,
    to: Annotated[int | None, typer.Option(help="this version; none: the one before")] = None,
    reason: Reason = "by hand",
) -> None:
    """Put the previous policy back and hold: nothing is promoted until `resume`."""
    registry = wiring.open_registry(settings)
    if to is not None:
        _known(registry, to)
    live = registry.rollback(reason=reason, to=to)
    _announce(settings, output, "rolled_back", live)
    output.result(
        live, f"policy {live.version} is live and held; `quintet policies resume` ends that"
    )


def resume(settings: Settings, output: Output) -> None:
    """End the hold: the trainer goes on from what is live, and may promote again."""
    live = wiring.open_registry(settings).resume()
    _announce(settings, output, "resumed", live)
    output.result(live, f"policy {live.version} is live; new policies are promoted again")


def _announce(settings: Settings, output: Output, kind: str, live: Live) -> None:
    """Tell the topic `policies`; the registry has moved already, with the log or without."""
    announcement = Announcement(
        kind=kind,  # type: ignore[arg-type]
        version=live.version,
        at_ms=now_ms(),
        process="cli",
        reason=live.reason,
    )
    try:
        with wiring.opened_log(settings, member="policies") as log:
            log.append(POLICIES.name, [Message(None, encode(announcement))])
    except LogError as problem:
        output.say(f"done, but not announced on topic {POLICIES.name}: {problem}")


def explain(
    settings: Settings,
    output: Output,
    recommendation_id: Annotated[str, typer.Argument(help="from an answer of /recommend")],
) -> None:
    """Tell one banner's whole life: context, propensities, events, points, the update."""
    from cli.explaining import explained_text
    from console.errors import ConsoleError
    from console.explain import Explainer
    from projections.catalogue import read_catalogue
    from schemas.errors import SchemaError

    horizon = settings.attribution_window_seconds + settings.lateness_seconds
    with wiring.opened_log(settings, member="explain") as log:
        catalogue = read_catalogue(log)
        explainer = Explainer(
            log, wiring.open_registry(settings), lambda: catalogue, horizon_seconds=horizon
        )
        try:
            found = explainer.explain(recommendation_id)
        except (ConsoleError, SchemaError) as problem:
            raise BadUsage(f"{recommendation_id}: {problem}") from None
    output.result(found, explained_text(found))


def settings_table(settings: Settings, output: Output) -> None:
    """Print every setting: its value here, its flag, its meaning. Secrets are masked."""
    values = settings.model_dump(mode="json")
    rows = [
        {
            "setting": environment,
            "value": values[environment.removeprefix("QUINTET_").lower()],
            "flag": flag,
            "meaning": meaning,
        }
        for environment, flag, meaning in described()
    ]
    title = "settings: flags over environment over .env over defaults"
    output.result({"settings": rows}, table(title, rows))
