"""Commands run in this process, in an empty folder."""

import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli import main as quintet
from cli import options
from tests.unit.cli.called import Call, Done


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run `quintet` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "configure_logs", lambda *_, **__: None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["quintet", *map(str, arguments)])
        try:
            quintet.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return Done(status, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Any:
    yield
    structlog.reset_defaults()
