"""What Prometheus sees of the containers: targets, alert rules, every panel's query."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.containers.compose import ROOT, CheckFailed, http, until

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
VARIABLES = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "5m",
}


def ask(prometheus: str, path: str, **parameters: str) -> Any:
    """Return the data of one answer of Prometheus's API."""
    answer = http(f"{prometheus}/api/v1/{path}?{urlencode(parameters)}")
    if answer.status != 200:
        raise CheckFailed(f"Prometheus answered {answer.status} to {path} {parameters}")
    return answer.json["data"]


def check_targets(prometheus: str) -> str:
    """Every target is up."""

    def states() -> dict[str, str]:
        found = ask(prometheus, "targets")["activeTargets"]
        return {f"{t['labels']['job']} {t['scrapeUrl']}": t["health"] for t in found}

    try:
        until(lambda: set(states().values()) == {"up"}, "", seconds=60)
    except CheckFailed:
        down = [name for name, health in states().items() if health != "up"]
        raise CheckFailed(f"targets that are not up: {', '.join(down)}") from None
    return f"{len(states())} up"


def check_rules(prometheus: str) -> str:
    """Every rule could be evaluated, and every metric that it is made of has samples."""

    def rules() -> list[dict[str, Any]]:
        return [r for group in ask(prometheus, "rules")["groups"] for r in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()), "rules run", seconds=90)
    found = rules()
    if not found:
        raise CheckFailed("Prometheus has no rules")
    for rule in found:
        if rule["health"] != "ok":
            raise CheckFailed(f"rule {rule['name']}: {rule.get('lastError')}")
    known = set(ask(prometheus, "label/__name__/values"))
    absent = {rule["name"]: metrics_in(rule["query"]) - known for rule in found}
    if any(absent.values()):
        told = [f"{name} ({', '.join(sorted(names))})" for name, names in absent.items() if names]
        raise CheckFailed(f"rules about metrics that nobody has: {'; '.join(told)}")
    firing = [rule["name"] for rule in found if rule.get("state") == "firing"]
    return f"{len(found)} evaluated; firing: {', '.join(firing) or 'none'}"


def metrics_in(query: str) -> set[str]:
    """Return the metrics of Quintet's processes that a query names; no recorded ones."""
    rooms = "service|aggregate|train|console|process"
    return set(re.findall(rf"(?<![\w:])(?:{rooms})_\w+(?![\w:])", query))


def queries() -> Iterator[tuple[str, str]]:
    """Yield (where it stands, expression) of every panel's every query."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        yield from _of(json.loads(path.read_text()), path.stem)


def _of(panel: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for target in panel.get("targets", ()):
        if "expr" in target:
            yield f"{where}: {panel.get('title')}", _filled(target["expr"])
    for inner in panel.get("panels", ()):
        yield from _of(inner, where)


def _filled(expression: str) -> str:
    """Return a query with Grafana's variables filled in; those of a template match anything."""
    for name, value in VARIABLES.items():
        expression = expression.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return re.sub(r"\$\{?\w+(:\w+)?\}?", ".*", expression)


def check_panels(prometheus: str) -> str:
    """Every panel's query gives data."""
    asked = list(queries())
    if not asked:
        raise CheckFailed(f"no dashboard in {DASHBOARDS.relative_to(ROOT)}")

    def empty() -> list[str]:
        return [w for w, query in asked if not ask(prometheus, "query", query=query)["result"]]

    try:
        until(lambda: not empty(), "", seconds=60, every=5)
    except CheckFailed:
        raise CheckFailed(f"panels without data: {'; '.join(empty())}") from None
    return f"{len(asked)} give data"
