"""The policy as the service asks it: a context in, a banner with its probabilities out.

Compiled once per snapshot (tenths of a second at 100,000 products), then asked per request (tens of
microseconds). No torch, nothing allocated per product and request.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from policy.architecture import UNIFORM_CANDIDATES
from policy.draws import Draw as Draw
from policy.draws import Question as Question
from policy.draws import Rows, as_arrays, grouped
from policy.errors import PolicyError
from policy.features import ProductFeatures, pair_groups
from policy.kernels import compilation, request, scan, scoring
from policy.kernels.layout import (
    TABLE_COLUMNS,
    TILE,
    TILE_FLOATS,
    TILE_LINES,
    pair_lines,
    small_vector,
    tile_count,
)
from policy.kernels.scratch import POSITIONS, Scratch
from schemas import history as histories
from schemas.errors import HistoryNotReadable
from schemas.limits import BANNER_SIZE

UNIFORMS: Final = BANNER_SIZE + UNIFORM_CANDIDATES
"""Uniform numbers that one draw consumes: one per position, one per candidate drawn uniformly."""

Weights = Mapping[str, npt.NDArray[np.generic]]

_NOTHING: Final = np.empty(0, np.int32)


def prepare() -> None:
    """Compile the kernels or load them from disk: half a minute the first time, then nothing."""
    compilation.prepare()
    scan.prepare()
    request.prepare()


class ServingPolicy:
    """One snapshot, compiled for one catalogue. Immutable but for its scratch space.

    One thread may ask it at a time; another thread needs a policy of its own (`extended` with the
    same features makes one that shares nothing that is written to).

    Attributes:
        version: of the snapshot.
        products: N, the rows it was compiled for.
        popular: (N,) int32 rows, most popular first; products unknown to the weights last.
    """

    def __init__(
        self, weights: Weights, features: ProductFeatures, *, version: int, before: Self | None
    ) -> None:
        products = len(features.buckets)
        if len(weights["context_rows"]) > products:
            raise PolicyError(
                f"the weights know {len(weights['context_rows'])} products and the catalogue "
                f"{products}: read the catalogue further first"
            )
        prepare()
        self.version = version
        self.products = products
        self._weights = weights
        self._features = features
        self._tiles, self._table = _vectors(weights, features, before)
        self._small = small_vector(weights)
        self._neighbours = _neighbours(weights)
        self.popular = _by_popularity(weights, products)
        self._scratch = Scratch(products)
        categories = np.ascontiguousarray(features.categories, np.int32)
        space = self._scratch
        shared = (space.planes, space.integers, space.floats)
        chosen = (space.flags, space.rows, space.counts)
        scored = (products, space.scores, space.terms, space.touched, space.prepared)
        self._prepare_arguments = (
            self._small, self._table, categories, *self._neighbours,
            space.terms, space.users, space.touched, space.prepared, *shared,
        )  # fmt: skip
        self._draw_arguments = (
            *scored, *shared, pair_groups(features.categories), pair_lines(weights), *chosen,
            space.sums, space.packed, space.found, space.banner, space.log_probs,
        )  # fmt: skip
        self._rank_arguments = (*scored, *shared, *chosen, space.found, space.banner)

    @classmethod
    def compile(cls, weights: Weights, features: ProductFeatures, *, version: int) -> Self:
        """Return the policy of a snapshot's weights for a catalogue's features.

        Args:
            weights: the tensors of `policy.architecture`, as `snapshot.read_snapshot` verified
                them.
            features: of every product; rows that the weights do not know have features alone.
            version: of the snapshot.

        Raises:
            PolicyError: the weights know more products than the catalogue has.
        """
        return cls(weights, features, version=version, before=None)

    def extended(self, features: ProductFeatures) -> Self:
        """Return the same policy for a later catalogue: only new and changed rows are computed.

        Raises:
            PolicyError: the catalogue has fewer rows than the weights know.
        """
        return type(self)(self._weights, features, version=self.version, before=self)

    def draw(
        self,
        *,
        viewed_row: int,
        history: bytes,
        eligible: npt.NDArray[np.uint8],
        excluded: Rows,
        size: int,
        uniforms: npt.NDArray[np.float64],
    ) -> Draw:
        """Draw a banner: Plackett-Luce over the candidates of this context.

        Args:
            viewed_row: row of the product viewed, never eligible; -1: none.
            history: packed history (`schemas.history`); empty: none. Rows beyond the catalogue are
                ignored.
            eligible: (N,) 0 keeps a product out; shared by requests and only read.
            excluded: (few,) int32 rows that this request keeps out too.
            size: positions to draw, 0 to 5.
            uniforms: (UNIFORMS,) numbers in [0, 1): the randomness of the draw.

        Raises:
            PolicyError: an argument has another size or type, or the scores are not finite.
            schemas.errors.HistoryNotReadable: the history is cut short or of another layout.
        """
        (drawn,) = self.draw_many(
            [Question(viewed_row, history, eligible, excluded, size)], uniforms[None]
        )
        if isinstance(drawn, Exception):
            raise drawn
        return drawn

    def draw_many(
        self, questions: Sequence[Question], uniforms: npt.NDArray[np.float64]
    ) -> list[Draw | PolicyError | HistoryNotReadable]:
        """Draw a banner for each question, as `draw` does, for less: a scan serves several.

        Args:
            questions: what is asked; of one mask those that follow each other are scored together.
            uniforms: (len(questions), UNIFORMS) numbers in [0, 1): the randomness of the draws.

        Returns:
            In the order of the questions; where one cannot be drawn, what `draw` would raise.

        Raises:
            PolicyError: an argument has another size or type.
        """
        if uniforms.shape != (len(questions), UNIFORMS):
            raise PolicyError(
                f"a draw takes {UNIFORMS} uniform numbers: {len(questions)} draws got "
                f"{uniforms.shape}"
            )
        drawn: list[Draw | PolicyError | HistoryNotReadable] = []
        for group in grouped(questions):
            start = len(drawn)
            drawn += self._draw_group(group, uniforms[start : start + len(group)])
        return drawn

    def _draw_group(
        self, group: Sequence[Question], uniforms: npt.NDArray[np.float64]
    ) -> Iterator[Draw | PolicyError | HistoryNotReadable]:
        asked = self._scored(group)
        request.draw_group(*asked, uniforms, *self._draw_arguments)
        space = self._scratch
        rows, log_probs = space.banner[: len(group)].copy(), space.log_probs[: len(group)].copy()
        start = 0
        for number, (candidates, positions, end) in enumerate(space.found[: len(group)].tolist()):
            if candidates < 0:
                yield self._refusal(candidates, group[number].history)
                continue
            yield Draw(
                rows=rows[number, :positions],
                log_probs=log_probs[number, :positions],
                packed_candidates=space.packed[start:end].tobytes(),
            )
            start = end

    def _scored(self, group: Sequence[Question]) -> tuple[npt.NDArray[np.generic], ...]:
        """Score every product for a group; return what is asked as the kernels take it."""
        self._check(group)
        asked, space = as_arrays(group, self.products), self._scratch
        request.prepare_group(*asked, *self._prepare_arguments)
        scan.multiply(self._tiles, space.users, space.terms, space.scores, len(group))
        return asked

    def greedy(
        self,
        *,
        viewed_row: int,
        history: bytes,
        eligible: npt.NDArray[np.uint8],
        excluded: Rows,
        size: int,
    ) -> Rows:
        """Return the eligible products of the highest scores, best first; arguments as in `draw`.

        Each is scored by itself: what products do to each other on a banner is left out. The
        control arm is served by this, and its foundation knows no pairs.

        Returns:
            (K,) int32 rows; fewer than `size` when fewer are eligible.
        """
        question = Question(viewed_row, history, eligible, excluded, size)
        request.rank_first(*self._scored([question]), *self._rank_arguments)
        ranked = int(self._scratch.found[0, POSITIONS])
        if ranked < 0:
            raise self._refusal(ranked, history)
        return self._scratch.banner[0, :ranked].copy()

    def scores(
        self,
        *,
        viewed_row: int,
        history: bytes,
        eligible: npt.NDArray[np.uint8],
        excluded: Rows,
    ) -> npt.NDArray[np.float32]:
        """Return (N,) the score of every product, -inf where it is not eligible.

        For explanations and tests; arguments as in `draw`.
        """
        self.greedy(
            viewed_row=viewed_row, history=history, eligible=eligible, excluded=excluded, size=1
        )
        return self._scratch.scores[0, : self.products].copy()

    def warm_up(self) -> None:
        """Ask once for a banner of each kind, so that the first request finds everything in place.

        Raises:
            PolicyError: the scores of the weights are not finite.
        """
        everything = np.ones(self.products, np.uint8)
        middle = np.full(UNIFORMS, 0.5)
        for viewed_row in (-1, 0):
            self.draw(
                viewed_row=viewed_row, history=b"", eligible=everything, excluded=_NOTHING,
                size=BANNER_SIZE, uniforms=middle,
            )  # fmt: skip
            self.greedy(
                viewed_row=viewed_row, history=b"", eligible=everything, excluded=_NOTHING,
                size=BANNER_SIZE,
            )  # fmt: skip

    def _check(self, group: Sequence[Question]) -> None:
        eligible = group[0].eligible
        if len(eligible) != self.products or eligible.dtype != np.uint8:
            raise PolicyError(
                f"the mask has {len(eligible)} products as {eligible.dtype}, the policy "
                f"{self.products} as uint8"
            )
        for question in group:
            if not 0 <= question.size <= BANNER_SIZE:
                raise PolicyError(f"a banner has 0 to {BANNER_SIZE} positions, not {question.size}")

    def _refusal(self, reason: int, history: bytes) -> PolicyError | HistoryNotReadable:
        if reason == scoring.HISTORY_NOT_READABLE:
            try:
                histories.unpack(history)
            except HistoryNotReadable as problem:
                return problem
        return PolicyError(f"version {self.version} gives scores that are not finite")


def _vectors(
    weights: Weights, features: ProductFeatures, before: ServingPolicy | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return tiles and table, taking over from `before` the rows that did not change."""
    products = len(features.buckets)
    tiles = np.zeros((tile_count(products), TILE_LINES, TILE), np.float32)
    tiles[:, -1, :] = -np.inf  # columns beyond the catalogue are never eligible
    table = np.zeros((products, TABLE_COLUMNS), np.float32)
    rows = np.arange(products)
    if before is not None and before.products <= products:
        old = before.products
        tiles.reshape(-1)[: len(before._tiles)] = before._tiles  # noqa: SLF001
        table[:old] = before._table  # noqa: SLF001
        rows = np.concatenate([_changed(before._features, features), rows[old:]])  # noqa: SLF001
    flat = tiles.reshape(tile_count(products) * TILE_FLOATS)
    compilation.fill_products(rows, features.buckets, features.weights, weights, flat, table)
    return flat, table


def _changed(old: ProductFeatures, new: ProductFeatures) -> npt.NDArray[np.int64]:
    """Return the rows of `old` whose features differ in `new`."""
    count = len(old.buckets)
    same = (old.buckets == new.buckets[:count]) & (old.weights == new.weights[:count])
    return np.flatnonzero(~same.all(axis=1))


def _neighbours(
    weights: Weights,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    rows = np.ascontiguousarray(weights["neighbour_rows"], np.int32)
    if rows.max(initial=-1) >= len(rows):
        raise PolicyError("a co-purchase neighbour is not among the products of the weights")
    return rows, np.ascontiguousarray(weights["neighbour_weights"], np.float32)


def _by_popularity(weights: Weights, products: int) -> Rows:
    popularity = np.full(products, -np.inf, np.float32)
    known = weights["popularity"]
    popularity[: len(known)] = known
    return np.argsort(-popularity, kind="stable").astype(np.int32)
