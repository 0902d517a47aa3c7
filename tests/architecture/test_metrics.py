import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = runpy.run_path(str(Path(__file__).with_name("metric_table.py")))
PROCESSES = (*TABLE["PROCESSES"], TABLE["EACH"])
UNITS = {
    "seconds", "bytes", "records", "banners", "points", "nats", "products", "versions", "total",
    "version", "offset", "share", "weight", "rate", "norm", "loss", "banner", "spread", "refused",
    "corrections", "spooling", "state", "info", "ratio",
}  # fmt: skip
IDENTIFYING = re.compile(r"(^|_)(user|product|recommendation|event|order|unit|session)(_id)?$")


def test_the_table_of_metrics_is_that_of_the_code():
    documented = set(
        re.findall(r"^\| `[a-z_<>]+` \| .*$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    )
    metrics = {row.text() for row in TABLE["rows"]()}

    assert metrics <= documented, "run `python tests/architecture/metric_table.py`"
    assert {line for line in documented if line.split("`")[1].startswith(PROCESSES)} == metrics


def test_a_metric_is_named_process_noun_unit():
    for row in TABLE["rows"]():
        assert row.name.startswith(PROCESSES), row.name
        assert row.name.rsplit("_", 1)[1] in UNITS, row.name


def test_no_label_identifies_a_shopper_or_a_product():
    for row in TABLE["rows"]():
        assert not any(IDENTIFYING.search(label) for label in row.labels), row
