"""A ledger larger than a message is kept in pieces, and comes back whole."""

import pytest

from rewards.pieces import NAME_BYTES, Pieces
from rewards.settlement import PartitionRewards
from rewards.specification import RewardSpecification

KEY, OTHER = b"8 bytes.", b"another."


def put(kept: dict[bytes, bytes], pieces: Pieces, key: bytes, value: bytes | None) -> None:
    for name, piece in pieces.split(key, value):
        if piece is None:
            kept.pop(name, None)
        else:
            kept[name] = piece


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("sizes", [(0,), (10,), (11, 35, 4), (40, 41, 12), (3000, 1)])
def test_a_value_that_grows_and_shrinks_is_whole(sizes: tuple[int, ...], again: bool) -> None:
    pieces, kept = Pieces(10), {}
    put(kept, pieces, OTHER, b"x" * 25)

    for size in sizes:
        value = bytes(number % 251 for number in range(size))
        put(kept, pieces, KEY, value)

        assert max(map(len, kept.values())) <= 10
        assert all(len(name) <= NAME_BYTES for name in kept)
        pieces = Pieces(10) if again else pieces
        joined = dict(pieces.join(reversed(kept.items())))
        assert joined == {KEY: value, OTHER: b"x" * 25}

    put(kept, pieces, KEY, None)
    assert dict(pieces.join(kept.items())) == {OTHER: b"x" * 25}


def test_of_a_large_value_only_what_changed_is_written() -> None:
    pieces = Pieces(10)
    value = bytes(range(35))
    list(pieces.split(KEY, value))

    grown = dict(pieces.split(KEY, value + b"more"))
    changed = dict(pieces.split(KEY, b"!" + value[1:] + b"more"))
    same = dict(pieces.split(KEY, b"!" + value[1:] + b"more"))

    assert grown == {KEY + b"\0\3": value[30:] + b"more"}
    assert changed == {KEY: b"!" + value[1:10]}
    assert same == {}


def test_pieces_of_another_size_are_written_anew() -> None:
    kept: dict[bytes, bytes] = {}
    value = bytes(range(100))
    put(kept, Pieces(60), KEY, value)

    pieces = Pieces(10)
    assert dict(pieces.join(kept.items())) == {KEY: value}
    put(kept, pieces, KEY, value[:25])

    assert dict(Pieces(10).join(kept.items())) == {KEY: value[:25]}
    assert len(kept) == 3


def test_one_user_id_for_everybody_is_settled_as_ever_from_state_in_pieces(shop, story):
    whole, split = story(), story()
    split.fold = PartitionRewards(split.specification, Pieces(100))
    for told in (whole, split):
        told.at(0, *(shop.recommended(number) for number in range(40)))
        told.at(1, shop.click(rec=shop.rec(7)))
    entries = dict(split.fold.changes())
    assert max(len(value) for name, value in entries.items() if len(name) <= NAME_BYTES) == 100

    split.fold = PartitionRewards(RewardSpecification(), Pieces(100))
    split.fold.load(entries.items())

    for told in (whole, split):
        told.at(60, shop.click(rec=shop.rec(7), event_id="again"))
    assert split.rewards == whole.rewards
    assert len(split.rewards) == 40
    assert split.outcomes == whole.outcomes
