"""`quintet backup` and `quintet restore`: the data directory, elsewhere and back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli import wiring
from cli.clock import now_ms
from cli.errors import BadUsage
from cli.output import Output
from cli.settings import Settings


def backup(
    settings: Settings,
    output: Output,
    folder: Annotated[Path, typer.Argument(help="made; if it is there it must be empty")],
) -> None:
    """Copy the data directory while the ring runs: log, histories, snapshots, checkpoints, secret.

    What is in the copy belongs together, so a ring goes on from it. It holds the secret: keep it as
    you keep the data directory. On Kafka and Redis it holds what is on this machine.

    Example: quintet backup /backups/quintet-monday
    """
    from cli.backup import make_backup
    from cli.importing import Watch

    if not (settings.data_dir / "registry").is_dir() and not wiring.log_file(settings).is_file():
        raise BadUsage(f"{settings.data_dir} holds nothing to back up: give --data-dir")
    registry = wiring.open_registry(settings)
    with output.progress() as progress:
        made = make_backup(settings.data_dir, registry, folder, now_ms(), Watch(progress).step)
    if not made.log:
        output.say("the log is not in it: it is not in this data directory")
    if settings.secret is not None:
        output.say("QUINTET_SECRET is set, so the secret is not in it: keep it too")
    output.result(
        {name: getattr(made, name) for name in ("made_at_ms", "live", "versions", "log",
                                                "size_bytes")} | {"files": len(made.files)},
        f"{len(made.files)} files, {made.size_bytes / 1e6:,.1f} MB in {folder}; "
        f"{made.versions} snapshots, live {made.live}",
    )  # fmt: skip


def restore(
    settings: Settings,
    output: Output,
    folder: Annotated[Path, typer.Argument(help="made by `quintet backup`")],
) -> None:
    """Put a backup back into a data directory that is empty or does not exist.

    Every file is verified first. Then `quintet run` goes on from there, rewards, histories and
    learning alike. What happened after the backup is not in it.

    Example: quintet restore /backups/quintet-monday --data-dir quintet-data
    """
    from cli.backup import put_back
    from cli.importing import Watch

    with output.progress() as progress:
        found = put_back(folder, settings.data_dir, Watch(progress).step)
    made = f"{datetime.fromtimestamp(found.made_at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    output.result(
        {"made_at_ms": found.made_at_ms, "live": found.live, "files": len(found.files)},
        f"{settings.data_dir} is as it was at {made}, policy {found.live} live\n"
        "next: quintet doctor, then quintet run",
    )
