import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import BadUsage
from cli.locks import exclusive


def test_a_second_holder_is_refused_and_a_later_one_is_not(tmp_path: Path):
    lock = tmp_path / "data" / "run.lock"
    with (
        exclusive(lock, what="ring"),
        pytest.raises(BadUsage, match="another ring"),
        exclusive(lock, what="ring"),
    ):
        pass

    with exclusive(lock, what="ring"):
        pass


def test_a_dead_holder_holds_nothing(tmp_path: Path):
    lock = tmp_path / "run.lock"
    holding = (
        "import os, sys; from pathlib import Path; from cli.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), what='ring'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", holding, str(lock)], check=False)

    with exclusive(lock, what="ring"):
        pass
