"""What earns most together, read from a registry of real snapshots."""

from pathlib import Path
from typing import Any

import pytest

from console.pairs import SHOWN, Pairs
from policy.errors import SnapshotRejected
from policy.pairs import CategoryPair
from policy.registry import Registry
from policy.snapshot import Snapshot
from schemas.products import Product
from tests.policies import pair_table, weights_of

CATEGORIES = ["pasta", "sauce", "soap", "towels", "tea", "milk", "nuts"]


class Counted(Registry):
    """A registry that counts how often a snapshot was read."""

    reads = 0

    def load(self, version: int) -> Snapshot:
        self.reads += 1
        return super().load(version)


@pytest.fixture
def shop(catalogue: Any) -> Any:
    catalogue.products = [
        Product(product_id=category, title="thing", category=category) for category in CATEGORIES
    ]
    return catalogue


@pytest.fixture
def registry(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "registry", clock=lambda: 0)


def publish(registry: Registry, *lifts: tuple[str, str, float]) -> None:
    weights = {**weights_of(7), "value_pairs": pair_table(*lifts)}
    made = registry.publish(
        weights, parent=None, foundation=None, catalogue_version=1, updates=0, banners=0
    )
    reads = registry.reads
    registry.promote(made.version, reason="trained")
    registry.reads = reads


def test_before_the_first_policy_there_is_no_version(registry: Counted, shop: Any) -> None:
    report = Pairs(registry, lambda: shop).report()

    assert (report.version, list(report.pairs)) == (None, [])


def test_a_version_that_learned_of_none_has_none(registry: Counted, shop: Any) -> None:
    publish(registry)

    report = Pairs(registry, lambda: shop).report()

    assert (report.version, list(report.pairs)) == (1, [])


def test_a_snapshot_is_read_once_until_version_or_catalogue_change(
    registry: Counted, shop: Any
) -> None:
    pairs = Pairs(registry, lambda: shop)
    publish(registry, ("sauce", "pasta", 1.5))
    first = [pairs.report() for _ in range(3)]
    reads = [registry.reads]

    publish(registry, ("soap", "towels", 0.5))
    second = pairs.report()
    reads.append(registry.reads)
    shop.products, shop.version = shop.products[:3], 2
    third = pairs.report()
    reads.append(registry.reads)

    assert reads == [1, 2, 3]
    assert [report.pairs for report in first] == [[CategoryPair("pasta", "sauce", 1.5)]] * 3
    assert (second.version, second.pairs) == (2, [CategoryPair("soap", "towels", 0.5)])
    assert third.pairs == []


def test_a_dozen_is_enough(registry: Counted, shop: Any) -> None:
    lifts = [
        (first, second, 0.1 + 0.1 * place + number)
        for number, first in enumerate(CATEGORIES)
        for place, second in enumerate(CATEGORIES[:number])
    ]
    publish(registry, *lifts)

    found = Pairs(registry, lambda: shop).report().pairs

    assert len(lifts) > SHOWN == len(found)
    assert [pair.lift_nats for pair in found] == pytest.approx(
        sorted((nats for *_, nats in lifts), reverse=True)[:SHOWN], rel=1e-6
    )


def test_a_damaged_snapshot_is_refused_and_read_again_once_whole(
    registry: Counted, shop: Any, tmp_path: Path
) -> None:
    publish(registry, ("sauce", "pasta", 1.5))
    weights = next((tmp_path / "registry").rglob("weights.safetensors"))
    whole = weights.read_bytes()
    pairs = Pairs(registry, lambda: shop)

    weights.write_bytes(whole[:-1])
    with pytest.raises(SnapshotRejected):
        pairs.report()
    weights.write_bytes(whole)

    assert len(pairs.report().pairs) == 1
