"""Supervised learning of what baskets held next: the two losses over replayed orders.

Dimensions: B orders in a batch, U products scored, T products bought in the batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from policy.features import ProductFeatures
from policy.torch_context import ContextBatch, pack_contexts, shared_candidates
from policy.torch_network import TorchPolicy
from trainer.adam import Adam
from trainer.copurchases import CopurchaseTable, copurchase_table
from trainer.initial_weights import initial_weights
from trainer.past_orders import Replay

Places = npt.NDArray[np.int64]
Stage = Literal["softmax", "logistic"]
_TERMS: Final = ("repeat_", "copurchase_", "bias_", "log_odds")
"""Beginnings of the names of what is not part of a product's or shopper's vector."""
_STEPS: Final = 160
_FEWEST_IN_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class SupervisionSettings:
    """How batches of past orders are made.

    Attributes:
        batch_orders: most orders of one step; fewer where an epoch would otherwise have less than
            160 steps, but not less than 32 (of 12,000 orders, 64 a step foretell 3% more).
        view_share: share of orders of which one product is taken as the one viewed, so that both
            kinds of context are learned.
        folds: co-purchases that an order is trained with come from other shoppers, in this many
            groups: otherwise every basket sees itself.
        average_kept: share of the moving average of the weights that each step keeps; the average
            foretells better than the weights it is made of.
        terms_rate: how much faster than the product vectors the terms learn that many orders share:
            repeats, co-purchases, biases. At one rate the vectors have learned single orders by
            heart before the terms have learned what is bought again: real held-out orders, hits of
            5: .824 at 2e-3 for all, .839 at 1e-3 and ten times that (own frequent products: .813).
        every_product_up_to: beyond so many products, a batch is scored on what it bought, what its
            shoppers buy again, and as many drawn uniformly, weighted for those left out.
    """

    batch_orders: int = 128
    view_share: float = 0.5
    folds: int = 4
    average_kept: float = 0.99
    terms_rate: float = 10.0
    every_product_up_to: int = 10_000


@dataclass(frozen=True, slots=True)
class _Orders:
    """A batch: contexts, and the products bought ((T,) which order, which row, order's size)."""

    contexts: ContextBatch
    order: Tensor
    row: Tensor
    size: Tensor


def softmax_loss(scores: Tensor, order: Tensor, slot: Tensor, size: Tensor) -> Tensor:
    """Return the mean over orders of -log softmax summed over what was bought, over sqrt(size).

    Args:
        scores: (B, U) logits; what is not eligible stands at -1e30.
        order: (T,) int64, which order a bought product belongs to.
        slot: (T,) int64, which of the U products it is.
        size: (T,) how many products that order bought.
    """
    log_probs = scores[order, slot] - scores.logsumexp(dim=1)[order]
    return -(log_probs / size.sqrt()).sum() / len(scores)


def logistic_loss(
    scores: Tensor, order: Tensor, slot: Tensor, size: Tensor, weight: Tensor
) -> Tensor:
    """Return the mean over orders of the summed logistic losses of all products.

    Like in the softmax, an order counts by 1/sqrt(size), here relative to the batch: a large
    basket says more, but not in proportion (without it the largest baskets decide).

    Args:
        scores: (B, U) log-odds of being bought.
        order: (T,) int64, which order a bought product belongs to.
        slot: (T,) int64, which of the U products it is.
        size: (T,) how many products that order bought.
        weight: (U,) how many products each stands for.
    """
    losses = functional.softplus(scores) @ weight
    losses = losses.index_add(0, order, -scores[order, slot])
    counts = torch.ones(len(scores), device=scores.device)
    counts[order] = size.to(counts.dtype).rsqrt()
    return (losses * counts / counts.mean()).mean()


class Supervision:
    """A policy while it learns from some of the replayed orders."""

    def __init__(
        self,
        past: Replay,
        places: Places,
        features: ProductFeatures,
        settings: SupervisionSettings,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self._past = past
        self._features = features
        self._settings = settings
        self._rng = rng
        products = len(features.categories)
        baskets = [past.baskets[place] for place in places]
        counts = np.bincount(np.concatenate(baskets), minlength=products).astype(np.float64)
        self._fold_of = past.folds % settings.folds
        self._places = places
        self._tables = [
            self._table(places[self._fold_of[places] != fold]) for fold in range(settings.folds)
        ]
        self._published = self._table(places)
        self.policy = TorchPolicy.from_weights(
            initial_weights(features, counts, rng), features, device
        )
        # What turns logits into log-odds; a softmax does not see it, so no snapshot holds it.
        rate = max(counts.sum(), 1.0) / len(places) / products
        self._average = {
            name: parameter.detach().clone() for name, parameter in self.policy.named_parameters()
        }
        self._steps = 0
        self._log_odds = torch.full((1,), float(np.log(rate)), device=device, requires_grad=True)

    def _table(self, places: Places) -> CopurchaseTable:
        return copurchase_table(
            [self._past.baskets[place] for place in places], len(self._features.categories)
        )

    def _use(self, table: CopurchaseTable) -> None:
        self.policy.neighbour_rows.copy_(torch.from_numpy(table.rows))
        self.policy.neighbour_weights.copy_(torch.from_numpy(table.weights))

    def train(
        self, stage: Stage, *, epochs: int, rate: float, told: Callable[[float], None]
    ) -> None:
        """Run one stage, "softmax" or "logistic", with an Adam of its own; vectors learn at `rate`.

        Afterwards the policy has the co-purchases of all shoppers of its orders.
        """
        parameters = dict(self.policy.named_parameters()) | {"log_odds": self._log_odds}
        terms = [each for each in parameters.items() if each[0].startswith(_TERMS)]
        vectors = [each for each in parameters.items() if not each[0].startswith(_TERMS)]
        optimisers = [(Adam(terms), self._settings.terms_rate * rate), (Adam(vectors), rate)]
        steps = [step for _ in range(epochs) for step in self._epoch()]
        for done, (fold, places) in enumerate(steps):
            self._use(self._tables[fold])
            loss = self._loss(stage, places)
            for optimiser, _ in optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser, its_rate in optimisers:
                optimiser.step(its_rate)
            self._steps += 1
            self._follow()
            told((done + 1) / len(steps))
        self._use(self._published)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average of the weights; a young average moves faster."""
        kept = min(self._settings.average_kept, (1 + self._steps) / (10 + self._steps))
        for name, parameter in self.policy.named_parameters():
            self._average[name].lerp_(parameter, 1 - kept)

    def averaged(self) -> TorchPolicy:
        """Return a policy with the moving average of the weights (Polyak and Juditsky 1992)."""
        weights = self.policy.weights()
        weights.update({name: value.cpu().numpy() for name, value in self._average.items()})
        device = next(self.policy.parameters()).device
        return TorchPolicy.from_weights(weights, self._features, device)

    def _epoch(self) -> Iterator[tuple[int, Places]]:
        """Yield batches of one fold each, in random order."""
        batches = []
        few = max(_FEWEST_IN_BATCH, len(self._places) // _STEPS)
        size = min(self._settings.batch_orders, few)
        for fold in range(self._settings.folds):
            places = self._rng.permutation(self._places[self._fold_of[self._places] == fold])
            count = max(1, round(len(places) / size))
            batches += [(fold, part) for part in np.array_split(places, count) if len(part)]
        self._rng.shuffle(batches)
        yield from batches

    def _batch(self, places: Places) -> _Orders:
        viewed = np.full(len(places), -1, np.int64)
        targets = []
        for number, place in enumerate(places):
            basket = self._past.baskets[place]
            if len(basket) > 1 and self._rng.random() < self._settings.view_share:
                viewed[number] = self._rng.choice(basket)
                basket = basket[basket != viewed[number]]
            targets.append(basket)
        packed = [self._past.histories[place] for place in places]
        sizes = torch.tensor([len(target) for target in targets])
        return _Orders(
            contexts=pack_contexts(viewed.tolist(), packed, self._features),
            order=torch.repeat_interleave(torch.arange(len(places)), sizes),
            row=torch.from_numpy(np.concatenate(targets)),
            size=torch.repeat_interleave(sizes, sizes),
        )

    def _products(self, orders: _Orders) -> tuple[Tensor, Tensor]:
        """Return (U,) rows to score, and how many products each stands for."""
        products, limit = self.policy.products, self._settings.every_product_up_to
        if products <= limit:
            return torch.arange(products), torch.ones(products)
        certain = torch.unique(torch.cat([orders.row, orders.contexts.repeat_rows]))
        drawn = torch.from_numpy(self._rng.choice(products, limit, replace=False))
        drawn = drawn[~torch.isin(drawn, certain)]
        rows, order = torch.sort(torch.cat([certain, drawn]))
        others = (products - len(certain)) / max(len(drawn), 1)
        weight = torch.cat([torch.ones(len(certain)), torch.full((len(drawn),), others)])
        return rows, weight[order]

    def _loss(self, stage: Stage, places: Places) -> Tensor:
        orders = self._batch(places)
        rows, weight = self._products(orders)
        batch = self.policy.prepare(orders.contexts, shared_candidates(orders.contexts, rows))
        scores = self.policy.scores(batch)
        device = scores.device
        slot = torch.searchsorted(rows, orders.row).to(device)
        order, size, weight = (part.to(device) for part in (orders.order, orders.size, weight))
        if stage == "softmax":
            return softmax_loss(scores + weight.log(), order, slot, size)
        return logistic_loss(scores + self._log_odds, order, slot, size, weight)
