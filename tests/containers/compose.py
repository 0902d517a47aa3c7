"""docker and compose, called as people call them."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class CheckFailed(Exception):
    """Something does not hold; the text says what."""


def command(*words: str, timeout: float = 60.0, check: bool = True) -> str:
    """Run a command; return what it printed.

    Raises:
        CheckFailed: it failed or did not end.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"{' '.join(words)} did not end in {timeout:.0f} s") from None
    if check and done.returncode:
        said = (done.stdout + done.stderr).strip()[-2_000:]
        raise CheckFailed(f"{' '.join(words)} exited {done.returncode}: {said}")
    return done.stdout.strip()


def until(holds: Callable[[], bool], what: str, *, seconds: float, every: float = 0.5) -> float:
    """Wait until something holds; return how long that took, in seconds.

    Raises:
        CheckFailed: it did not come to hold in time.
    """
    started = time.monotonic()
    while not holds():
        if time.monotonic() > started + seconds:
            raise CheckFailed(f"not in {seconds:.0f} s: {what}")
        time.sleep(every)
    return time.monotonic() - started


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP; status 0: nothing did."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http(url: str, *, body: Any = None, key: str = "", timeout: float = 5.0) -> Answer:
    """Call an address."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=sent, headers=headers)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as problem:
        return Answer(problem.code, problem.read())
    except OSError as problem:
        return Answer(0, str(problem).encode())


@dataclass(frozen=True)
class Compose:
    """One project of docker-compose.yml.

    Attributes:
        project: its name, so that it meets no other's containers and volumes.
        env_file: what is interpolated.
    """

    project: str
    env_file: Path

    def __call__(self, *words: str, timeout: float = 120.0, check: bool = True) -> str:
        """Run compose, whichever of the two is installed."""
        tool = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        return command(
            *tool,
            *("--project-name", self.project, "--env-file", str(self.env_file)),
            *("--file", str(ROOT / "docker-compose.yml"), "--profile", "shoppers"),
            *words,
            timeout=timeout,
            check=check,
        )

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        labels = (f"project={self.project}", f"service={service}")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        found = command("docker", "ps", "--all", "--quiet", *filters).split()
        if len(found) != 1:
            raise CheckFailed(f"{service} has {len(found)} containers")
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what docker knows of a service's container."""
        return dict(json.loads(command("docker", "inspect", self.container(service)))[0])

    def is_healthy(self, service: str) -> bool:
        """Return whether its health check says so."""
        health = self.inspect(service)["State"].get("Health")
        return bool(health and health["Status"] == "healthy")

    def restart(self, service: str) -> None:
        """End a service's container, within its grace period, and start it again."""
        command("docker", "restart", "--time", "30", self.container(service))

    def inside(self, service: str, *words: str, check: bool = True) -> str:
        """Run a command inside a service's container."""
        return command("docker", "exec", self.container(service), *words, check=check)

    def metrics(self, service: str, url: str) -> dict[str, float]:
        """Return a service's metrics, by name and labels as they are written."""
        code = f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())"
        lines = self.inside(service, "python", "-S", "-c", code).splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, value in pairs}


def total(metrics: Mapping[str, float], name: str) -> float:
    """Return the sum of a metric over its labels."""
    return sum(v for key, v in metrics.items() if key.partition("{")[0] == name)


def environment(path: Path) -> dict[str, str]:
    """Return what an env file sets."""
    lines = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {name: value for name, _, value in lines if not name.startswith("#")}
