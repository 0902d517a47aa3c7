"""The products as this machine saw them last: whole, or up to the first hole, or nothing."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from projections import kept_products
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


def test_when_too_much_waits_for_the_disk_the_file_ends_there_without_a_hole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_products, "_UNSAVED_AT_MOST", 3)
    kept = KeptProducts(path)
    kept.keep(records(0))
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    kept.keep(records(1, 2, 3))
    kept.keep(records(4))
    assert not kept._unsaved
    path.rmdir()
    path.with_suffix(".away").rename(path)

    kept.keep(records(5))

    again = KeptProducts(path)
    assert list(again.load()) == list(records(0))
    again.keep(records(1, 2))
    assert list(KeptProducts(path).load()) == list(records(0, 1, 2))


def test_a_file_that_is_locked_for_a_while_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_products, "_BUSY_SECONDS", 0.0)
    KeptProducts(path).keep(records(0))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert list(KeptProducts(path).load()) == []
        other.execute("COMMIT")
    other.close()

    assert list(KeptProducts(path).load()) == list(records(0))


@pytest.mark.parametrize("damaged", [slice(0, None), slice(4_096, None)])
def test_a_damaged_file_is_nothing_known_and_kept_anew(path: Path, damaged: slice) -> None:
    KeptProducts(path).keep(records(*range(100)))
    content = bytearray(path.read_bytes())
    content[damaged] = b"\xa5" * len(content[damaged])
    path.write_bytes(content)
    kept = KeptProducts(path)

    assert list(kept.load()) == []
    kept.keep(records(0))
    assert list(KeptProducts(path).load()) == list(records(0))
