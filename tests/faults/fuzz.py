"""Requests made from the OpenAPI documents of service and console, as many as one likes.

schemathesis draws valid and invalid requests, follows what answers link to, and holds every answer
against the document (status, media type, body). Beside that each answer must be no 5xx, a problem
document where it is a 4xx, and free of what belongs into a log alone.

    python -m tests.faults.fuzz --requests 100000
"""

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema

from tests.served import EVERYTHING, served

PROBLEM = "application/problem+json"
_TELLTALE = ("Traceback", 'File "/', "site-packages", '.py\\"', "msgspec.", "pydantic")
_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "answers_as_promised",
)  # fmt: skip
_EXAMPLES_OF_A_ROUND = 100
_SHOWN = 1_000


@dataclass
class Fuzzed:
    """What came of it.

    Attributes:
        requests: sent and answered.
        statuses: answers by operation and status.
        failures: what was wrong, a few lines each; empty: nothing was.
    """

    requests: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was wrong, and the requests were of every kind."""
        kinds = {status // 100 for _, status in self.statuses}
        return not self.failures and {2, 4} <= kinds


def fuzz(folder: Path, *, requests: int, seed: int) -> Fuzzed:
    """Send so many requests (a few more) to a service and a console over a data directory.

    Args:
        folder: empty; the data directory is made in it.
        requests: half of them go to each.
        seed: equal seeds send much the same; what answers link to differs.
    """
    found = Fuzzed()
    with served(folder, log_level="error") as on:
        for url in (on.service_url, on.console_url):
            sent = Fuzzed()
            for again in itertools.count():
                left = requests // 2 - sent.requests
                if left <= 0 or sent.failures:
                    break
                _play_round(sent, url, seed=seed + again, left=left, first=again == 0)
            found.requests += sent.requests
            found.statuses += sent.statuses
            found.failures += sent.failures
    return found


def _play_round(found: Fuzzed, url: str, *, seed: int, left: int, first: bool) -> None:
    document = httpx.get(f"{url}/openapi.json", timeout=10.0).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    examples = max(1, min(_EXAMPLES_OF_A_ROUND, left // (2 * operations)))
    schema = schemathesis.openapi.from_dict(
        document, config=_configuration(url, seed=seed, examples=examples, first=first)
    )
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                _take(found, event)
            case events.NonFatalError():
                found.failures.append(f"{event.label}: {event.value!r}"[:_SHOWN])
            case events.FatalError():
                raise event.exception


def _configuration(url: str, *, seed: int, examples: int, first: bool) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "headers": {"Authorization": f"Bearer {EVERYTHING}"},
            "request-timeout": 30.0,
            # They are about how requests are drawn, not about how they are answered.
            "suppress-health-check": ["all"],
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "checks": {"enabled": False} | {name: {"enabled": True} for name in _CHECKS},
            "phases": {
                # The same in every round.
                "examples": {"enabled": first},
                "coverage": {"enabled": first},
                "stateful": {"generation": {"max-examples": examples}, "max-steps": 5},
            },
        }
    )


def _take(found: Fuzzed, scenario: events.ScenarioFinished) -> None:
    for case_id, interaction in scenario.recorder.interactions.items():
        found.requests += 1
        if interaction.response is not None:
            label = scenario.recorder.cases[case_id].value.operation.label
            found.statuses[label, interaction.response.status_code] += 1
    for case_id, checks in scenario.recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                sent = scenario.recorder.interactions[case_id].request
                failure = check.failure_info.failure
                found.failures.append(
                    f"{check.name}: {failure.title}: {failure.message}\n"
                    f"{sent.method} {sent.uri}\n{sent.body!r}"[:_SHOWN]
                )


@schemathesis.check
def answers_as_promised(_: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """A 4xx is a problem document, and no answer holds what belongs into a log."""

    def wrong(message: str) -> Failure:
        return Failure(operation=case.operation.label, title="Broken promise", message=message)

    text = response.content.decode("utf-8", "replace")
    for telltale in _TELLTALE:
        if telltale in text:
            raise wrong(f"the answer holds {telltale}: {text[:300]}")
    if response.status_code < 400:
        return
    kind = response.headers.get("content-type", ["none"])[0]
    if kind != PROBLEM:
        raise wrong(f"{response.status_code} is of the kind {kind}: {text[:300]}")
    problem = response.json()
    if problem["status"] != response.status_code or not problem["title"]:
        raise wrong(f"not the problem of a {response.status_code}: {text[:300]}")


def _lines(found: Fuzzed) -> Iterator[str]:
    for (label, status), count in sorted(found.statuses.items()):
        yield f"{count:>8}  {status}  {label}"
    yield f"{found.requests:>8}  requests, {len(found.failures)} failures"
    yield from found.failures


def main() -> int:
    """Fuzz, and say what came of it; 1: something was wrong."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), requests=given.requests, seed=given.seed)
    print("\n".join(_lines(found)))
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
