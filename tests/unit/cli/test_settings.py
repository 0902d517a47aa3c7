import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import BadUsage
from cli.options import command_with_settings, read_settings
from cli.settings import SECRETS, Settings, described, misspelt
from cli.wiring import keyring, require_loopback_or_keys

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_a_flag_goes_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("QUINTET_PORT=1001\nQUINTET_WORKERS=3\nQUINTET_SEED=5\n")
    monkeypatch.setenv("QUINTET_PORT", "1002")
    monkeypatch.setenv("QUINTET_SEED", "6")

    found = read_settings({"port": "1003"})

    assert (found.port, found.seed, found.workers, found.console_port) == (1003, 6, 3, 8081)


def test_every_value_that_cannot_be_used_is_named():
    with pytest.raises(BadUsage) as refused:
        read_settings({"port": "many", "control_share": "2", "secret": "short"})

    for name in ("QUINTET_PORT", "QUINTET_CONTROL_SHARE", "QUINTET_SECRET"):
        assert name in str(refused.value)


def test_a_secret_never_stands_in_an_error():
    with pytest.raises(BadUsage) as refused:
        read_settings({"secret": "sesame"})

    assert "sesame" not in str(refused.value)


def test_settings_survive_their_way_to_a_child_process(monkeypatch: pytest.MonkeyPatch):
    given = read_settings({"secret": "0123456789abcdef", "seed": "7", "retention_days": "1.5"})
    for name, value in given.as_environment().items():
        monkeypatch.setenv(name, value)

    assert Settings() == given


def test_secrets_may_stand_in_files_and_go_to_children_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, text in {"secret": "0123456789abcdef\n", "api_keys": "k-12345678:operate"}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"QUINTET_{name.upper()}_FILE", str(tmp_path / name))

    given = read_settings({})
    over = read_settings({"secret": "another secret of 16"})

    assert given.secret is not None
    assert given.secret.get_secret_value() == "0123456789abcdef"
    assert [key.scopes for key in keyring(given).keys] == [{"operate"}]
    assert not {"QUINTET_SECRET", "QUINTET_API_KEYS"} & given.as_environment().keys()
    assert over.as_environment()["QUINTET_SECRET"] == "another secret of 16"


def test_a_secrets_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QUINTET_SECRET_FILE", "/nowhere/at/all")

    with pytest.raises(BadUsage, match="QUINTET_SECRET_FILE: cannot read /nowhere/at/all"):
        read_settings({})


def test_every_secret_may_be_a_file():
    kinds = {name: str(field.annotation) for name, field in Settings.model_fields.items()}

    assert set(SECRETS) == {name for name, kind in kinds.items() if "SecretStr" in kind}


def test_a_misspelt_setting_is_named_with_its_neighbour(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "settings", "--json"],
        env=os.environ | {"QUINTET_CONTROL_SHAER": "0.5", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0
    assert "QUINTET_CONTROL_SHAER is no setting: is QUINTET_CONTROL_SHARE meant?" in done.stderr
    assert "SHAER" not in done.stdout
    assert not misspelt(["QUINTET_SECRET_FILE", "QUINTET_PORT", "quintet_port", "OTHER"])
    assert misspelt(["QUINTET_XYZZY_PLUGH"]) == [
        "QUINTET_XYZZY_PLUGH is no setting: see `quintet settings`"
    ]


def test_every_setting_is_a_flag_of_a_command_and_says_what_it_means():
    def command(settings: Settings) -> None:
        """Do nothing."""

    flags = set(inspect.signature(command_with_settings(command)).parameters)

    assert flags == set(Settings.model_fields)
    assert all(meaning for _, _, meaning in described())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shop.example"])
def test_nothing_listens_beyond_loopback_without_keys(host: str):
    with pytest.raises(BadUsage, match="QUINTET_API_KEYS"):
        require_loopback_or_keys(read_settings({"host": host}))

    require_loopback_or_keys(read_settings({"host": host, "api_keys": "k-12345678:recommend"}))
    require_loopback_or_keys(read_settings({"host": "127.0.0.1"}))
