"""Product and purchase files: good rows are taken, bad ones refused with their lines."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.errors import BadUsage
from cli.files import FileRefused, read_products, read_purchases
from schemas.products import Product
from service.past_purchases import PastOrderLines

PRODUCTS = "product_id,title,category,brand,price_cents,image_url,available\n"
PURCHASES = "user_id,product_id,occurred_at,order_id,quantity\n"
NOON_MS = 1_704_110_400_000  # 2024-01-01T12:00:00Z


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


def order(
    user_id: str, *lines: tuple[str, int], order_id: str | None = None, at_ms: int = NOON_MS
) -> PastOrderLines:
    return PastOrderLines(
        user_id=user_id, occurred_at_ms=at_ms, order_id=order_id, lines=list(lines)
    )


def test_products_have_all_their_columns(file: Path) -> None:
    file.write_text(
        PRODUCTS + 'p1,"Apple, red",Food/Fruit,Acme,499,https://x/1.jpg,no\np2,Pear,,,,,\n'
    )

    found = read_products(file)

    assert found.products == [
        Product(
            product_id="p1",
            title="Apple, red",
            category="Food/Fruit",
            brand="Acme",
            price_cents=499,
            image_url="https://x/1.jpg",
            available=False,
        ),
        Product(product_id="p2", title="Pear"),
    ]
    assert (found.refused_rows, list(found.refused)) == (0, [])


def test_columns_may_stand_in_any_order_and_the_optional_ones_be_absent(file: Path) -> None:
    file.write_text("price_cents, title ,product_id\n5,Apple,p1\n")

    assert read_products(file).products == [Product(product_id="p1", title="Apple", price_cents=5)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ending_are_fine(file: Path, ending: str) -> None:
    text = ending.join(["product_id,title", "p1,Äpfel", "", "p2,Birne"])
    file.write_bytes(text.encode("utf-8-sig"))

    assert [found.title for found in read_products(file).products] == ["Äpfel", "Birne"]


@pytest.mark.parametrize(
    ("words", "available"),
    [("true false 1 0 yes no TRUE No", [True, False, True, False, True, False, True, False])],
)
def test_available_may_be_said_in_several_ways(
    file: Path, words: str, available: list[bool]
) -> None:
    rows = [f"p{place},Apple,{word}" for place, word in enumerate(words.split())]
    file.write_text("product_id,title,available\n" + "\n".join(rows))

    assert [found.available for found in read_products(file).products] == available


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",Apple,,,,,", "product_id must have 1 to 128 characters"),
        ("x" * 129 + ",Apple,,,,,", "product_id must have 1 to 128 characters"),
        ("p\0,Apple,,,,,", "product_id must have"),
        ("p\x1f,Apple,,,,,", "product_id must have"),
        ("p, ,,,,,", "title is empty"),
        ("p," + "x" * 513 + ",,,,,", "title must have at most 512"),
        ("p,A\0,,,,,", "title must have"),
        ("p,A,," + "x" * 513 + ",,,", "brand must have"),
        ("p,A,,,4.99,,", "price_cents must be a whole number"),
        ("p,A,,,-1,,", "price_cents must be"),
        ("p,A,,,1e3,,", "price_cents must be"),
        ("p,A,,,1_000,,", "price_cents must be"),
        ("p,A,,,\u0661,,", "price_cents must be"),
        ("p,A,,,1000000000001,,", "price_cents must be"),
        ("p,A,,,NaN,,", "price_cents must be"),
        ("p,A,,,,,maybe", "available must be"),
        ("good,A,,,,,", "product_id stands in the file already"),
        ("p,A", "the row has not the header's 7 columns"),
        ("p,A,,,,,,", "the row has not the header's 7 columns"),
        ('"p"x,A,,,,,', "a quoted value goes on after its quotes"),
    ],
)
def test_a_bad_product_row_is_refused_with_its_line_and_the_rest_taken(
    file: Path, row: str, reason: str
) -> None:
    file.write_text(f"{PRODUCTS}good,A,,,,,\n{row}\nalso good,B,,,,,\n", encoding="utf-8")

    found = read_products(file)

    assert [product.product_id for product in found.products] == ["good", "also good"]
    assert found.refused_rows == 1
    assert (found.refused[0].line, found.refused[0].reason[: len(reason)]) == (3, reason)
    assert f"{file}, line 3: {reason}" in str(found.refused[0])
    assert list(found.reasons.values()) == [1]


def test_lines_are_counted_over_quoted_line_breaks(file: Path) -> None:
    file.write_text('product_id,title\np1,"two\nlines"\n\np2,\n')

    found = read_products(file)

    assert found.products[0].title == "two\nlines"
    assert [row.line for row in found.refused] == [5]


def test_many_bad_rows_are_counted_and_some_shown(file: Path) -> None:
    file.write_text("product_id,title,price_cents\n" + "p,A,x\n" * 1500 + "p,A,1\n" + ",A,1\n")

    found = read_products(file)

    assert len(found.products) == 1
    assert found.refused_rows == 1501
    assert sorted(found.reasons.values()) == [1, 1500]
    assert len(found.refused) == 1_000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n\n", "the file is empty"),
        (b"product_id,title\n", "there are no rows below the header"),
        (b"title\nA\n", "line 1: missing column 'product_id'; the header must have"),
        (b"product_id,title,colour\np,A,red\n", "line 1: unknown column 'colour'"),
        (b"product_id,title,title\np,A,A\n", "line 1: repeated column 'title'"),
        (b"product_id,title,\np,A,\n", "line 1: unknown column ''"),
        (b"product_id;title\np;A\n", "line 1: the columns are not separated by commas"),
        (b"product_id\ttitle\np\tA\n", "line 1: the columns are not separated by commas"),
        (b"product_id,title\np1,A\np2,\xc4pfel\n", "line 3: byte 0xc4 is not UTF-8; save it"),
        ("product_id,title\np1,A\n".encode("utf-16"), "the text is UTF-16"),
        (b'product_id,title\np1,A\np2,"A\np3,B\n', "line 3: quotes are not closed"),
        (b'product_id,title\np1,A\np2,"' + b"A\n" * 100_000, "line 3: quotes are not closed"),
        (b"\0\0\0\0", "line 1: missing column"),
        (b"product_id,title\n,A\n,B\n", "line 2: product_id must have"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_refused_whole(
    file: Path, content: bytes, problem: str
) -> None:
    file.write_bytes(content)

    with pytest.raises(FileRefused) as refused:
        read_products(file)

    assert problem in str(refused.value)
    assert str(file) in str(refused.value)
    assert isinstance(refused.value, BadUsage)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    text = tmp_path / "products.txt"
    text.write_text("product_id,title\n")

    for path, problem in (
        (folder, "this is a folder"),
        (tmp_path / "none.csv", "there is no such file"),
        (text, r"the ending '.txt' is not known"),
    ):
        with pytest.raises(FileRefused, match=problem):
            read_products(path)


def test_rows_of_one_order_belong_together(file: Path) -> None:
    file.write_text(
        PURCHASES
        + "u1,p1,2024-01-01T12:00:00Z,o1,2\n"
        + "u2,p1,2024-01-01T12:00:00Z,o1,\n"
        + "u1,p2,2024-01-01T12:00:05Z,o1,1\n"
        + "u1,p1,2024-01-01T12:00:00Z,o1,3\n"
    )

    found = read_purchases(file)

    assert found.orders == [
        order("u1", ("p1", 5), ("p2", 1), order_id="o1"),
        order("u2", ("p1", 1), order_id="o1"),
    ]
    assert found.lines == 4


def test_without_an_order_id_the_time_makes_the_order(file: Path) -> None:
    file.write_text(
        "user_id,product_id,occurred_at\n"
        "u1,p1,2024-01-01T12:00:00Z\n"
        "u1,p2,2024-01-01T13:00:00+01:00\n"
        "u1,p3,2024-01-01T12:00:01Z\n"
    )

    assert read_purchases(file).orders == [
        order("u1", ("p1", 1), ("p2", 1)),
        order("u1", ("p3", 1), at_ms=NOON_MS + 1000),
    ]


def test_orders_come_oldest_first_at_their_earliest_row(file: Path) -> None:
    file.write_text(
        PURCHASES
        + "u1,p1,2024-01-03,late,1\n"
        + "u1,p2,2024-01-02,middle,1\n"
        + "u1,p3,2024-01-01,late,1\n"
        + "u1,p4,2024-01-02,another,1\n"
    )

    assert [found.order_id for found in read_purchases(file).orders] == [
        "late",
        "middle",
        "another",
    ]


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2024-01-01T12:00:00Z", NOON_MS),
        ("2024-01-01t12:00:00z", NOON_MS),
        ("2024-01-01T12:00:00.25Z", NOON_MS + 250),
        ("2024-01-01T12:00:00.123456789Z", NOON_MS + 123),
        ("2024-01-01T14:00:00+02:00", NOON_MS),
        ("2024-01-01 12:00:00", NOON_MS),
        ("2024-01-01T12:00:00", NOON_MS),
        (" 2024-01-01 12:00:00 ", NOON_MS),
        ("2024-01-01", NOON_MS - 43_200_000),
        ("1970-01-01", 0),
    ],
)
def test_a_time_without_an_offset_is_utc(file: Path, text: str, at_ms: int) -> None:
    file.write_text(f"user_id,product_id,occurred_at\nu,p,{text}\n")

    assert read_purchases(file).orders == [order("u", ("p", 1), at_ms=at_ms)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",p,2024-01-01,,", "user_id must have"),
        ("u,,2024-01-01,,", "product_id must have"),
        ("u,p,,,", "occurred_at must be RFC 3339"),
        ("u,p,yesterday,,", "occurred_at must be"),
        ("u,p,2024-02-30,,", "occurred_at must be"),
        ("u,p,2024-01-01T25:00:00Z,,", "occurred_at must be"),
        ("u,p,01/02/2024,,", "occurred_at must be"),
        ("u,p,20240101,,", "occurred_at must be"),
        ("u,p,2024-W01-1,,", "occurred_at must be"),
        ("u,p,1704110400,,", "occurred_at must be"),
        ("u,p,1969-12-31,,", "occurred_at must be"),
        ("u,p,0001-01-01T00:00:00+23:59,,", "occurred_at must be"),
        ("u,p,2024-01-01," + "x" * 129 + ",", "order_id must have"),
        ("u,p,2024-01-01,,0", "quantity must be a whole number from 1"),
        ("u,p,2024-01-01,,-1", "quantity must be"),
        ("u,p,2024-01-01,,1.5", "quantity must be"),
        ("u,p,2024-01-01,,1000001", "quantity must be"),
        ("u,p,2024-01-01,," + "9" * 5000, "quantity must be"),
        ("u,p,2024-01-01", "the row has not the header's 5 columns"),
    ],
)
def test_a_bad_purchase_row_is_refused_with_its_line_and_the_rest_taken(
    file: Path, row: str, reason: str
) -> None:
    file.write_text(f"{PURCHASES}u,p1,2024-01-01 12:00:00,o,\n{row}\nu,p2,2024-01-01 12:00:00,o,\n")

    found = read_purchases(file)

    assert found.orders == [order("u", ("p1", 1), ("p2", 1), order_id="o")]
    assert found.refused_rows == 1
    assert (found.refused[0].line, found.refused[0].reason[: len(reason)]) == (3, reason)


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_products_may_hold_numbers_booleans_and_gaps(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "products.parquet",
        product_id=pa.array([1, 2, 3]),
        title=pa.array(["Apple", "Pear", None]),
        category=pa.array(["Food", None, "Food"]).dictionary_encode(),
        brand=pa.nulls(3),
        price_cents=pa.array([499.0, None, 1.0]),
        available=pa.array([True, False, None]),
    )

    found = read_products(path)

    assert found.products == [
        Product(product_id="1", title="Apple", category="Food", price_cents=499),
        Product(product_id="2", title="Pear", available=False),
    ]
    assert [(row.line, row.reason) for row in found.refused] == [(4, "title is empty")]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)], pa.timestamp("ns", "UTC")),
        pa.array([datetime(2024, 1, 1, 12)], pa.timestamp("ms")),  # noqa: DTZ001
        pa.array(["2024-01-01T12:00:00Z"], pa.large_string()),
    ],
)
def test_parquet_purchases_may_hold_any_kind_of_time(tmp_path: Path, times: object) -> None:
    path = parquet(tmp_path / "b.parquet", user_id=["u"], product_id=["p"], occurred_at=times)

    assert read_purchases(path).orders == [order("u", ("p", 1))]


def test_parquet_dates_are_midnight_utc(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "b.parquet",
        user_id=["u"],
        product_id=["p"],
        occurred_at=pa.array([date(2024, 1, 1)]),
        quantity=pa.array([3], pa.int8()),
    )

    assert read_purchases(path).orders == [order("u", ("p", 3), at_ms=NOON_MS - 43_200_000)]


def test_parquet_of_another_shape_is_refused_whole(tmp_path: Path) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("product_id,title\np,A\n")
    nested = parquet(tmp_path / "nested.parquet", product_id=[["p"]], title=["A"])
    other = parquet(tmp_path / "other.parquet", product_id=["p"], name=["A"])
    empty = parquet(tmp_path / "empty.parquet", product_id=pa.array([], pa.string()), title=[])

    for path, problem in (
        (text, "no Parquet file"),
        (nested, "column 'product_id' holds list"),
        (other, "missing column 'title'"),
        (empty, "there are no rows"),
    ):
        with pytest.raises(FileRefused, match=problem):
            read_products(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans(), st.sampled_from([".csv", ".parquet"]))
@example(b'"', True, ".csv")
@example(b'a"b\rc,"d"e\n', True, ".csv")
def test_whatever_the_bytes_there_is_one_kind_of_error(
    tmp_path: Path, content: bytes, with_header: bool, ending: str
) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes((PURCHASES.encode() if with_header else b"") + content)

    try:
        found = read_purchases(path)
    except FileRefused:
        return
    assert found.orders
