"""What a product earns in a context, learned from every position shown: the reward model.

A policy gradient learns slowly at first, because it only hears which of its own draws did better
than usual. This model is fitted to every shown position at once, so it knows within some hundred
banners which products earn more than the past foretold. Its draw is added to the policy's scores
(`policy.architecture`, "value_..."); the policy gradient goes on from there.

Points of a position are modelled in two parts that are both log-linear (quasi-Poisson), so that
their logarithms add up: whether anything was earned, which clicks tell soon, and how much it was
then worth, which is rare and stays near its prior for long:

    log rate(x, i, k) = t_i.(m + A z) + v_i.z + b_i + s sc_i + c + c_k + sum_j E[g_j, g_i]

    t_i traits of the product, z = [mean traits of recent purchases, traits of the product viewed];
    m, A shared by all products; v_i, b_i of each product, shrunk towards nothing (an intercept and
    slopes in the manner of mixed models); sc_i the foundation's log-probability, which explains
    what was known before; c, c_k level and position, which no score needs; E what products j of the
    same banner change, by pairs of categories (`trainer.pair_effects`), fitted to what the others
    leave.

Every batch moves the posterior by a few Newton steps from where it stood (assumed density
filtering: Opper 1998, "A Bayesian approach to on-line learning"); m, A and s share a covariance,
products have precisions of their own. What is served is a draw from the posterior, narrowed by
`exploration` (Thompson 1933; Chapelle and Li 2011, "An empirical evaluation of Thompson sampling"):
one draw a snapshot, so that every propensity stays exact.

Dimensions: B observations, N products, T traits, D = T + 2 T T + 1 shared weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from policy.architecture import TRAITS
from schemas.limits import BANNER_SIZE
from trainer.observations import Observations
from trainer.pair_effects import PairEffects
from trainer.sound import require_sound

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
State = dict[str, npt.NDArray[Any]]

_Z: Final = 2 * TRAITS
_CORRECTIONS: Final = TRAITS + _Z * TRAITS
_SHARED: Final = _CORRECTIONS + 1
_NEWTON_STEPS: Final = 3
_WEAK: Final = 2.0
"""Up to this sharpness a foundation is weak; a stronger one leaves less to correct."""
_LONGEST_STEP: Final = 1.0
_LOG_RATES: Final = (-12.0, 2.0)
PARTS: Final = ("earning", "worth")
VALUE: Final = (
    "value_main", "value_context", "value_rows", "value_bias", "value_precision", "value_pairs",
)  # fmt: skip
"""The tensors of a draw."""


@dataclass(frozen=True, slots=True)
class RewardModelSettings:
    """The reward model's numbers.

    Attributes:
        weight: factor on log rates where they enter the policy's scores; 0: no reward model.
        exploration: factor on the posterior's spread in a draw.
        product_spread: prior standard deviation of b_i, of each part.
        slope_spread: of v_i.z, for z of unit variance.
        shared_spread: of the sum of what m and A contribute.
        familiarity: prior mean of s; 1 would be the foundation's own odds.
        familiarity_spread: prior standard deviation of s, of each part.
        pair_spread: of the effect of a pair of categories that stand together, of each part; 0: no
            such effects. They are off: at .3 a shop of strong complements earned 8% more after
            50,000 banners, shops without any 2 to 12% less in the first 5,000.
        pair_reach: factor on them beyond `weight`: a product that is placed is lifted by those that
            stand there, and lifts them.
        pair_exploration: as `exploration`, for pairs.
        horizon_banners: what was learned so long ago counts a third; tastes move.
        seed: of the draws.
    """

    weight: float = 4.0
    exploration: float = 0.3
    product_spread: tuple[float, float] = (0.7, 0.4)
    slope_spread: tuple[float, float] = (0.5, 0.0)
    shared_spread: tuple[float, float] = (0.3, 0.1)
    familiarity: float = 0.5
    familiarity_spread: tuple[float, float] = (0.3, 0.1)
    pair_spread: tuple[float, float] = (0.0, 0.0)
    pair_reach: float = 2.0
    pair_exploration: float = 0.0
    horizon_banners: float = 50_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_sound(self, from_one=("horizon_banners",))


def reward_model_settings(*, pairs: bool) -> RewardModelSettings:
    """Return the usual settings, which learn what pairs of categories do if `pairs`."""
    return RewardModelSettings(pair_spread=(0.3, 0.3)) if pairs else RewardModelSettings()


@dataclass(slots=True)
class _Part:
    """The posterior of one log-linear part: means and precisions, and the priors they return to.

    Attributes:
        shared, shared_precision: (D,), (D, D).
        bias, bias_precision: (N,), (N,).
        slopes, slopes_precision: (N, 2T), (N, 2T); (0, 2T) where the part has none.
        levels, levels_precision: (1 + K,) c, then c_k.
    """

    shared: Array
    shared_prior: Array
    shared_precision: Array
    bias: Array
    bias_prior: float
    bias_precision: Array
    slopes: Array
    slopes_prior: float
    slopes_precision: Array
    levels: Array
    levels_precision: Array
    pairs: PairEffects

    def log_rate(self, seen: Observations, shared: Array) -> Array:
        """Return (B,) log rates of observations; `shared` is `seen.shared()`."""
        known = shared @ self.shared + self.bias[seen.rows]
        if self.slopes_prior > 0:
            known += (self.slopes[seen.rows] * seen.contexts).sum(axis=1)
        levels = known + self.levels[0] + self.levels[1 + seen.positions]
        return np.asarray(levels + self.pairs.effects(seen.groups, seen.others))

    def fit(self, seen: Observations, target: Array, exposed: Array) -> None:
        """Move the posterior by one batch.

        Args:
            seen: the observations.
            target: (B,) what was counted, or by how much a count changed.
            exposed: (B,) 1 where the rate explains the target, 0 for changes of counts.
        """
        shared, rows, z = seen.shared(), seen.rows, seen.contexts
        before = (self.shared.copy(), self.bias.copy(), self.slopes.copy(), self.levels.copy())
        precision, bias_precision = self.shared_precision, self.bias_precision
        pairs_before, pairs_precision = self.pairs.means.copy(), self.pairs.precisions
        slopes_precision, levels_precision = self.slopes_precision, self.levels_precision
        touched, place = np.unique(rows, return_inverse=True)
        one = np.zeros((len(rows), 1 + BANNER_SIZE))
        one[:, 0], one[np.arange(len(rows)), 1 + seen.positions] = 1.0, 1.0

        def rates() -> tuple[Array, Array]:
            rate = np.exp(np.clip(self.log_rate(seen, shared), *_LOG_RATES)) * exposed
            return rate, target - rate

        shape = (len(touched), len(rows))
        gather = csr_array((np.ones(len(rows)), (place, np.arange(len(rows)))), shape=shape)

        def by_product(values: Array) -> Array:
            return np.asarray(gather @ values)

        for _ in range(_NEWTON_STEPS):
            rate, left = rates()
            levels_precision = self.levels_precision + one.T @ rate
            pull = self.levels_precision * (self.levels - before[3])
            self.levels += _step((one.T @ left - pull) / levels_precision / 2.0)  # two cover each
            rate, left = rates()
            precision = self.shared_precision + (shared * rate[:, None]).T @ shared
            pull = self.shared_precision @ (self.shared - before[0])
            self.shared += np.linalg.solve(precision, shared.T @ left - pull)
            rate, left = rates()
            bias_precision = self.bias_precision[touched] + by_product(rate)
            pull = self.bias_precision[touched] * (self.bias - before[1])[touched]
            self.bias[touched] += _step((by_product(left) - pull) / bias_precision)
            if self.slopes_prior > 0:
                rate, left = rates()
                slopes_precision = self.slopes_precision[touched] + by_product(rate[:, None] * z**2)
                pull = self.slopes_precision[touched] * (self.slopes - before[2])[touched]
                step = (by_product(left[:, None] * z) - pull) / slopes_precision
                self.slopes[touched] += _step(step / 2.0)  # its columns are not independent
            if self.pairs.prior > 0:
                rate, left = rates()
                beside = (seen.groups, seen.others)
                pairs_precision = self.pairs.precision(*beside, rate)
                step = self.pairs.step(pairs_before, pairs_precision, *beside, left)
                self.pairs.means += _step(step / 2.0)  # a banner has several
        self.shared_precision, self.levels_precision = precision, levels_precision
        self.bias_precision[touched] = bias_precision
        if self.slopes_prior > 0:
            self.slopes_precision[touched] = slopes_precision
        self.pairs.precisions = pairs_precision

    def forget(self, share: float) -> None:
        """Let precisions return to their priors by `share`."""
        self.shared_precision += share * (self.shared_prior - self.shared_precision)
        self.bias_precision += share * (self.bias_prior - self.bias_precision)
        self.slopes_precision += share * (self.slopes_prior - self.slopes_precision)
        self.pairs.forget(share)

    def draw(self, narrowed: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Return (shared, bias, slopes) drawn from the posterior, its spread times `narrowed`."""
        lower = np.linalg.cholesky(self.shared_precision)
        shared = self.shared + narrowed * np.linalg.solve(lower.T, rng.standard_normal(_SHARED))
        spread = narrowed / np.sqrt(self.bias_precision)
        bias = self.bias + spread * rng.standard_normal(len(self.bias))
        if self.slopes_prior == 0:
            return shared, bias, np.broadcast_to(0.0, (len(bias), _Z))
        noise = rng.standard_normal(self.slopes.shape)
        return shared, bias, self.slopes + narrowed * noise / np.sqrt(self.slopes_precision)

    def grow(self, products: int) -> None:
        """Make room for products that came later; nothing is known of them."""
        more = products - len(self.bias)
        self.bias = np.concatenate([self.bias, np.zeros(more)])
        self.bias_precision = np.concatenate([self.bias_precision, np.full(more, self.bias_prior)])
        if self.slopes_prior > 0:
            self.slopes = np.concatenate([self.slopes, np.zeros((more, _Z))])
            unknown = np.full((more, _Z), self.slopes_prior)
            self.slopes_precision = np.concatenate([self.slopes_precision, unknown])


def _step(wanted: Array) -> Array:
    return np.clip(wanted, -_LONGEST_STEP, _LONGEST_STEP)


def _part(products: int, settings: RewardModelSettings, number: int, narrowed: float) -> _Part:
    """Return the prior of part `number`."""
    scale = np.ones(_SHARED)
    scale[:TRAITS] = TRAITS
    scale[TRAITS:_CORRECTIONS] = _Z * TRAITS / 2.0
    scale /= (narrowed * settings.shared_spread[number]) ** 2
    scale[_CORRECTIONS:] = settings.familiarity_spread[number] ** -2
    shared = np.zeros(_SHARED)
    shared[_CORRECTIONS] = settings.familiarity if number == 0 else 0.0
    slope = narrowed * settings.slope_spread[number]
    slopes_prior = _Z / slope**2 if slope > 0 else 0.0
    bias_prior = (narrowed * settings.product_spread[number]) ** -2
    sloped = products if slope > 0 else 0
    return _Part(
        shared=shared,
        shared_prior=np.diag(scale),
        shared_precision=np.diag(scale),
        bias=np.zeros(products),
        bias_prior=bias_prior,
        bias_precision=np.full(products, bias_prior),
        slopes=np.zeros((sloped, _Z)),
        slopes_prior=slopes_prior,
        slopes_precision=np.full((sloped, _Z), slopes_prior),
        levels=np.array([-2.3 if number == 0 else -1.2, *[0.0] * BANNER_SIZE]),
        levels_precision=np.array([1.0, *[4.0] * BANNER_SIZE]),
        pairs=PairEffects.unknown(narrowed * settings.pair_spread[number]),
    )


class RewardModel:
    """The posterior of both parts over a catalogue.

    Equal observations and generators give equal bits.

    Args:
        products: N.
        settings: see `RewardModelSettings`.
        sharpness: of the foundation, chosen from past orders. What foretells them well leaves
            little to correct, so prior spreads narrow as it grows beyond 2. On a real grocery (4),
            reward over the frozen foundation by quarter of 20,000 banners: -2.2 +1.4 +.6 +3.1%,
            -3.4 -.8 +.2 +3.4% at full spreads.
    """

    def __init__(
        self, products: int, settings: RewardModelSettings | None = None, *, sharpness: float = 1.0
    ) -> None:
        self.settings = settings or RewardModelSettings()
        narrowed = min(1.0, _WEAK / sharpness)
        self._parts = [
            _part(products, self.settings, number, narrowed) for number in range(len(PARTS))
        ]

    @classmethod
    def from_value(
        cls,
        weights: Mapping[str, npt.NDArray[Any]],
        products: int,
        settings: RewardModelSettings,
    ) -> "RewardModel":
        """Return the model that a snapshot's draw came from, as far as the draw tells.

        The draw becomes the mean. The precision of b_i is kept in the snapshot; the others follow
        from it, as if the traits that were shown had unit variance.
        """
        model = cls(products, settings, sharpness=float(weights["sharpness"][0]))
        known = len(weights["value_bias"])
        if settings.weight <= 0 or not weights["value_precision"].any():
            return model
        part, scale = model._parts[0], 1.0 / settings.weight
        main, context = (weights[f"value_{name}"].ravel() for name in ("main", "context"))
        part.shared[:_CORRECTIONS] = scale * np.concatenate([main, context])
        part.bias[:known] = scale * weights["value_bias"]
        gained = np.maximum(weights["value_precision"] - part.bias_prior, 0.0).astype(np.float64)
        part.bias_precision[:known] += gained
        if part.slopes_prior > 0:
            part.slopes[:known] = scale * weights["value_rows"]
            part.slopes_precision[:known] += gained[:, None]
        if settings.pair_reach > 0:
            kept = model._parts[0 if part.pairs.prior > 0 else 1].pairs
            kept.means[:-1, :-1] = scale / settings.pair_reach * weights["value_pairs"]
        part.shared_precision = part.shared_precision + gained.sum() * np.eye(_SHARED)
        return model

    def observe(self, seen: Observations, banners: int) -> None:
        """Learn from a batch of positions that came from so many new banners."""
        share = banners / self.settings.horizon_banners
        exposed = seen.is_new.astype(np.float64)
        self._parts[0].forget(share)
        self._parts[0].fit(seen, seen.began, exposed)
        worth = (seen.earned != 0) | (seen.began > 0)
        self._parts[1].forget(share)
        if worth.any():
            earning = seen.only(worth)
            earning.positions[:] = 0
            self._parts[1].fit(earning, earning.earned, (earning.began > 0).astype(np.float64))

    def draw(self, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
        """Return the tensors "value_..." of a snapshot: a draw from the posterior, weighted."""
        weight, narrowed = self.settings.weight, self.settings.exploration
        drawn = [part.draw(narrowed, rng) for part in self._parts]
        shared, bias, slopes = (sum(parts) for parts in zip(*drawn, strict=True))
        tensors = {
            "value_main": shared[:TRAITS],
            "value_context": shared[TRAITS:_CORRECTIONS].reshape(_Z, TRAITS),
            "value_rows": slopes,
            "value_bias": bias,
            "value_pairs": self.settings.pair_reach
            * sum(part.pairs.draw(self.settings.pair_exploration, rng) for part in self._parts),
        }
        found = {name: (weight * value).astype(np.float32) for name, value in tensors.items()}
        return found | {"value_precision": self._parts[0].bias_precision.astype(np.float32)}

    def grow(self, products: int) -> None:
        """Make room for products that came later."""
        for part in self._parts:
            part.grow(products)

    def state(self) -> State:
        """Return the posterior as tensors by name."""
        return {
            f"{name}/{field}": np.array(attrgetter(field)(part))
            for name, part in zip(PARTS, self._parts, strict=True)
            for field in (*_MOVED, *_MOVED_OF_PAIRS)
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a state over the same number of products."""
        for name, part in zip(PARTS, self._parts, strict=True):
            for field in _MOVED if part.slopes_prior > 0 else _MOVED_WITHOUT_SLOPES:
                setattr(part, field, np.array(state[f"{name}/{field}"]))
            means, precisions = (np.array(state[f"{name}/{field}"]) for field in _MOVED_OF_PAIRS)
            # A state from before pairs were learned knows no prior of theirs.
            part.pairs.means, part.pairs.precisions = (
                means,
                np.maximum(precisions, part.pairs.prior),
            )


_MOVED_WITHOUT_SLOPES: Final = (
    "shared", "shared_precision", "bias", "bias_precision", "levels", "levels_precision",
)  # fmt: skip
_MOVED: Final = (*_MOVED_WITHOUT_SLOPES, "slopes", "slopes_precision")
_MOVED_OF_PAIRS: Final = ("pairs.means", "pairs.precisions")
