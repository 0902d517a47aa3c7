"""A genuine Prometheus for tests, and what its rules and queries name."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.servers import REPOSITORY, Server, free_ports

FOLDER = REPOSITORY / "deploy" / "prometheus"
DASHBOARDS = REPOSITORY / "deploy" / "grafana" / "dashboards"
ITS_OWN = {"up", "ALERTS"}
"""Series that Prometheus makes itself."""
_WORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool",
    "offset", "inf", "nan",
}  # fmt: skip


class Prometheus(Server):
    """One Prometheus that scrapes what the files of a folder name, every two seconds."""

    def __init__(self, folder: Path, *, processes: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        configuration = {
            "global": {
                "scrape_interval": "2s",
                "scrape_timeout": "2s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(FOLDER / "alerts.yml")],
            "scrape_configs": [
                {
                    "job_name": "one-machine",
                    "file_sd_configs": [
                        {"files": [f"{processes}/*.json"], "refresh_interval": "1s"}
                    ],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
        command += [
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__(command, folder, environment={})

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(  # noqa: S310 - ours
                self.url + "/-/ready", timeout=1
            ):
                return True
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; fail with what it says is wrong."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - ours
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(f"{parameters}: {refused.read().decode()}") from None

    def values(self, query: str) -> list[float]:
        """Return the value of every series that a query gives now."""
        result = self.ask("query", query=query)["result"]
        return [float(series["value"][1]) for series in result]


@cache
def boards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that draw something."""
    return [panel for panel in board["panels"] if panel["type"] not in {"row", "text"}]


@cache
def rule_tests() -> list[dict[str, Any]]:
    """Return every unit test of the alerts."""
    files = sorted(FOLDER.glob("*.test.yml"))
    return [test for path in files for test in yaml.safe_load(path.read_text())["tests"]]


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule, alerts and recorded ones."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the recorded queries by name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def names_in(query: str) -> set[str]:
    """Return the metrics that a query names.

    >>> sorted(names_in('sum by (le) (rate(a_bucket{b="c"}[5m])) / on() group_left(x) max(d) > 1'))
    ['a_bucket', 'd']
    """
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", query)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found = re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()", bare)
    return {name for name in found if name.lower() not in _WORDS}


def labels_in(query: str) -> set[str]:
    """Return the labels that a query names."""
    matched = re.findall(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"', query)
    grouped = re.findall(
        r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", query
    )
    listed = [label.strip() for group in grouped for label in group.split(",")]
    return {label for label in [*matched, *listed] if label}
