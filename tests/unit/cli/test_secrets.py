import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.errors import BadUsage
from cli.secrets import installation_secret


def test_a_given_secret_is_used_and_nothing_is_written(tmp_path: Path):
    assert installation_secret("given-secret-0123", tmp_path / "data") == b"given-secret-0123"
    assert not (tmp_path / "data").exists()


def test_without_one_it_is_made_once_for_its_owner_alone(tmp_path: Path):
    first = installation_secret(None, tmp_path / "data")

    assert installation_secret(None, tmp_path / "data") == first
    assert installation_secret(None, tmp_path / "other") != first
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


def test_processes_that_start_together_agree(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: installation_secret(None, tmp_path), range(32)))

    assert len(found) == 1


def test_a_damaged_secret_is_named(tmp_path: Path):
    (tmp_path / "secret").write_text("half")

    with pytest.raises(BadUsage, match="damaged"):
        installation_secret(None, tmp_path)
