"""The products as this machine saw them last: whole, or up to the first hole, or nothing."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from projections.kept_products import KeptProducts
from streams.port import Partition, Record

PRODUCTS = Partition("products", 0)


def records(*offsets: int) -> Sequence[Record]:
    return [Record(PRODUCTS, at, 1_000 + at, b"k%d" % at, b"v%d" % at) for at in offsets]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


def test_nothing_is_known_at_first(path: Path) -> None:
    kept = KeptProducts(path)

    assert list(kept.load()) == []
    assert kept.last is None
    assert not path.exists()


def test_what_was_kept_is_loaded_as_it_was_whatever_offsets_the_log_left_out(path: Path) -> None:
    kept = KeptProducts(path)
    kept.keep(records(0, 1, 4))
    kept.keep(records(7))
    kept.keep([Record(PRODUCTS, 9, 5, b"k9", None)])

    again = KeptProducts(path)

    found = again.load()
    assert found == [*records(0, 1, 4, 7), Record(PRODUCTS, 9, 5, b"k9", None)]
    assert again.last == found[-1]
    again.keep(records(10))
    assert [record.offset for record in KeptProducts(path).load()] == [0, 1, 4, 7, 9, 10]


def test_several_processes_that_keep_the_same_records_do_not_disturb_each_other(
    path: Path,
) -> None:
    one, other = KeptProducts(path), KeptProducts(path)
    one.keep(records(0, 1, 2))
    other.keep(records(0, 1, 2, 3, 4))
    one.keep(records(3))

    assert list(KeptProducts(path).load()) == list(records(0, 1, 2, 3, 4))


def test_a_file_with_a_hole_ends_before_it(path: Path) -> None:
    KeptProducts(path).keep(records(0, 1, 2, 3, 4))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM products WHERE offset = 2")
    connection.close()

    assert list(KeptProducts(path).load()) == list(records(0, 1))


def test_what_the_disk_does_not_take_is_written_the_next_time(path: Path) -> None:
    kept = KeptProducts(path)
    kept.keep(records(0))
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE products RENAME TO hidden")
        other.execute("CREATE TABLE products (offset INTEGER)")
        other.commit()
        kept.keep(records(1, 2))
        other.execute("DROP TABLE products")
        other.execute("ALTER TABLE hidden RENAME TO products")
    other.close()

    kept.keep(records(3))

    assert list(KeptProducts(path).load()) == list(records(0, 1, 2, 3))


def test_a_file_that_cannot_be_read_is_nothing_known(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)
    kept = KeptProducts(path)

    assert list(kept.load()) == []
    kept.clear()
    kept.keep(records(0))
    assert list(KeptProducts(path).load()) == list(records(0))
