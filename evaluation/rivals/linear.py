"""LinUCB over the foundation: a linear model of a position's points, and of where it is unsure.

Li et al. 2010, "A contextual-bandit approach to personalized news article recommendation",
arXiv:1003.0146, their hybrid of a model that products share and an intercept of each product.

Dimensions: N products, C candidates, K positions, X columns of product features, D = 3X + 2 + K
    columns of the shared model.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from evaluation.rivals.asking import Foreknowledge
from evaluation.shop import Outcome, Situation
from policy.serving import ServingPolicy
from schemas.history import unpack
from schemas.limits import BANNER_SIZE

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.integer[Any]]
_SCORE_SHIFT: Final = 8.0
_SCORE_SCALE: Final = 3.0
_PARTS: Final = 3
"""X_i alone, times the mean of the last purchases, times the product viewed."""


@dataclass(frozen=True, slots=True)
class LinUCBSettings:
    """How the linear model is solved and trusted.

    Attributes:
        alpha: how many of its own standard deviations a product's score is raised by.
        ridge: the shared model's A starts as so many times the identity.
        own: scale of each product's intercept; 0: none, all that is learned is shared.
        prior: points expected of a product for every unit of its score column, before any is seen.
        solve_every: banners between two solutions of the normal equations.
        candidates: most products scored per banner, the foundation's own best.
        sampled: 0: the paper's; else Thompson sampling, one draw of the shared theta a solution,
            with so many of its standard deviations (alpha is 0 then, as a rule).
    """

    alpha: float = 0.02
    ridge: float = 1.0
    own: float = 0.3
    prior: float = 0.02
    solve_every: int = 256
    candidates: int = 1000
    sampled: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The candidates of one banner as the model sees them.

    Attributes:
        rows: (C,) rows.
        context: (3, X): ones, the mean of the last purchases, the product viewed.
        columns: (C, X + 2): X_i, 1, sc_i.
    """

    rows: npt.NDArray[np.int64]
    context: Floats
    columns: Floats

    def phi(self, places: npt.NDArray[np.integer]) -> Floats:
        """Return (len(places), 3X + 2) the shared model's columns, positions left out."""
        chosen = self.columns[places]
        crossed = chosen[:, None, :-2] * self.context
        return np.concatenate([crossed.reshape(len(places), -1), chosen[:, -2:]], axis=1)


class LinUCB:
    """Shows the five products of the highest upper confidence bounds on their points.

    In a context, product i is phi = [X_i, hm X_i, vx X_i, 1, sc_i, position], vectors multiplied
    elementwise: X_i its features, hm the mean of those of the last ten purchases, vx those of the
    product viewed (zero where there are none), sc_i = (log-probability of the foundation + 8)/3,
    position one-hot and zero when scoring. With z = [phi, own one-hot product], for every position
    shown A += z z' and b += z points; theta = A^-1 b, and a product's score is

        z theta + alpha sqrt(z' A^-1 z).

    A product is alone in its own column, so that part of A is diagonal and A is never built: one
    solves its Schur complement of D columns.

    Args:
        policy: the compiled foundation.
        dense: (N, X) product features (`evaluation.rivals.dense`).
        settings: of the model.
        rng: draws theta, when it is sampled.
    """

    def __init__(
        self,
        policy: ServingPolicy,
        dense: Floats,
        settings: LinUCBSettings | None = None,
        *,
        rng: np.random.Generator,
        name: str = "linucb",
    ) -> None:
        self.name = name
        self._settings = settings or LinUCBSettings()
        self._asked = Foreknowledge(policy, self._settings.candidates)
        self._dense = np.ascontiguousarray(dense, np.float64)
        self._rng = rng
        products, columns = self._dense.shape
        self._scored = _PARTS * columns + 2
        size = self._scored + BANNER_SIZE
        self._shared = self._settings.ridge * np.eye(size)
        self._crossed = np.zeros((size, products))
        self._own = np.ones(products)
        self._points = np.zeros(size)
        self._points[self._scored - 1] = self._settings.ridge * self._settings.prior
        self._own_points = np.zeros(products)
        self._batch: list[tuple[Floats, Rows, tuple[float, ...]]] = []
        self._last: tuple[Asked, Rows, Rows] | None = None
        self._solve()

    def _take_in(self) -> None:
        """Add the batch to the normal equations."""
        phi = np.concatenate([phi for phi, _, _ in self._batch])
        rows = np.concatenate([rows for _, rows, _ in self._batch])
        points = np.concatenate([np.array(points) for _, _, points in self._batch])
        own = self._settings.own
        self._shared += phi.T @ phi
        self._points += phi.T @ points
        np.add.at(self._crossed.T, rows, own * phi)
        np.add.at(self._own, rows, own**2)
        np.add.at(self._own_points, rows, own * points)
        self._batch = []

    def _solve(self) -> None:
        """Solve the normal equations for theta, and prepare the variances."""
        ratio = self._crossed / self._own  # (D, N)
        schur = self._shared - ratio @ self._crossed.T
        factor = cho_factor(schur, lower=True)
        self.theta = cho_solve(factor, self._points - ratio @ self._own_points)
        self.own_theta = (self._own_points - self._crossed.T @ self.theta) / self._own
        self._used = self.theta
        if self._settings.sampled:
            noise = solve_triangular(
                factor[0], self._rng.normal(size=len(self.theta)), lower=True, trans="T"
            )
            self._used = self.theta + self._settings.sampled * noise
        scored = self._scored
        self._inverse = cho_solve(factor, np.eye(len(schur)))[:scored, :scored]
        solved = cho_solve(factor, ratio)  # (D, N)
        self._slope = np.ascontiguousarray(solved[:scored].T)  # (N, 3X + 2)
        self._own_variance = 1.0 / self._own + (ratio * solved).sum(axis=0)

    def asked(self, situation: Situation) -> Asked:
        """Return what the model sees of a situation."""
        listed = self._asked.shortlist(situation)
        columns = self._dense.shape[1]
        context = np.zeros((_PARTS, columns))
        context[0] = 1.0
        recent = unpack(situation.history).recent.astype(np.int64)
        if len(recent):
            context[1] = self._dense[recent].mean(axis=0)
        if situation.viewed_row >= 0:
            context[2] = self._dense[situation.viewed_row]
        seen = np.empty((len(listed.rows), columns + 2))
        seen[:, :columns] = self._dense[listed.rows]
        seen[:, columns] = 1.0
        seen[:, columns + 1] = (listed.log_probs + _SCORE_SHIFT) / _SCORE_SCALE
        return Asked(listed.rows, context, seen)

    def _folded(self, vectors: Floats, context: Floats) -> Floats:
        """Return (..., X + 2) from (..., 3X + 2): what each column of `Asked` is multiplied by."""
        columns = context.shape[1]
        crossed = vectors[..., :-2].reshape(*vectors.shape[:-1], _PARTS, columns)
        folded = (crossed * context).sum(axis=-2)
        return np.concatenate([folded, vectors[..., -2:]], axis=-1)

    def mean(self, asked: Asked) -> Floats:
        """Return (C,) the points expected of each candidate."""
        own = self._settings.own * self.own_theta[asked.rows]
        folded = self._folded(self._used[: self._scored], asked.context)
        return np.asarray(asked.columns @ folded + own)

    def deviation(self, asked: Asked) -> Floats:
        """Return (C,) the standard deviation of each mean, in units of the noise."""
        folded = self._folded(self._inverse, asked.context)  # (3X + 2, X + 2)
        square = self._folded(folded.T, asked.context)  # (X + 2, X + 2)
        variance = np.einsum("ci,ci->c", asked.columns @ square, asked.columns)
        own = self._settings.own
        if own:
            slopes = self._folded(self._slope[asked.rows], asked.context)
            variance -= 2.0 * own * np.einsum("ci,ci->c", asked.columns, slopes)
            variance += own**2 * self._own_variance[asked.rows]
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def scores(self, asked: Asked) -> Floats:
        """Return (C,) the upper confidence bounds."""
        found = self.mean(asked)
        if self._settings.alpha:
            found += self._settings.alpha * self.deviation(asked)
        return found

    def banner(self, situation: Situation) -> Rows:
        """Return the five rows of the highest scores."""
        asked = self.asked(situation)
        best = self._best(asked)
        rows = asked.rows[best]
        self._last = asked, best, rows
        return rows

    def greedy(self, situation: Situation) -> Rows:
        """Return the same, and remember nothing."""
        asked = self.asked(situation)
        return np.asarray(asked.rows[self._best(asked)])

    def _best(self, asked: Asked) -> Rows:
        scores = self.scores(asked)
        best = np.argpartition(-scores, BANNER_SIZE - 1)[:BANNER_SIZE]
        return np.asarray(best[np.argsort(-scores[best], kind="stable")])

    def learn(self, situation: Situation, banner: Rows, outcome: Outcome) -> None:  # noqa: ARG002
        """Keep what was shown and earned; solve when enough came."""
        if self._last is None or self._last[2] is not banner:
            raise ValueError("a reward came for a banner that was not the last one shown")
        asked, best, rows = self._last
        phi = np.concatenate([asked.phi(best), np.eye(BANNER_SIZE)[: len(rows)]], axis=1)
        self._batch.append((phi, rows, outcome.points))
        if len(self._batch) == self._settings.solve_every:
            self._take_in()
            self._solve()
