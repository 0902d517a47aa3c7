"""The containers, for real: the ring turns, is locked down, is watched, stops and comes back.

`make containers` builds the images and runs this; it expects them to be there, and brings up and
takes down a compose project of its own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.containers.compose import (
    Answer,
    CheckFailed,
    Compose,
    command,
    environment,
    http,
    total,
    until,
)
from tests.containers.watching import check_panels, check_rules, check_targets

SERVERS: Final = ("server-1", "server-2")
AGGREGATORS: Final = ("aggregator-1", "aggregator-2")
RING: Final = (*SERVERS, *AGGREGATORS, "trainer", "console", "shoppers")
OTHERS: Final = ("proxy", "prometheus", "redis", "kafka")
WRITABLE: Final = ("kafka",)
"""Its image writes its configuration into its own file system at each start."""
ENDED: Final = (0, 143)
SERVICE_METRICS: Final = "http://127.0.0.1:8080/metrics"
AGGREGATOR_METRICS: Final = "http://127.0.0.1:9090/metrics"
BANNERS: Final = 1_000
_TOOLS: Final = (
    "command -v gcc cc g++ make uv git; ls -d /opt/quintet/bin/pip* /opt/tools/* 2>/dev/null; "
    "python -c 'from importlib import util; print(util.find_spec(\"torch\") is not None)'"
)


@dataclass(frozen=True)
class Stack:
    """The running project and how to call it."""

    compose: Compose
    env: dict[str, str]
    without: Sequence[str]

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.env[port]}{path}"

    def recommend(self, key: str = "RING_SHOP_KEY") -> Answer:
        body = {"user_id": "a visitor", "learn": False}
        return http(self.url("RING_PORT", "/recommend"), body=body, key=self.env.get(key, ""))

    def server(self, name: str) -> dict[str, float]:
        return self.compose.metrics(name, SERVICE_METRICS)

    def answered(self, server: str) -> float:
        return total(self.server(server), "service_recommendations_total")

    def rewards(self, aggregator: str) -> float:
        metrics = self.compose.metrics(aggregator, AGGREGATOR_METRICS)
        return total(metrics, "aggregate_rewards_total")

    def followed(self, aggregator: str) -> float:
        """Return how many records went into histories."""
        metrics = self.compose.metrics(aggregator, AGGREGATOR_METRICS)
        return total(metrics, "aggregate_history_records_total")

    def console(self) -> dict[str, float]:
        """Return the console's metrics; nothing while it is not up."""
        found = http(self.url("RING_CONSOLE_PORT", "/metrics")).body.decode().splitlines()
        pairs = [line.rsplit(" ", 1) for line in found if line and line[0] != "#" and " " in line]
        return {name: float(value) for name, value in pairs}


def bring_up(stack: Stack) -> str:
    """Start everything; wait until every health check agrees."""
    wanted = [name for name in (*OTHERS, *RING) if name not in stack.without]
    stack.compose("up", "--detach", "--no-build", *wanted, timeout=400)
    checked = [name for name in wanted if name != "shoppers"]
    for name in checked:
        until(lambda name=name: stack.compose.is_healthy(name), f"{name} is healthy", seconds=120)
    for name in ("topics", "foundation"):
        code = stack.compose.inspect(name)["State"]["ExitCode"]
        _hold(code == 0, f"{name} exited {code}")
    return f"{len(checked)} services healthy, topics and foundation ended with 0"


def check_address(stack: Stack) -> str:
    """One address: keys are asked for, metrics stay inside, pages answer."""
    until(lambda: stack.recommend().status == 200, "the proxy answers /recommend", seconds=20)
    _hold(len(stack.recommend().json["products"]) == 5, "a banner of five")
    for key, wanted in (("NO_KEY", 401), ("RING_OPERATE_KEY", 200), ("RING_BROWSER_KEY", 200)):
        status = stack.recommend(key).status
        _hold(status == wanted, f"/recommend with {key}: {status}, not {wanted}")
    for path in ("/metrics", "/%6detrics"):
        status = http(stack.url("RING_PORT", path)).status
        _hold(status == 404, f"{path} through the proxy: {status}, not 404")
    status = http(stack.url("RING_CONSOLE_PORT", "/")).status
    _hold(status == 200, f"the console's page: {status}")
    return "200 with a key, 401 without, no metrics outside, the console's page"


def check_turning(stack: Stack, *, banners: int, seconds: float) -> str:
    """Banners are answered by both servers, rewards settled by both aggregators, versions served.

    All of it anew since this was called.
    """
    answered = {
        name: total(stack.server(name), "service_recommendations_total") for name in SERVERS
    }
    settled = {name: stack.rewards(name) for name in AGGREGATORS}
    version = max(_version(stack.server(name)) for name in SERVERS)
    rewarded = _rewarded(stack)

    until(
        lambda: _rewarded(stack) >= rewarded + banners,
        f"{banners} banners more have their reward",
        seconds=seconds,
        every=2,
    )
    for name in SERVERS:
        until(lambda name=name: _version(stack.server(name)) > version,
              f"{name} serves a version newer than {version:.0f}", seconds=60, every=1)  # fmt: skip
        more = stack.answered(name) - answered[name]
        _hold(more > banners / 10, f"{name} answered {more:.0f} banners more")
    for name in AGGREGATORS:
        more = stack.rewards(name) - settled[name]
        _hold(more > 0, f"{name} settled {more:.0f} rewards: it owns no partition")
    followed = sum(stack.followed(name) for name in AGGREGATORS)
    _hold(followed > 0, "no history was written: nobody reached Redis")
    for name in SERVERS:
        state = total(stack.server(name), "service_history_breaker_state")
        _hold(state == 0, f"{name} reads no histories: its breaker's state is {state:.0f}")
    metrics = stack.console()
    for fault in ("console_lost_banners", "console_doubled_banners"):
        _hold(metrics[fault] == 0, f"{fault} is {metrics[fault]:.0f}")
    served = min(_version(stack.server(name)) for name in SERVERS)
    return (
        f"{_rewarded(stack) - rewarded:.0f} banners rewarded, none lost or doubled; versions past "
        f"{served:.0f} on both servers, rewards from both aggregators"
    )


def _version(metrics: dict[str, float]) -> float:
    return total(metrics, "service_policy_version")


def _rewarded(stack: Stack) -> float:
    return total(stack.console(), "console_arm_banners")


def check_locks(stack: Stack) -> str:
    """Nobody is root, only volumes can be written, no build tools, torch where it belongs."""
    for name in (*RING, *OTHERS):
        if name in stack.without:
            continue
        told = stack.compose.inspect(name)["HostConfig"]
        container = stack.compose.container(name)
        told_by_ps = command("docker", "top", container, "-eo", "pid,uid").splitlines()[1:]
        users = [line.split()[1] for line in told_by_ps]
        _hold(bool(users) and "0" not in users, f"{name} runs as {users}")
        _hold(told["Memory"] > 0 and told["NanoCpus"] > 0, f"{name} has no limits")
        _hold(told["CapDrop"] == ["ALL"], f"{name} keeps capabilities")
        if name in WRITABLE:
            continue
        _hold(told["ReadonlyRootfs"], f"{name} has a root file system that can be written")
        tried = "for f in / /usr /etc /opt; do touch $f/written && echo $f can be written; done"
        said = command("docker", "exec", "--user", "0", container, "sh", "-c", f"({tried}) 2>&1",
                       check=False)  # fmt: skip
        _hold(said.count("Read-only") == 4, f"{name}: {said}")
    for name in ("server-1", "trainer"):
        found = stack.compose.inside(name, "sh", "-c", _TOOLS, check=False).split("\n")
        _hold(found[:-1] == [], f"{name} has build tools: {found[:-1]}")
        _hold(found[-1] == str(name == "trainer"), f"{name} has torch: {found[-1]}")
    return f"not root, read-only but {', '.join(WRITABLE)}, limited, no build tools"


def check_restarts(stack: Stack) -> str:
    """A server and an aggregator restart under load; nobody is refused meanwhile."""
    refused: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        ended = False

        def ask() -> None:
            while not ended:
                status = stack.recommend().status
                if status != 200:
                    refused.append(status)
                time.sleep(0.05)

        asking = pool.submit(ask)
        try:
            stack.compose.restart("server-1")
            ready = until(
                lambda: _compiled(stack), "server-1 serves weights again", seconds=60, every=0.2
            )
            stack.compose.restart("aggregator-1")
            until(lambda: stack.compose.is_healthy("aggregator-1"), "it is back", seconds=60)
        finally:
            ended = True
        asking.result()
    _hold(not refused, f"{len(refused)} requests failed meanwhile: {refused[:5]}")
    _hold(ready < 30, f"server-1 was ready after {ready:.0f} s: it compiles its kernels anew")
    turning = check_turning(stack, banners=BANNERS // 2, seconds=120)
    return f"server ready {ready:.1f} s later, no request refused; then {turning}"


def _compiled(stack: Stack) -> bool:
    code = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"
    return "ok" in stack.compose.inside(
        "server-1", "sh", "-c", f'python -S -c "{code}" 2>/dev/null && echo ok', check=False
    )


def check_stops(stack: Stack) -> str:
    """Every service ends within its grace period, by itself."""
    told = []
    for name in ("shoppers", *(n for n in RING if n != "shoppers"), *OTHERS):
        if name in stack.without:
            continue
        grace = float(stack.compose.inspect(name)["Config"].get("StopTimeout") or 10)
        started = time.monotonic()
        command("docker", "stop", "--time", f"{grace:.0f}", stack.compose.container(name))
        seconds = time.monotonic() - started
        state = stack.compose.inspect(name)["State"]
        code = state["ExitCode"]
        _hold(code in ENDED, f"{name} exited {code} after {seconds:.1f} s")
        _hold(not state["OOMKilled"], f"{name} ran out of memory")
        told.append(f"{name} {seconds:.1f} s ({code})")
    return ", ".join(told)


def _hold(fact: bool, otherwise: str) -> None:
    if not fact:
        raise CheckFailed(otherwise)


def steps(stack: Stack) -> list[tuple[str, Callable[[], str]]]:
    """Return what is checked, in order."""
    prometheus = stack.url("RING_PROMETHEUS_PORT", "")
    return [
        ("up", lambda: bring_up(stack)),
        ("one address", lambda: check_address(stack)),
        ("the ring turns", lambda: check_turning(stack, banners=BANNERS, seconds=180)),
        ("Prometheus's targets", lambda: check_targets(prometheus)),
        ("alert rules", lambda: check_rules(prometheus)),
        ("dashboards' queries", lambda: check_panels(prometheus)),
        ("locked down", lambda: check_locks(stack)),
        ("restarts under load", lambda: check_restarts(stack)),
        ("stops", lambda: check_stops(stack)),
    ]


def main() -> int:
    """Run every step; say what holds and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", default="quintet-check")
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="services that cannot run here")
    parser.add_argument("--keep", action="store_true", help="leave everything up at the end")
    given = parser.parse_args()
    stack = Stack(
        Compose(given.project, given.env_file), environment(given.env_file), given.without
    )
    try:
        for name, step in steps(stack):
            started = time.monotonic()
            said = step()
            sys.stdout.write(f"{time.monotonic() - started:6.1f} s  {name}: {said}\n")
            sys.stdout.flush()
    except CheckFailed as problem:
        sys.stdout.write(f"FAILED  {name}: {problem}\n")
        for service in (*RING, "foundation", "topics"):
            logs = stack.compose("logs", "--tail", "15", service, check=False)
            sys.stdout.write(f"--- {service}\n{logs[-3_000:]}\n")
        return 1
    finally:
        if not given.keep:
            stack.compose("down", "--volumes", "--timeout", "30", timeout=300, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
