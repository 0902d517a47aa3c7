"""Dashboards, alert rules and the runbook: one with the code's metrics, and with one another."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.main import app
from console.health import MEANINGS
from deploy.dashboards import BOARDS
from deploy.dashboards.rendering import rendered
from tests.prometheus import (
    DASHBOARDS,
    FOLDER,
    ITS_OWN,
    alerts,
    boards,
    labels_in,
    names_in,
    panels,
    recorded,
    rule_tests,
    rules,
)
from tests.servers import REPOSITORY, require

TABLE = runpy.run_path(str(Path(__file__).with_name("metric_table.py")))
NAMES = TABLE["names"]() | ITS_OWN
LABELS = {label for row in TABLE["rows"]() for label in row.labels} | {
    "job", "instance", "worker", "le", "alertstate",
}  # fmt: skip
RUNBOOK = (REPOSITORY / "docs" / "runbook.md").read_text()
QUERIES = [
    (f"{name}: {panel['title']}", target["expr"])
    for name, board in boards().items()
    for panel in panels(board)
    for target in panel["targets"]
] + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
SERIES = [
    (test["name"], series["series"]) for test in rule_tests() for series in test["input_series"]
]


@pytest.mark.parametrize(("where", "query"), QUERIES + SERIES)
def test_no_query_names_a_metric_or_a_label_that_does_not_exist(where, query):
    found = names_in(query)

    assert found, "a query without a metric"
    assert found <= NAMES | set(recorded()), where
    assert labels_in(query) <= LABELS, where


def test_the_reading_of_queries_sees_a_wrong_name():
    query = 'sum by (arm) (rate(service_swops_total{resalt="swapped"}[5m])) / on() service_x > 2'

    assert names_in(query) == {"service_swops_total", "service_x"}
    assert labels_in(query) == {"arm", "resalt"}


def test_the_dashboards_are_those_of_the_code():
    written = {path.stem: path.read_text() for path in DASHBOARDS.glob("*.json")}

    assert written == {board.name: rendered(board) for board in BOARDS}, "run `make dashboards`"


@pytest.mark.parametrize("board", boards().values(), ids=boards())
def test_every_panel_says_what_it_shows_and_where_it_comes_from(board):
    assert {variable["name"] for variable in board["templating"]["list"]} >= {"datasource"}
    assert board["editable"] is False
    assert board["uid"].startswith("quintet-")
    assert board["panels"][0]["type"] == "text"
    for panel in panels(board):
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("board", boards().values(), ids=boards())
def test_no_panel_covers_another(board):
    places = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & places, panel["title"]
        places |= cells
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_severity_a_summary_and_its_section_of_the_runbook(name):
    alert = alerts()[name]

    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.M | re.S)
    assert section, f"docs/runbook.md has no section {name}"
    for part in ("**Means.**", "**See.**", "**Do.**"):
        assert part in section[1], (name, part)


def test_the_runbook_has_no_section_of_an_alert_that_is_gone_and_dashboards_link_real_ones():
    sections = set(re.findall(r"^## (\w+)$", RUNBOOK, re.M))

    assert sections == set(alerts())
    for board in BOARDS:
        assert set(board.alerts) <= sections, board.name
    assert {alert for board in BOARDS for alert in board.alerts} == sections


def test_the_runbook_names_commands_that_exist():
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}

    for first, second in re.findall(r"`quintet ([a-z-]+)(?: ([a-z]+))?", RUNBOOK):
        assert first in commands | set(groups), first
        if first in groups and second:
            inside = {
                one.name or one.callback.__name__ for one in groups[first].registered_commands
            }
            assert second in inside, (first, second)


def test_the_runbook_names_metrics_and_lines_of_the_log_that_exist():
    sources = "".join(
        path.read_text()
        for room in ("service", "rewards", "trainer", "cli", "projections", "policy", "schemas")
        for path in (REPOSITORY / room).rglob("*.py")
    )

    for name in set(re.findall(r"`([a-z]+_[a-z_]+)`", RUNBOOK)):
        assert name in NAMES or f'"{name}' in sources, name


@pytest.mark.parametrize(
    ("alert", "sign"),
    [
        ("PolicyCollapsed", "entropy_nats"),
        ("PolicyFarFromFoundation", "foundation_kl_nats"),
        ("TrainingCapped", "cap_share"),
    ],
)
def test_an_alert_and_the_console_draw_the_line_at_the_same_place(alert, sign):
    words = MEANINGS[sign]
    bound = f"< {words.low}" if words.high is None else f"> {words.high:g}"

    assert f"train_health_{sign} {bound}" in alerts()[alert]["expr"]


def test_every_alert_is_tried_where_it_fires_and_where_it_must_not():
    fires, quiet = set(), set()
    for test in rule_tests():
        for one in test["alert_rule_test"]:
            (fires if one["exp_alerts"] else quiet).add(one["alertname"])

    assert fires == quiet == set(alerts())


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts.test.yml", "alerts-slow.test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_agrees(arguments):
    require("promtool")

    checked = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=200
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_is_told_where_dashboards_lie_and_that_nobody_changes_them_by_hand():
    folder = REPOSITORY / "deploy" / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards" / "quintet.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]

    assert provider["allowUiUpdates"] is False
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]


def test_the_script_writes_the_files(tmp_path):
    check = "import sys; from pathlib import Path; from deploy.dashboards.__main__ import write; "
    subprocess.run(
        [sys.executable, "-c", check + "write(Path(sys.argv[1]))", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
    )

    assert {path.stem for path in tmp_path.glob("*.json")} == set(boards())
    for path in tmp_path.glob("*.json"):
        assert json.loads(path.read_text()) == boards()[path.stem]
