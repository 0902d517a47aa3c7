from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.__main__ import write
from schemas.codec import decode_event, encode
from schemas.errors import SchemaError, UnknownSchemaVersion
from schemas.events import Click, Line, Purchase, Recommended, Tick


def test_the_committed_json_schemas_are_those_of_the_code(tmp_path: Path):
    committed = Path(schemas.__file__).parent / "json"

    write(tmp_path)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in committed.iterdir()
    }, "run `make schemas` and commit what changes"


def recommended() -> Recommended:
    return Recommended(
        event_id="r", recommendation_id="r", occurred_at_ms=5, unit="u", arm="policy",
        source="policy", trainable=True, policy_version=1, catalogue_version=3, history=b"\x00\xff",
        product_ids=("a",), rows=(0,), log_probs=(-0.5,),
    )  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        recommended(),
        Click(event_id="c", occurred_at_ms=1, received_at_ms=2, product_id="p"),
        Purchase(
            event_id="o", occurred_at_ms=1, received_at_ms=2, lines=(Line(product_id="p", row=3),)
        ),
        Tick(event_id="t", occurred_at_ms=1),
    ],
)
def test_an_event_survives_its_way_through_the_log(event):
    assert decode_event(encode(event)) == event


def test_a_newer_version_is_named_as_such():
    newer = encode(recommended()).replace(b'"schema_version":1', b'"schema_version":2')

    with pytest.raises(UnknownSchemaVersion):
        decode_event(newer)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_event_are_refused_with_a_reason(data: bytes):
    with pytest.raises(SchemaError):
        decode_event(data)


@pytest.mark.parametrize(
    "data", [None, b"", b"[]", b'{"type":"click"}', b'{"type":"nothing"}', b"[" * 100_000, b"NaN"]
)
def test_poison_is_refused_with_a_reason(data: bytes | None):
    with pytest.raises(SchemaError):
        decode_event(data)


def test_unknown_fields_of_the_same_version_are_ignored():
    later = msgspec.json.decode(encode(recommended()))
    later["a_field_of_tomorrow"] = 1

    assert decode_event(msgspec.json.encode(later)) == recommended()
