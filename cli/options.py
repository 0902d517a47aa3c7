"""Settings as flags: every command takes each setting as an option, and `--json`."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.errors import BadUsage
from cli.logs import configure_logs
from cli.output import Output
from cli.settings import Settings, described, misspelt

_GIVEN = frozenset({"settings", "settings_problem", "output"})
_PANEL = "Settings (also as environment variables, see `quintet settings`)"


def read_settings(given: dict[str, str | None]) -> Settings:
    """Return the settings; `given` are the flags that were set, by setting name.

    Raises:
        BadUsage: a value cannot be used; the text names every one of them.
    """
    try:
        return Settings.model_validate(
            Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        )
    except ValidationError as problem:
        lines = [
            f"QUINTET_{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            for error in problem.errors(include_input=False, include_url=False)
        ]
        raise BadUsage("; ".join(lines) + " (see `quintet settings`)") from None


def command_with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Return a typer command: `function` plus a flag for every setting.

    `function` gets `settings`, and when it asks for it `output`, with a flag `--json`. Logs go to
    standard error; those of a command with `output` are warnings only, unless a level is set.
    Settings that cannot be read end the command, unless it asks for `settings_problem`: it then
    gets None, and what is wrong with them.
    """
    asked = inspect.signature(function).parameters
    own = [asked[name] for name in asked if name not in _GIVEN]
    answers, copes = "output" in asked, "settings_problem" in asked
    flags = [
        inspect.Parameter(
            environment.removeprefix("QUINTET_").lower(),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None, typer.Option(flag, help=meaning, rich_help_panel=_PANEL)
            ],
        )
        for environment, flag, meaning in described()
    ]
    json_flag = inspect.Parameter(
        "json_output",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool, typer.Option("--json", help="one machine-readable object on standard output")
        ],
    )

    @functools.wraps(function)
    def command(**arguments: Any) -> None:  # noqa: ANN401 - typer passes what it parsed
        given = {flag.name: arguments.pop(flag.name) for flag in flags}
        if answers:
            arguments["output"] = Output(as_json=arguments.pop("json_output"))
        settings: Settings | None = None
        try:
            settings = read_settings(given)
            problem = ""
        except BadUsage as unreadable:
            if not copes:
                raise
            problem = str(unreadable)
        for sentence in () if copes else misspelt(os.environ):
            typer.echo(f"quintet: {sentence}", err=True)
        if copes:
            arguments["settings_problem"] = problem
        level = _log_level(settings, quiet=answers)
        configure_logs(level, process=function.__name__)
        function(settings=settings, **arguments)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    command.__signature__ = inspect.Signature([*own, *([json_flag] if answers else []), *flags])  # type: ignore[attr-defined]
    return command


def _log_level(settings: Settings | None, *, quiet: bool) -> str:
    if settings is None or (quiet and "log_level" not in settings.model_fields_set):
        return "warning"
    return settings.log_level
