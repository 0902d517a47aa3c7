"""The catalogue that serves is whole, follows the log, and fits the weights beside it."""

import numpy as np

from schemas.codec import encode
from schemas.products import ProductRemoved
from streams.port import Message


def test_the_first_look_waits_until_a_broker_has_given_the_whole_catalogue(ring):
    ring.polls_before_the_first = 3

    ring.watcher.step()

    assert len(ring.state.catalogue) == 6


def test_a_product_put_while_the_catalogue_is_first_read_is_not_lost(ring):
    ring.after_end_offsets = lambda: ring.sell(6, 7)

    ring.watcher.step()
    ring.sell(7, 8)
    ring.watcher.step()

    assert list(ring.state.catalogue.row_of) == [f"p{row}" for row in range(8)]


def test_without_any_snapshot_the_catalogue_still_serves(ring):
    ring.shelf.point(6)

    ring.watcher.step()

    assert len(ring.state.catalogue) == 6
    assert not ring.behaviour.ready


def test_a_new_product_is_compiled_in_and_can_be_drawn(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 9)

    assert ring.watcher.step()

    policy = ring.state.behaviour.policy
    assert policy.products == len(ring.state.catalogue) == 9
    rows = policy.greedy(
        viewed_row=-1, history=b"", eligible=ring.state.catalogue.available,
        excluded=np.arange(6, dtype=np.int32), size=5,
    )  # fmt: skip
    assert sorted(rows.tolist()) == [6, 7, 8]
    assert ring.swaps == 1
    assert len(ring.told()) == 1


def test_compiling_for_a_changed_catalogue_waits_while_it_keeps_changing(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 7)
    assert ring.watcher.step()
    ring.sell(7, 8)

    assert not ring.watcher.step()
    ring.seconds += 1.0
    assert ring.watcher.step()
    assert len(ring.state.catalogue) == 8


def test_availability_is_followed_at_once_without_compiling(ring):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    policy = ring.state.behaviour.policy

    for product_id in ("p0", "p1"):
        ring.log.append("products", [Message(None, encode(ProductRemoved(product_id=product_id)))])
        assert ring.watcher.step()

    assert ring.state.catalogue.available.tolist() == [0, 0, 1, 1, 1, 1]
    assert ring.state.behaviour.policy is policy


def test_a_snapshot_that_knows_more_products_waits_for_the_catalogue(ring):
    ring.watcher.step()
    ring.shelf.put(1, products=8)
    ring.shelf.point(1)

    assert not ring.watcher.step()
    assert ring.told() == []
    ring.sell(6, 8)
    assert ring.watcher.step()
    assert ring.state.policy_version == 1
