"""What is imported is counted, what is refused is named, and a file of no use changes nothing."""

from pathlib import Path

import pytest

from cli.demo_marker import read_marker
from cli.settings import Settings
from cli.wiring import open_log
from tests.unit.cli.called import Call, settings_of
from tests.unit.cli.tiny_shop import write_files


def test_import_counts_what_it_took_and_names_what_it_refused(call: Call, tmp_path: Path) -> None:
    products, purchases = tmp_path / "products.csv", tmp_path / "purchases.csv"
    products.write_text("product_id,title,price_cents\np1,One,100\np2,Two,cheap\n,Three,5\n")
    purchases.write_text(
        "user_id,product_id,occurred_at\nu1,p1,2025-01-01T00:00:00Z\nu1,p9,2025-01-02T00:00:00Z\n"
        "u1,p1,yesterday\n"
    )

    done = call("import", "--products", products, "--purchases", purchases, "--json")

    assert done.status == 0, done.err
    assert {name: done.json[name] for name in ("products", "lines", "refused_rows")} == {
        "products": 1, "lines": 2, "refused_rows": 3,
    }  # fmt: skip
    assert done.json["unknown_products"] == 1
    assert [line.partition(":")[0] for line in done.err.splitlines() if "refused" in line] == [
        "refused"
    ] * 3
    assert "products.csv" in done.err
    assert "line 3" in done.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        ("id,name\np1,One\n", "product_id"),
        ("", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_at_all_exits_2_and_changes_nothing(
    call: Call, tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "products.csv"
    if content is not None:
        file.write_text(content)

    done = call("import", "--products", file, "--data-dir", tmp_path / "data")

    assert done.status == 2
    assert "products.csv" in done.err
    assert says in done.err
    log = open_log(settings_of(tmp_path / "data"), member="test")
    assert sum(log.end_offsets("products").values()) == 0
    log.close()


def test_import_without_files_exits_2_and_without_a_catalogue_1(call: Call, tmp_path: Path) -> None:
    _, purchases = write_files(tmp_path)

    assert call("import").status == 2
    assert call("import", "--world", "synthetic", "--purchases", purchases).status == 2
    done = call("import", "--purchases", purchases)

    assert done.status == 1
    assert "--products" in done.err


def test_the_past_of_a_simulated_shop_is_imported(call: Call, tmp_path: Path) -> None:
    done = call("import", "--world", "synthetic", "--json")

    assert done.status == 0, done.err
    assert done.json["products"] == 1_000
    assert done.json["orders"] > 1_000
    assert done.json["unknown_products"] == done.json["refused_rows"] == 0
    marker = read_marker(tmp_path / "quintet-data")
    assert (marker.world, len(marker.shoppers)) == ("synthetic", 12)
    log = open_log(Settings(), member="test")
    assert sum(log.end_offsets("products").values()) == 1_000
    assert sum(log.end_offsets("events").values()) == done.json["orders"]
    log.close()

    refused = call("import", "--world", "aisles")
    assert refused.status == 2
    assert "holds the synthetic demo" in refused.err
