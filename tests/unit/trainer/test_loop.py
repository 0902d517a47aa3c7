"""The trainer's loop: batches, what counts in them, poison, and weights that are refused."""

from typing import Any

import msgspec
import pytest

from schemas import codec
from schemas.products import Product, ProductUpserted
from streams.port import Message
from streams.topics import DEAD, POLICIES, PRODUCTS, REWARDS
from tests.unit.trainer.learning_ring import BATCH, Ring, drain, good, value


def test_every_full_batch_becomes_a_live_version(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(2 * BATCH + 3, points=good))

    drain(ring.trainer())

    assert ring.live().version == 3
    manifest = ring.registry.load(3).manifest
    assert (manifest.parent, manifest.foundation) == (2, 1)
    assert (manifest.updates, manifest.banners, manifest.rewards_offset) == (2, 32, 32)
    assert manifest.learned_events_ms == tuple(range(1000 + BATCH, 1000 + 2 * BATCH))
    assert manifest.health["records"] == BATCH


def test_publishing_and_promoting_are_announced(ring: Ring, shop: Any) -> None:
    ring.reward(*shop.rewards(BATCH))

    drain(ring.trainer())

    news = [codec.decode_announcement(record) for record in ring.read(POLICIES.name)]
    assert [(one.kind, one.version) for one in news] == [("published", 2), ("promoted", 2)]


def test_a_batch_that_is_not_full_closes_with_a_record_appended_later(
    ring: Ring, shop: Any
) -> None:
    first, second = shop.rewards(5), shop.rewards(2, seed=1)
    ring.reward(*first)
    ring.now_ms += 2001
    ring.reward(*second)

    drain(ring.trainer())

    assert ring.live().version == 2
    assert ring.registry.load(2).manifest.rewards_offset == 5  # the later ones wait


def test_an_untrainable_record_is_left_out_but_lets_time_pass(ring: Ring, shop: Any) -> None:
    control = msgspec.structs.replace(
        shop.rewards(1, seed=1)[0], trainable=False, arm="control", candidates=b"", log_probs=()
    )
    ring.reward(*shop.rewards(5))
    ring.now_ms += 2001
    ring.reward(control)
    trainer = ring.trainer()

    drain(trainer)

    assert ring.registry.load(2).manifest.banners == 5
    assert value(trainer.metrics.records, outcome="untrainable") == 1


def test_a_reward_that_comes_twice_counts_once(ring: Ring, shop: Any) -> None:
    rewards = shop.rewards(BATCH)
    ring.reward(*rewards[:10], *rewards[:10], *rewards[10:])
    trainer = ring.trainer()

    drain(trainer)

    assert ring.registry.load(2).manifest.banners == BATCH
    assert value(trainer.metrics.records, outcome="duplicate") == 10


def test_a_correction_of_a_banner_is_no_duplicate_of_it(ring: Ring, shop: Any) -> None:
    rewards = shop.rewards(BATCH // 2)
    later = [msgspec.structs.replace(reward, revision=1) for reward in rewards]
    ring.reward(*rewards, *later)

    drain(ring.trainer())

    assert ring.registry.load(2).manifest.banners == BATCH // 2
    assert ring.registry.load(2).manifest.health["corrections"] == BATCH // 2


@pytest.mark.parametrize("poison", [b"not json", None, b"{}"], ids=["text", "tombstone", "empty"])
def test_an_unreadable_reward_goes_to_the_dead_letters_and_learning_goes_on(
    ring: Ring, shop: Any, poison: bytes | None
) -> None:
    ring.log.append(REWARDS.name, [Message(b"k", poison)])
    ring.reward(*shop.rewards(BATCH))
    trainer = ring.trainer()

    drain(trainer)

    (letter,) = [codec.decode_dead_letter(record) for record in ring.read(DEAD.name)]
    assert (letter.topic, letter.offset, letter.value) == (REWARDS.name, 0, poison)
    assert letter.reader == "train"
    assert ring.live().version == 2


def test_a_reward_of_a_catalogue_that_does_not_exist_goes_to_the_dead_letters(
    ring: Ring, shop: Any
) -> None:
    reward = msgspec.structs.replace(shop.rewards(1)[0], catalogue_version=10_000)
    ring.reward(reward)
    trainer = ring.trainer()

    drain(trainer)

    assert value(trainer.metrics.records, outcome="unreadable") == 1
    assert "beyond the log" in codec.decode_dead_letter(ring.read(DEAD.name)[0]).reason


def test_a_new_product_gets_a_row_with_the_first_reward_that_knows_it(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    upsert = ProductUpserted(product=Product(product_id="new", title="new thing"))
    ring.log.append(PRODUCTS.name, [Message(None, codec.encode(upsert))])

    rewards = shop.rewards(2 * BATCH, seed=1, points=good)
    ring.reward(*rewards[:BATCH])
    newer = shop.size + 1
    ring.reward(*(msgspec.structs.replace(one, catalogue_version=newer) for one in rewards[BATCH:]))
    drain(trainer)

    before, after = (ring.registry.load(version).manifest for version in (3, 4))
    assert (before.products, before.catalogue_version) == (shop.size, shop.size)
    assert (after.products, after.catalogue_version) == (newer, newer)


def test_weights_that_could_not_serve_are_refused_and_learning_goes_on_from_before(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    assert trainer._work is not None
    parameter = trainer._work.learner._policy.user_bias
    parameter.data += 1e9  # finite, but scores are beyond what float32 can tell apart

    ring.reward(*shop.rewards(BATCH, seed=1, points=good))
    drain(trainer)
    refused = ring.live().version
    ring.reward(*shop.rewards(BATCH, seed=2, points=good))
    drain(trainer)

    assert refused == 2
    assert value(trainer.metrics.batches, outcome="refused") == 1
    assert ring.live().version == 3
    assert ring.registry.load(3).manifest.rewards_offset == 3 * BATCH


def test_after_a_refused_batch_that_brought_new_products_learning_goes_on_with_them(
    ring: Ring, shop: Any
) -> None:
    trainer = ring.trainer()
    ring.reward(*shop.rewards(BATCH, points=good))
    drain(trainer)
    assert trainer._work is not None
    trainer._work.learner._policy.user_bias.data += 1e9
    upsert = ProductUpserted(product=Product(product_id="new", title="new thing"))
    ring.log.append(PRODUCTS.name, [Message(None, codec.encode(upsert))])

    newer = shop.size + 1
    for seed in (1, 2):
        rewards = shop.rewards(BATCH, seed=seed, points=good)
        ring.reward(*(msgspec.structs.replace(one, catalogue_version=newer) for one in rewards))
        drain(trainer)

    assert value(trainer.metrics.batches, outcome="refused") == 1
    assert ring.registry.load(ring.live().version).manifest.products == newer
    assert len(trainer._work.learner._model._parts[0].bias) == newer
