import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import candidates, history
from schemas.errors import CandidatesNotReadable, HistoryNotReadable
from schemas.history import History


@given(st.sets(st.integers(0, 2**31 - 2), min_size=1, max_size=50))
def test_any_candidate_rows_survive_packing(rows: set[int]):
    ascending = np.array(sorted(rows), np.int64)
    if ascending[-1] > 1_000_000:  # a bitmap of far rows would be chosen only if shorter
        assert candidates.pack(ascending)[0] == candidates.GAPS

    assert candidates.unpack(candidates.pack(ascending)).tolist() == ascending.tolist()


def test_all_of_a_small_catalogue_is_packed_as_a_bitmap():
    assert len(candidates.pack(np.arange(1000))) == 126


@pytest.mark.parametrize("data", [b"\x07\x01", b"\x01\x80", b"\x01"])
def test_damaged_candidates_are_refused(data: bytes):
    with pytest.raises(CandidatesNotReadable):
        candidates.unpack(data)


def test_rows_that_do_not_ascend_are_refused():
    with pytest.raises(CandidatesNotReadable):
        candidates.pack(np.array([3, 3]))


def full_history(recent: int, repeats: int) -> History:
    return History(
        orders=9,
        recent=np.arange(recent, dtype=np.uint32),
        rows=np.arange(repeats, dtype=np.uint32) * 3,
        decayed=np.linspace(0, 5, repeats, dtype=np.float32),
        counts=np.ones(repeats, np.uint32),
        first=np.full(repeats, 2, np.uint32),
        last=np.full(repeats, 7, np.uint32),
    )


@given(st.integers(0, 10), st.integers(0, 256))
def test_any_history_survives_packing(recent: int, repeats: int):
    packed = history.pack(full_history(recent, repeats))

    again = history.unpack(packed + b"more behind it")

    assert history.packed_size(packed) == len(packed)
    assert again.orders == 9
    for name in ("recent", "rows", "decayed", "counts", "first", "last"):
        np.testing.assert_array_equal(
            getattr(again, name), getattr(full_history(recent, repeats), name)
        )


def test_a_history_that_is_cut_short_or_of_another_layout_is_refused():
    packed = history.pack(full_history(3, 4))
    for damaged in (packed[:-1], packed[:7], b"\x02" + packed[1:], b"\x01\0\0\0\xff" + packed[5:]):
        with pytest.raises(HistoryNotReadable):
            history.unpack(damaged)


def test_no_bytes_are_an_empty_history():
    assert history.unpack(b"").orders == 0
