import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity
from schemas.errors import RecommendationIdNotReadable


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**48 - 1), st.binary(min_size=10))
def test_a_recommendation_id_carries_its_routing_key(key: bytes, now_ms: int, entropy: bytes):
    text = identity.recommendation_id(identity.ulid(now_ms, entropy), key)

    assert identity.split_recommendation_id(text) == (identity.ulid(now_ms, entropy), key)


@given(st.integers(0, 2**48 - 2), st.binary(min_size=10), st.binary(min_size=10))
def test_later_ulids_sort_after_earlier_ones(now_ms: int, first: bytes, second: bytes):
    assert identity.ulid(now_ms, first) < identity.ulid(now_ms + 1, second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "01ARYZ6S410000000000000000",
        "01ARYZ6S410000000000000000-xyz",
        "0" * 26 + "-" + "G" * 16,
    ],
)
def test_other_texts_are_no_recommendation_id(text: str):
    with pytest.raises(RecommendationIdNotReadable):
        identity.split_recommendation_id(text)


def test_a_user_and_an_anonymous_ulid_of_the_same_text_have_different_keys():
    assert identity.user_key(b"secret", "u1") != identity.anonymous_key(b"secret", "u1")
