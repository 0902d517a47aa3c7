"""What the service relies on when it asks the policy, beside the numbers themselves."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from policy.errors import PolicyError
from policy.features import ProductFeatures
from policy.kernels import request
from policy.kernels.scratch import GROUP
from policy.kernels.sources import FINGERPRINT
from policy.serving import UNIFORMS, Draw, Question, ServingPolicy
from schemas import history as histories
from schemas.errors import HistoryNotReadable
from tests.policies import features_of, history_of, weights_of

NONE = np.empty(0, np.int32)
EVEN = (np.arange(UNIFORMS) + 0.5) / UNIFORMS


def policy_of(products: int = 60, *, known: int | None = None) -> ServingPolicy:
    weights = weights_of(products if known is None else known)
    return ServingPolicy.compile(weights, features_of(products), version=7)


def ask(
    policy: ServingPolicy,
    *,
    viewed_row: int = -1,
    history: bytes = b"",
    eligible: npt.NDArray[np.uint8] | None = None,
    excluded: npt.NDArray[np.int32] = NONE,
    size: int = 5,
    uniforms: npt.NDArray[np.float64] = EVEN,
) -> Draw:
    mask = np.ones(policy.products, np.uint8) if eligible is None else eligible
    return policy.draw(
        viewed_row=viewed_row, history=history, eligible=mask, excluded=excluded, size=size,
        uniforms=uniforms,
    )  # fmt: skip


def only(products: int, rows: list[int]) -> npt.NDArray[np.uint8]:
    mask = np.zeros(products, np.uint8)
    mask[rows] = 1
    return mask


def test_the_same_uniform_numbers_draw_the_same_banner() -> None:
    policy = policy_of()

    first, second = ask(policy), ask(policy)

    assert first.rows.tolist() == second.rows.tolist()
    assert first.log_probs.tolist() == second.log_probs.tolist()


def test_a_draw_leaves_nothing_behind_for_the_next_shopper() -> None:
    policy = policy_of()
    expected = ask(policy)

    ask(policy, viewed_row=4, history=histories.pack(history_of(60)), excluded=np.int32([1, 2]))

    assert ask(policy).rows.tolist() == expected.rows.tolist()
    assert ask(policy).log_probs.tolist() == expected.log_probs.tolist()


def test_a_draw_is_not_changed_by_later_draws() -> None:
    policy = policy_of()
    first = ask(policy)
    rows = first.rows.tolist()

    ask(policy, viewed_row=3, uniforms=EVEN[::-1].copy())

    assert first.rows.tolist() == rows


def test_the_product_viewed_and_excluded_ones_are_no_candidates() -> None:
    excluded = np.array([3, 3, 9, -1, 999], np.int32)

    draw = ask(policy_of(), viewed_row=5, excluded=excluded)

    assert not {3, 5, 9} & set(draw.candidates.tolist())
    assert len(draw.candidates) == 57


def test_products_outside_the_mask_are_no_candidates() -> None:
    draw = ask(policy_of(), eligible=only(60, [1, 8, 20, 40, 41, 59]))

    assert draw.candidates.tolist() == [1, 8, 20, 40, 41, 59]


def test_fewer_eligible_than_positions_gives_all_of_them() -> None:
    draw = ask(policy_of(), eligible=only(60, [8, 2]))

    assert sorted(draw.rows.tolist()) == [2, 8]
    assert np.exp(draw.log_probs[-1]) == pytest.approx(1.0)


def test_nothing_eligible_gives_an_empty_banner() -> None:
    draw = ask(policy_of(), eligible=only(60, []))

    assert draw.rows.tolist() == []
    assert draw.candidates.tolist() == []
    assert draw.packed_candidates == b""


def test_all_positions_pinned_still_says_what_the_candidates_were() -> None:
    draw = ask(policy_of(), size=0)

    assert draw.rows.tolist() == []
    assert len(draw.candidates) == 60


def test_an_empty_catalogue_is_asked_in_vain() -> None:
    policy = policy_of(0)

    policy.warm_up()

    assert ask(policy).rows.tolist() == []


def test_a_mask_that_nobody_may_write_to_is_fine() -> None:
    mask = np.ones(60, np.uint8)
    mask.flags.writeable = False

    assert len(ask(policy_of(), eligible=mask).rows) == 5


def test_greedy_takes_the_highest_scores_in_their_order() -> None:
    policy = policy_of(3000)
    asked = {
        "viewed_row": 7,
        "history": histories.pack(history_of(3000)),
        "eligible": np.ones(3000, np.uint8),
        "excluded": NONE,
    }

    rows = policy.greedy(size=5, **asked)  # type: ignore[arg-type]

    scores = policy.scores(**asked)  # type: ignore[arg-type]
    assert rows.tolist() == np.argsort(-scores, kind="stable")[:5].tolist()


def test_greedy_among_equals_takes_the_lower_rows() -> None:
    weights = weights_of(3000)
    for name in weights:
        if name != "sharpness" and name != "neighbour_rows":
            weights[name] = np.zeros_like(weights[name])
    policy = ServingPolicy.compile(weights, features_of(3000), version=1)

    rows = policy.greedy(
        viewed_row=-1, history=b"", eligible=np.ones(3000, np.uint8), excluded=NONE, size=5
    )

    assert rows.tolist() == [0, 1, 2, 3, 4]


def test_equal_scores_everywhere_still_give_the_candidates_of_the_rule() -> None:
    weights = weights_of(3000)
    for name in weights:
        if name != "sharpness" and name != "neighbour_rows":
            weights[name] = np.zeros_like(weights[name])
    policy = ServingPolicy.compile(weights, features_of(3000), version=1)

    draw = ask(policy, uniforms=np.zeros(UNIFORMS))

    assert draw.candidates.tolist() == list(range(500))


def test_a_new_product_is_scored_by_its_features() -> None:
    draw = ask(policy_of(60, known=50), eligible=only(60, [55, 57]))

    assert sorted(draw.rows.tolist()) == [55, 57]


def test_popular_rows_come_first_and_unknown_ones_last() -> None:
    weights = weights_of(3)
    weights["popularity"] = np.array([1, 9, 4], np.float32)

    policy = ServingPolicy.compile(weights, features_of(5), version=1)

    assert policy.popular.tolist() == [1, 2, 0, 3, 4]


def test_an_extended_policy_is_the_one_compiled_anew() -> None:
    weights, features = weights_of(100), features_of(130)
    before = ProductFeatures(
        features.buckets[:110].copy(), features.weights[:110].copy(), features.categories[:110]
    )
    before.buckets[40, 0] = 77  # this product changes, twenty appear
    history = histories.pack(history_of(130))

    extended = ServingPolicy.compile(weights, before, version=1).extended(features)

    asked = {
        "viewed_row": 40, "history": history, "eligible": np.ones(130, np.uint8), "excluded": NONE,
    }  # fmt: skip
    expected = ServingPolicy.compile(weights, features, version=1).scores(**asked)
    assert extended.scores(**asked).tolist() == expected.tolist()
    assert extended.products == 130


def test_weights_that_know_more_than_the_catalogue_are_refused() -> None:
    with pytest.raises(PolicyError, match="read the catalogue further"):
        ServingPolicy.compile(weights_of(61), features_of(60), version=1)


@pytest.mark.parametrize("products", [60, 3000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_and_no_banner(value: float, products: int) -> None:
    weights = weights_of(products)
    weights["bias_rows"][7] = value
    policy = ServingPolicy.compile(weights, features_of(products), version=1)

    with pytest.raises(PolicyError, match="not finite"):
        ask(policy)


@pytest.mark.parametrize("history", [b"short", histories.pack(history_of(60))[:-4], bytes(16)])
def test_a_history_that_cannot_be_read_is_named(history: bytes) -> None:
    with pytest.raises(HistoryNotReadable):
        ask(policy_of(), history=history)


def test_a_history_may_have_more_bytes_behind_it() -> None:
    history = histories.pack(history_of(60))
    policy = policy_of()

    expected = ask(policy, history=history)

    assert ask(policy, history=history + b"xyz").log_probs.tolist() == expected.log_probs.tolist()


@pytest.mark.parametrize("mask", [np.ones(59, np.uint8), np.ones(60, np.bool_)])
def test_a_mask_of_another_catalogue_or_type_is_refused(mask: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(PolicyError, match="the mask has"):
        ask(policy_of(), eligible=mask)


def test_too_few_uniform_numbers_are_refused() -> None:
    with pytest.raises(PolicyError, match="uniform numbers"):
        ask(policy_of(), uniforms=EVEN[:5])


def test_serving_never_imports_torch() -> None:
    code = "import sys, policy.serving, policy.registry; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_compiled_code_on_disk_belongs_to_this_source() -> None:
    cells = request._draw_group.py_func.__closure__

    assert FINGERPRINT in [cell.cell_contents for cell in cells]


@pytest.mark.parametrize("questions", [1, GROUP - 1, GROUP, 2 * GROUP + 3])
@pytest.mark.parametrize("products", [60, 2500])
def test_many_drawn_together_are_as_drawn_one_by_one(questions: int, products: int) -> None:
    policy = policy_of(products)
    rng = np.random.default_rng(questions)
    everything, some = np.ones(products, np.uint8), only(products, list(range(0, products, 2)))
    asked = [
        Question(
            viewed_row=int(rng.integers(-1, products)),
            history=histories.pack(history_of(products, seed=number)) if number % 3 else b"",
            eligible=some if number % 5 == 4 else everything,
            excluded=rng.integers(0, products, number % 4).astype(np.int32),
            size=number % 6,
        )
        for number in range(questions)
    ]
    uniforms = rng.random((questions, UNIFORMS))

    drawn = policy.draw_many(asked, uniforms)

    for question, numbers, draw in zip(asked, uniforms, drawn, strict=True):
        alone = ask(
            policy, viewed_row=question.viewed_row, history=question.history,
            eligible=question.eligible, excluded=question.excluded, size=question.size,
            uniforms=numbers,
        )  # fmt: skip
        assert isinstance(draw, Draw)
        assert draw.rows.tolist() == alone.rows.tolist()
        assert draw.log_probs.tolist() == alone.log_probs.tolist()
        assert draw.packed_candidates == alone.packed_candidates


def test_a_history_that_cannot_be_read_costs_the_others_of_its_group_nothing() -> None:
    policy = policy_of()
    mask = np.ones(60, np.uint8)
    damaged = histories.pack(history_of(60))[:-6]
    asked = [Question(3, history, mask, NONE, 5) for history in (b"", damaged, b"")]

    first, refused, last = policy.draw_many(asked, np.tile(EVEN, (3, 1)))

    alone = ask(policy, viewed_row=3)
    assert isinstance(refused, HistoryNotReadable)
    for draw in (first, last):
        assert isinstance(draw, Draw)
        assert draw.rows.tolist() == alone.rows.tolist()


def test_draws_without_enough_uniform_numbers_are_refused() -> None:
    question = Question(-1, b"", np.ones(60, np.uint8), NONE, 5)

    with pytest.raises(PolicyError, match="uniform numbers"):
        policy_of().draw_many([question] * 2, np.tile(EVEN, (1, 1)))
