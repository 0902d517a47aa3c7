"""The catalogue is what the topic `products` says, one version after another."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.features import encode_products
from projections.catalogue import (
    Catalogue,
    CatalogueProjection,
    catalogue_at,
    read_catalogue,
)
from projections.errors import CatalogueNotReadable
from schemas.codec import encode
from schemas.products import Product, ProductRecord, ProductRemoved, ProductUpserted
from schemas.requests import Filter, RecommendedProduct
from streams.local import LocalLog
from streams.port import Message, Partition, Record


def product(product_id: str = "p1", title: str = "Apple", **other: object) -> Product:
    return msgspec.convert({"product_id": product_id, "title": title, **other}, Product)


def upsert(product_id: str = "p1", title: str = "Apple", **other: object) -> ProductUpserted:
    return ProductUpserted(product=product(product_id, title, **other))


def removal(product_id: str) -> ProductRemoved:
    return ProductRemoved(product_id=product_id)


def records(*facts: ProductRecord | bytes | None, start: int = 0) -> list[Record]:
    values = [encode(fact) if isinstance(fact, ProductRecord) else fact for fact in facts]
    return [
        Record(Partition("products", 0), start + place, 1, None, value)
        for place, value in enumerate(values)
    ]


def catalogue_of(*facts: ProductRecord) -> Catalogue:
    return CatalogueProjection().apply(records(*facts))


def test_rows_are_the_order_of_first_appearance_and_never_reused() -> None:
    catalogue = catalogue_of(
        upsert("b"), upsert("a"), upsert("b", "Other"), removal("b"), upsert("c"), upsert("b")
    )

    assert catalogue.row_of == {"b": 0, "a": 1, "c": 2}
    assert [found.product_id for found in catalogue.products] == ["b", "a", "c"]
    assert len(catalogue) == 3
    assert catalogue.version == 6


def test_removed_and_unavailable_products_are_not_available() -> None:
    catalogue = catalogue_of(
        upsert("a"), upsert("b", available=False), upsert("c"), removal("c"), removal("unknown")
    )

    assert catalogue.available.tolist() == [1, 0, 0]
    assert catalogue.available.dtype == np.uint8


def test_a_removed_product_may_come_back_to_its_row() -> None:
    catalogue = catalogue_of(upsert("a"), removal("a"), upsert("a", "Pear"))

    assert catalogue.available.tolist() == [1]
    assert catalogue.products[0].title == "Pear"


def test_a_version_stays_as_it_was_when_the_next_is_made() -> None:
    projection = CatalogueProjection()
    before = projection.apply(records(upsert("a", price_cents=5)))
    features = before.features.buckets.copy()

    after = projection.apply(records(upsert("a", "Pear", price_cents=9), upsert("b"), start=1))

    assert projection.current is after
    assert (before.version, len(before), list(before.row_of)) == (1, 1, ["a"])
    assert before.products[0].title == "Apple"
    assert before.price_cents.tolist() == [5]
    assert np.array_equal(before.features.buckets, features)
    assert after.price_cents.tolist() == [9, -1]


def test_records_that_come_again_change_nothing() -> None:
    projection = CatalogueProjection()
    first = records(upsert("a"), upsert("b"), removal("a"))

    catalogue = projection.apply(first)

    assert projection.apply(first) is catalogue
    assert projection.apply(first[1:2]) is catalogue


def test_features_stay_the_same_object_until_a_products_features_change() -> None:
    projection = CatalogueProjection()
    before = projection.apply(records(upsert("a"), upsert("b")))

    sold_out = projection.apply(records(removal("a"), upsert("a", image_url="x"), start=2))
    renamed = projection.apply(records(upsert("a", "Pear"), start=4))

    assert sold_out.features is before.features
    assert renamed.features is not before.features


FACTS = st.lists(
    st.one_of(
        st.builds(
            upsert,
            st.sampled_from("abcdef"),
            st.sampled_from(["Apple", "Red pear", ""]),
            category=st.sampled_from([None, "Food", "Food/Fruit", "Toys"]),
            brand=st.sampled_from([None, "Acme"]),
            price_cents=st.sampled_from([None, 0, 250]),
            available=st.booleans(),
        ),
        st.builds(removal, st.sampled_from("abcdef")),
    ),
    max_size=20,
)


@given(FACTS, st.data())
def test_batches_make_the_same_catalogue_as_one_record_at_a_time(
    facts: list[ProductRecord], data: st.DataObject
) -> None:
    at_once, in_batches = CatalogueProjection(), CatalogueProjection()
    stream = records(*facts)

    expected = at_once.apply(stream)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        in_batches.apply(stream[:size])
        stream = stream[size:]
    found = in_batches.current

    assert found.row_of == expected.row_of
    assert list(found.products) == list(expected.products)
    assert list(found.fragments) == list(expected.fragments)
    assert found.available.tolist() == expected.available.tolist()
    assert found.available.tolist() == [int(one.available) for one in found.products]
    assert found.price_cents.tolist() == expected.price_cents.tolist()
    for category in ("food", "food/fruit", "toys"):
        asked = Filter(category=(category,))
        assert found.eligible(asked).tolist() == expected.eligible(asked).tolist()
    whole = encode_products(list(found.products))
    assert np.array_equal(found.features.buckets, whole.buckets)
    assert np.array_equal(found.features.weights, whole.weights)
    assert np.array_equal(found.features.categories, whole.categories)


SHOP = (
    upsert("apple", category="Food/Fruit", brand="Acme", price_cents=100),
    upsert("bread", category="food", brand="ACME", price_cents=300),
    upsert("car", category="Toys/Cars/Red", brand="Bmw", price_cents=200),
    upsert("foodie", category="Foodie", price_cents=200),
    upsert("thing"),
    upsert("gone", category="Food", brand="Acme", price_cents=1, available=False),
)


@pytest.mark.parametrize(
    ("asked", "passing"),
    [
        (Filter(), "apple bread car foodie thing"),
        (Filter(category=("FOOD",)), "apple bread"),
        (Filter(category=("food/fruit",)), "apple"),
        (Filter(category=("fruit",)), ""),
        (Filter(category=("toys/cars", "Foodie")), "car foodie"),
        (Filter(category=("toys/cars/red",)), "car"),
        (Filter(category=("nothing",)), ""),
        (Filter(brand=("acme",)), "apple bread"),
        (Filter(brand=("ac",)), ""),
        (Filter(max_price_cents=200), "apple car foodie"),
        (Filter(max_price_cents=0), ""),
        (Filter(category=("food",), brand=("acme",), max_price_cents=100), "apple"),
        (Filter(category=(), brand=()), "apple bread car foodie thing"),
    ],
)
def test_eligible_products_pass_every_filter_given(asked: Filter, passing: str) -> None:
    catalogue = catalogue_of(*SHOP)

    found = catalogue.eligible(asked)

    ids = [catalogue.products[row].product_id for row in np.flatnonzero(found).tolist()]
    assert ids == passing.split()
    assert found.dtype == np.uint8
    assert found.shape == (len(SHOP),)


def test_a_brand_with_a_slash_is_no_path() -> None:
    catalogue = catalogue_of(upsert("a", brand="Black/Decker"))

    assert catalogue.eligible(Filter(brand=("black",))).tolist() == [0]
    assert catalogue.eligible(Filter(brand=("black/decker",))).tolist() == [1]


def test_without_a_filter_the_shared_array_is_given() -> None:
    catalogue = catalogue_of(*SHOP)

    assert catalogue.eligible() is catalogue.available
    assert catalogue.eligible(Filter(brand=("acme",))) is catalogue.eligible(
        Filter(brand=("acme",))
    )


def test_a_filter_asked_before_a_change_is_worked_out_anew_after_it() -> None:
    projection = CatalogueProjection()
    asked = Filter(brand=("acme",))
    before = projection.apply(records(upsert("a", brand="Acme"))).eligible(asked)

    after = projection.apply(records(upsert("a", brand="Other"), start=1)).eligible(asked)

    assert (before.tolist(), after.tolist()) == ([1], [0])


@given(
    st.builds(
        product,
        title=st.text(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40
        ),
        category=st.sampled_from([None, 'a"b/c\\d']),
        price_cents=st.sampled_from([None, 499]),
    )
)
def test_a_fragment_completes_the_json_of_a_recommended_product(given_product: Product) -> None:
    catalogue = catalogue_of(ProductUpserted(product=given_product))

    body = b'{"position":3,' + catalogue.fragments[0]

    assert msgspec.json.decode(body, type=RecommendedProduct) == RecommendedProduct(
        product_id=given_product.product_id,
        position=3,
        title=given_product.title,
        category=given_product.category,
        brand=given_product.brand,
        price_cents=given_product.price_cents,
        image_url=given_product.image_url,
    )


def test_what_cannot_be_read_is_skipped_counted_and_told() -> None:
    told: list[tuple[int, str]] = []
    projection = CatalogueProjection(
        on_unreadable=lambda record, why: told.append((record.offset, why))
    )

    catalogue = projection.apply(records(upsert("a"), b"not json", None, b"{}", upsert("b")))

    assert list(catalogue.row_of) == ["a", "b"]
    assert catalogue.version == 5
    assert projection.unreadable == 3
    assert [offset for offset, _ in told] == [1, 2, 3]
    assert all(why for _, why in told)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LocalLog]:
    opened = LocalLog(tmp_path / "log.sqlite", clock=lambda: 1)
    yield opened
    opened.close()


def test_the_log_gives_the_catalogue_now_and_at_any_version(log: LocalLog) -> None:
    facts = (upsert("a"), upsert("b", price_cents=1), removal("a"), upsert("b", price_cents=2))
    log.append("products", [Message(None, encode(fact)) for fact in facts])

    assert read_catalogue(log).available.tolist() == [0, 1]
    assert [len(catalogue_at(log, version)) for version in range(5)] == [0, 1, 2, 2, 2]
    assert catalogue_at(log, 2).available.tolist() == [1, 1]
    assert catalogue_at(log, 3).price_cents.tolist() == [-1, 1]
    assert catalogue_at(log, 3).version == 3


def test_an_empty_log_is_an_empty_catalogue(log: LocalLog) -> None:
    catalogue = read_catalogue(log)

    assert (catalogue.version, len(catalogue)) == (0, 0)
    assert catalogue.eligible(Filter(category=("food",))).shape == (0,)


def test_a_version_the_log_has_not_reached_is_refused(log: LocalLog) -> None:
    log.append("products", [Message(None, encode(upsert("a")))])

    with pytest.raises(CatalogueNotReadable, match="version 2 was asked, the log ends at 1"):
        catalogue_at(log, 2)
