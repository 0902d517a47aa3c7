"""A live ring under a live Prometheus: panels have data, rules run, one banner is followed.

Two serving workers, everything logged, keys: what an operator's installation looks like.
"""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli import process_file
from tests.prometheus import Prometheus, alerts, boards, panels
from tests.rings import Ring, open_shop, until
from tests.servers import require

KEY = "key-of-the-storefront-5150"
SECRET = "a-secret-that-nobody-may-read"
SHOPPER = "shopper-ingrid-bergman"
REQUEST = "page-view-4711"
SECONDS = 90.0
_PERIOD = re.compile(r"\$__rate_interval")


@dataclass(frozen=True)
class Observed:
    """A ring, who watches it, and the banner that was asked for by hand."""

    ring: Ring
    prometheus: Prometheus
    recommendation_id: str
    token: str


def call(ring: Ring, path: str, body: object) -> tuple[dict[str, object], str | None]:
    """Return the JSON of an answer and its `X-Request-ID`."""
    request = urllib.request.Request(  # noqa: S310 - our own process
        ring.url + path,
        json.dumps(body).encode(),
        {
            "content-type": "application/json",
            "authorization": f"Bearer {KEY}",
            "x-request-id": REQUEST,
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer), answer.headers["x-request-id"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    require("prometheus")
    ring = Ring(
        tmp_path_factory.mktemp("observed"),
        workers="2",
        secret=SECRET,
        api_keys=f"{KEY}:recommend+events:server+operate",
        settlement_seconds="1",
        batch_banners="32",
        control_share="0.4",
        log_level="debug",
    )
    prometheus = Prometheus(
        tmp_path_factory.mktemp("prometheus"), processes=ring.data_dir / "processes"
    )
    try:
        open_shop(ring)
        prometheus.start()
        ring.start("run")
        until(ring.is_ready, "the ring is ready")
        ring.start_beside("simulate", "--url", ring.url, "--rate", "40", "--api-key", KEY)
        yield Observed(ring, prometheus, *_shop_by_hand(ring))
    finally:
        ring.end()
        prometheus.stop()


def _shop_by_hand(ring: Ring) -> tuple[str, str]:
    """Ask for one banner and click on it, so that there is a banner to follow."""
    until(lambda: call(ring, "/recommend", {})[0]["source"] == "policy", "the policy serves")
    while True:  # until it is no banner of the control arm, which nobody learns from
        answer, named = call(ring, "/recommend", {"user_id": None, "exclude_product_ids": ["?"]})
        if answer["arm"] == "policy":
            break
    assert named == REQUEST
    click = {
        "event_id": "click-1",
        "type": "click",
        "recommendation_id": answer["recommendation_id"],
        "attribution_token": answer["attribution_token"],
        "product_id": answer["products"][0]["product_id"],
        "occurred_at": "2026-01-01T00:00:00Z",
    }
    order = {
        "event_id": "order-1",
        "type": "purchase",
        "user_id": SHOPPER,
        "product_id": "p1",
        "occurred_at": "2026-01-01T00:00:00Z",
    }
    call(ring, "/events", [click, click, order, {"event_id": "x", "type": "click"}])
    call(ring, "/recommend", {"user_id": SHOPPER})
    return str(answer["recommendation_id"]), str(answer["attribution_token"])


def queries() -> dict[str, str]:
    """Return every query of every dashboard by where it stands."""
    return {
        f"{name}, {panel['title']}, {target['legendFormat']}": _PERIOD.sub("30s", target["expr"])
        for name, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    }


def without_data(prometheus: Prometheus) -> list[str]:
    """Return which queries give no number now."""
    return [
        where
        for where, query in queries().items()
        if not any(value == value for value in prometheus.values(query))  # NaN is no number
    ]


def test_every_panel_of_every_dashboard_shows_something(observed: Observed):
    left: list[str] = list(queries())

    def all_have_data() -> bool:
        left[:] = without_data(observed.prometheus)
        return not left

    try:
        until(all_have_data, "every panel has data", seconds=SECONDS)
    except AssertionError:
        pytest.fail(f"no data for {len(left)} queries:\n" + "\n".join(left))


def test_every_rule_is_evaluated_without_an_error(observed: Observed):
    groups = observed.prometheus.ask("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]

    assert {rule["name"] for rule in found if rule["type"] == "alerting"} == set(alerts())
    assert [(rule["name"], rule["lastError"]) for rule in found if rule.get("lastError")] == []
    firing = [rule["name"] for rule in found if rule.get("state") == "firing"]
    assert not set(firing) & {"ProcessDown", "BannersLost", "BannersDoubled", "DeadLetters"}


def test_whichever_worker_is_asked_counters_of_all_only_grow(observed: Observed):
    def counters() -> dict[tuple[str, ...], float]:
        with urllib.request.urlopen(observed.ring.url + "/metrics", timeout=10) as answer:  # noqa: S310
            families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items())):
                sample.value
            for family in families
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }  # fmt: skip

    scrapes = [counters() for _ in range(8)]

    workers = {label for series in scrapes[0] for label in series if label.startswith("worker=")}
    assert workers == {"worker=0", "worker=1"}
    for earlier, later in pairwise(scrapes):
        assert set(earlier) <= set(later)
        assert not [series for series, value in earlier.items() if later[series] < value]


def lines(ring: Ring) -> list[dict[str, object]]:
    """Return what the ring's processes logged."""
    return [json.loads(line) for line in ring.said.splitlines() if line.startswith("{")]


def test_one_banner_is_followed_from_its_request_to_the_update_that_learned_from_it(
    observed: Observed,
):
    banner = observed.recommendation_id

    def said(event: str) -> list[dict[str, object]]:
        return [line for line in lines(observed.ring) if line.get("event") == event]

    def learned() -> list[dict[str, object]]:
        return [line for line in said("banners_learned") if banner in line["recommendation_ids"]]

    until(learned, "the trainer learned from the banner", seconds=SECONDS)
    (asked,) = [line for line in said("recommended") if line["recommendation_id"] == banner]
    assert asked["request_id"] == REQUEST
    assert asked["process"] == "serve"
    clicked = [line for line in said("event_judged") if line["recommendation_id"] == banner]
    assert [line["outcome"] for line in clicked] == ["accepted", "accepted"]
    rewarded = [line for line in said("banner_rewarded") if line["recommendation_id"] == banner]
    assert rewarded[-1]["points"] > 0
    version = learned()[0]["version"]
    assert [line for line in said("batch_learned") if line["version"] == version]
    explained = observed.ring.command("explain", banner, "--json")
    assert explained.returncode == 0, explained.stderr
    assert banner in explained.stdout


def test_no_log_names_a_shopper_an_address_a_key_a_token_or_the_secret(observed: Observed):
    said = "\n".join(json.dumps(line) for line in lines(observed.ring))

    assert '"level": "debug"' in said
    for secret in (SHOPPER, KEY, SECRET, observed.token, "127.0.0.1"):
        assert secret not in said, secret


def test_what_ended_by_itself_is_no_longer_scraped_and_what_was_killed_is_down(observed: Observed):
    folder = Path(observed.ring.data_dir / "processes")
    assert {path.stem for path in folder.glob("*.json")} >= {"aggregate", "train", "console"}

    killed = observed.ring.kill("console")

    assert (folder / "console.json").exists()
    observed.ring.restarted("console", killed=killed)

    def is_the_new_one() -> bool:
        file = process_file.find(observed.ring.data_dir, "console")
        return file is not None and file.pid != killed

    def answers() -> bool:
        try:
            with urllib.request.urlopen(observed.ring.console_url + "/readyz", timeout=5):  # noqa: S310
                return True
        except OSError:
            return False

    until(is_the_new_one, "the restarted console says where it is")
    until(answers, "the restarted console hears signals")
    observed.ring.interrupt()
    assert observed.ring.wait(30) == 0
    assert list(folder.glob("*.json")) == []
