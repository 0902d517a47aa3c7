"""The command `quintet`."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from cli.commands import (
    backup,
    data,
    dead_letters,
    doctor,
    export,
    learning,
    processes,
    registry,
    ring,
    topics,
)
from cli.errors import BadUsage, CommandFailed
from cli.options import command_with_settings as with_settings
from policy.errors import PolicyError
from projections.errors import ProjectionError
from streams.errors import LogError

app = typer.Typer(
    name="quintet",
    help="An online recommender that learns from what shoppers do.\n\n"
    "Start with `quintet demo`; on your own data: `quintet import`, `quintet pretrain`, "
    "`quintet run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policies = typer.Typer(help="Snapshots: what serves, what served, and how to go back.")
letters = typer.Typer(help="Events that could not be read.")
topic_commands = typer.Typer(help="The log's topics: what is declared, what the cluster has.")
for typed in (policies, letters, topic_commands):
    typed.info.no_args_is_help = True


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"quintet {metadata.version('quintet')}")
        raise typer.Exit


@app.callback()
def _quintet(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    pass


app.command("demo")(with_settings(ring.demo))
app.command("import")(with_settings(data.import_files))
app.command("export")(with_settings(export.export))
app.command("pretrain")(with_settings(data.pretrain))
app.command("serve")(with_settings(processes.serve))
app.command("aggregate")(with_settings(processes.aggregate))
app.command("train")(with_settings(processes.train))
app.command("console")(with_settings(processes.console))
app.command("run")(with_settings(ring.run))
app.command("simulate")(with_settings(ring.simulate))
app.command("learn")(with_settings(learning.learn))
app.add_typer(policies, name="policies")
app.command("explain")(with_settings(registry.explain))
app.add_typer(letters, name="dead-letters")
app.add_typer(topic_commands, name="topics")
app.command("doctor")(with_settings(doctor.doctor))
app.command("backup")(with_settings(backup.backup))
app.command("restore")(with_settings(backup.restore))
app.command("settings")(with_settings(registry.settings_table))

policies.command("list")(with_settings(registry.list_policies))
policies.command("show")(with_settings(registry.show_policy))
policies.command("promote")(with_settings(registry.promote))
policies.command("rollback")(with_settings(registry.rollback))
policies.command("resume")(with_settings(registry.resume))
letters.command("list")(with_settings(dead_letters.list_dead_letters))
letters.command("show")(with_settings(dead_letters.show_dead_letter))
letters.command("replay")(with_settings(dead_letters.replay_dead_letters))
topic_commands.command("list")(with_settings(topics.list_topics))
topic_commands.command("apply")(with_settings(topics.apply_topics))


def main() -> None:
    """Run the command; exit 0 done, 1 failed, 2 bad usage or bad input."""
    try:
        app()
    except BadUsage as problem:
        _fail(str(problem), 2)
    except (CommandFailed, PolicyError, ProjectionError, LogError) as problem:
        _fail(str(problem), 1)
    except OSError as problem:  # a disk, a folder, a port
        _fail(str(problem), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(sentence: str, status: int) -> None:
    sys.stderr.write(f"quintet: {sentence}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
