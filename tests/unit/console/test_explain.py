"""One banner's whole life."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from cli.explaining import explained_text
from console.errors import RecommendationNotFound
from console.explain import Explainer
from console.explanation import learned_by
from console.policies import Registry
from schemas import history
from schemas.errors import RecommendationIdNotReadable
from schemas.events import Click, Line, Purchase
from schemas.history import History
from streams.local import LocalLog

Append = Callable[..., None]


@pytest.fixture
def explainer(log: LocalLog, registry: Registry, catalogue: Any) -> Explainer:
    return Explainer(log, registry, lambda: catalogue, horizon_seconds=3600)


def click(name: str, at_ms: int) -> Click:
    return Click(
        event_id="c",
        occurred_at_ms=at_ms,
        received_at_ms=at_ms,
        recommendation_id=name,
        product_id="p1",
    )


def order(at_ms: int, product_id: str, name: str | None = None) -> Purchase:
    return Purchase(
        event_id=f"o-{product_id}",
        occurred_at_ms=at_ms,
        received_at_ms=at_ms,
        recommendation_id=name,
        lines=(Line(product_id=product_id),),
    )


def test_a_banner_is_told_from_its_context_to_the_version_that_learned_from_it(
    build: Any, log: LocalLog, clock: Any, append: Append, catalogue: Any
) -> None:
    name, now = build.id(), clock()
    past = history.pack(
        History(
            orders=4,
            recent=np.array([2, 3], np.uint32),
            rows=np.array([3], np.uint32),
            decayed=np.array([1.5], np.float32),
            counts=np.array([2], np.uint32),
            first=np.array([1], np.uint32),
            last=np.array([4], np.uint32),
        )
    )
    append("rewards", build.reward(build.id(7)))
    append("events", build.recommended(name, viewed_row=4, history=past))
    clock.pass_seconds(2)
    append("events", click(name, clock()))
    append("rewards", build.reward(name, points=(0.0, 0.1)))
    registry = _Manifests(
        [build.manifest(3, rewards_offset=1), build.manifest(4, rewards_offset=2)]
    )
    explainer = Explainer(log, registry, lambda: catalogue, horizon_seconds=3600)  # type: ignore[arg-type]

    life = explainer.explain(name)

    assert life.recommended_at_ms == now
    assert life.context.viewed is not None
    assert life.context.viewed.title == "Old cheese"
    assert [product.title for product in life.context.purchased] == ["Brown bread", "Oat milk"]
    assert [repeat.orders for repeat in life.context.repeats] == [2]
    assert life.context.candidates == 5
    assert [position.propensity for position in life.banner] == [math.exp(-1), math.exp(-2)]
    assert [event.type for event in life.events] == ["recommended", "click"]
    assert [position.points for position in life.banner] == [0.0, 0.1]
    assert [revision.learned_by for revision in life.revisions] == [4]


class _Manifests:
    def __init__(self, manifests: list[Any]) -> None:
        self._manifests = manifests

    def manifests(self) -> list[Any]:
        return self._manifests


def test_an_order_without_a_name_is_shown_when_it_holds_a_product_of_the_banner(
    build: Any, clock: Any, append: Append, explainer: Explainer
) -> None:
    name, other = build.id(1), build.id(2)
    append("events", order(clock(), "p0"))  # before the banner
    append("events", build.recommended(name))
    append("events", order(clock(), "p1"), order(clock(), "p3"), order(clock(), "p0", other))
    append("events", order(clock(), "p1"), key=b"somebody")

    events = explainer.explain(name).events

    assert [(event.type, event.named) for event in events] == [
        ("recommended", True),
        ("purchase", False),
    ]


def test_an_event_sent_again_is_shown_once_and_another_with_its_id_is_not_hidden(
    build: Any, clock: Any, append: Append, explainer: Explainer
) -> None:
    name = build.id()
    append("events", build.recommended(name))
    first_ms = clock()
    append("events", click(name, first_ms))
    clock.pass_seconds(2)
    append("events", click(name, clock()), click(name, clock()))
    append("events", msgspec.structs.replace(click(name, clock()), product_id="p0"))
    bought = order(clock(), "p1", name)
    more = msgspec.structs.replace(bought, lines=(Line(product_id="p1", quantity=2),))
    append("events", bought, more, bought)

    life = explainer.explain(name)

    assert [(event.type, event.copies, event.occurred_at_ms) for event in life.events[1:]] == [
        ("click", 3, first_ms),
        ("click", 1, clock()),
        ("purchase", 2, clock()),
        ("purchase", 1, clock()),
    ]
    text = explained_text(life)
    assert text.count("  click  ") == 2
    assert text.count("(in the log 3 times)") == 1


def test_a_banner_that_is_never_trained_has_no_version_that_learned_from_it(
    build: Any, append: Append, explainer: Explainer
) -> None:
    name = build.id()
    append("events", build.recommended(name, arm="control", trainable=False))
    append("rewards", build.reward(name, arm="control", trainable=False))

    life = explainer.explain(name)

    assert [revision.learned_by for revision in life.revisions] == [None]


def test_a_pinned_position_has_no_propensity(
    build: Any, append: Append, explainer: Explainer
) -> None:
    name = build.id()
    append("events", build.recommended(name, log_probs=(None, -1.0)))

    assert [p.propensity for p in explainer.explain(name).banner] == [None, math.exp(-1)]


@pytest.mark.parametrize("text", ["", "x", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "../../etc", "\ud800"])
def test_what_is_no_id_is_refused(explainer: Explainer, text: str) -> None:
    with pytest.raises(RecommendationIdNotReadable):
        explainer.explain(text)


def test_an_unknown_banner_is_not_found(build: Any, append: Append, explainer: Explainer) -> None:
    append("events", build.recommended(build.id(1)), b"{", msgspec.json.encode({"type": "tick"}))

    with pytest.raises(RecommendationNotFound):
        explainer.explain(build.id(2))


def test_the_oldest_version_beyond_the_offset_learned_from_it(build: Any) -> None:
    manifests = [build.manifest(1), build.manifest(3, rewards_offset=10)]

    assert (learned_by(9, manifests), learned_by(10, manifests)) == (3, None)
