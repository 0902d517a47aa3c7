"""`deploy/kafka.sh` on one machine with several processes that want the broker's jars."""

import fcntl
import os
import subprocess
from pathlib import Path

from tests.servers import REPOSITORY

_JAVA = """#!/bin/bash
[ "$1" = -cp ] && exit  # formats the storage
if [ -e /proc/$$/fd/9 ]; then echo the lock is inherited; else echo the lock is let go; fi
"""


def command(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_broker_does_not_inherit_the_lock_that_it_waited_for(tmp_path: Path) -> None:
    """Another process fetches while the script waits; it finds the jars there."""
    cache, tools, there = tmp_path / "cache", tmp_path / "tools", tmp_path / "there"
    asked = tmp_path / "asked"
    (cache / "libs").mkdir(parents=True)
    tools.mkdir()
    command(tools / "java", _JAVA)
    command(tools / "mvn", "#!/bin/bash\nexit 1\n")
    checks = f"#!/bin/bash\n[ -e {there} ]\nfound=$?\ntouch {asked}\nexit $found\n"
    command(tools / "sha256sum", checks)
    found = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "KAFKA_CACHE": str(cache)}

    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = subprocess.Popen(
            [REPOSITORY / "deploy" / "kafka.sh", "run", tmp_path / "data"],
            env=found, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            while not asked.exists():
                assert script.poll() is None, script.communicate()[0]
            there.touch()
            fcntl.flock(lock, fcntl.LOCK_UN)
            said, _ = script.communicate(timeout=60)
        finally:
            script.kill()

    assert (script.returncode, said) == (0, "the lock is let go\n")
