"""The Plackett-Luce distribution over banners: how likely a draw was, with gradients.

Dimensions: B banners in a batch, C candidates, K positions.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from policy.errors import BannerNotDrawable

NOT_ELIGIBLE: Final = -1e30
"""The score of what may not be drawn: finite, so that gradients of empty softmaxes are zero, not
NaN."""


@dataclass(frozen=True, slots=True)
class PairLifts:
    """What placed products add to the scores of those that follow.

    Attributes:
        groups: (B, C) int64 in [0, G], pair group of every candidate.
        lines: (B, K, G + 1) float32, what each drawn product adds to the scores of every group once
            it is placed; zeros where none was drawn, and for the last group, which is none.
    """

    groups: Tensor
    lines: Tensor


def position_log_prob(
    scores: Tensor,
    banner: Tensor,
    eligible: Tensor,
    drawn: Tensor | None = None,
    lifts: PairLifts | None = None,
) -> Tensor:
    """Return the log-probability of each position of `banner`, given the positions before it.

    The torch form of `reference.position_log_prob`; the serving kernel logs the same values, so at
    equal weights the importance ratio is one up to float rounding (the contract suite holds the
    three within 1e-4).

    Args:
        scores: (B, C) float32, unnormalised.
        banner: (B, K) int64, candidate indices in display order.
        eligible: (B, C) bool; False keeps a candidate out of every softmax.
        drawn: (B, K) bool; False where a banner has no drawn product (pinned, or it is shorter);
            the index there is ignored. None: all were drawn.
        lifts: what each placed product adds to the scores of those that follow, from
            `TorchPolicy.pair_lifts`; None: nothing, which takes less time.

    Returns:
        (B, K) float32, each <= 0 (0 where nothing was drawn); the sum over K is the joint
        log-probability.

    Raises:
        BannerNotDrawable: a row repeats a candidate or shows an ineligible one.

    Example:
        >>> scores, eligible = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
        >>> position_log_prob(scores, torch.tensor([[2, 0]]), eligible).exp()
        tensor([[0.2500, 0.3333]])
    """
    if drawn is None:
        drawn = torch.ones_like(banner, dtype=torch.bool)
    shown = torch.zeros_like(eligible, dtype=torch.int32)
    shown.scatter_add_(1, banner, drawn.to(torch.int32))
    if bool((shown > 1).any()):
        raise BannerNotDrawable("a candidate stands twice on the banner")
    if bool(((shown > 0) & ~eligible).any()):
        raise BannerNotDrawable("a product of the banner is not among the candidates")
    if lifts is not None:
        return _one_by_one(scores, banner, eligible, drawn, lifts)
    others = eligible & (shown == 0)
    normaliser = scores.masked_fill(~others, NOT_ELIGIBLE).logsumexp(dim=1)  # (B,)
    picked = scores.gather(1, banner).masked_fill(~drawn, NOT_ELIGIBLE)  # (B, K)
    log_probs = []
    for position in range(banner.shape[1] - 1, -1, -1):
        normaliser = torch.logaddexp(normaliser, picked[:, position])
        log_probs.append(picked[:, position] - normaliser)
    return torch.stack(log_probs[::-1], dim=1).masked_fill(~drawn, 0.0)


def _one_by_one(
    scores: Tensor, banner: Tensor, eligible: Tensor, drawn: Tensor, lifts: PairLifts
) -> Tensor:
    """Return (B, K): a softmax a position, over what is left, with what was placed lifting it.

    Products of one group are lifted alike. So those that are not shown are summed by group once;
    each position then has the groups and the products of the banner that are left to sum.
    """
    shown = torch.zeros_like(scores).scatter_add_(1, banner, drawn.to(scores)) > 0
    others = scores.masked_fill(shown | ~eligible, NOT_ELIGIBLE)
    shape = (len(scores), lifts.lines.shape[2])
    highest = torch.full(shape, NOT_ELIGIBLE, device=scores.device)
    highest.scatter_reduce_(1, lifts.groups, others.detach(), "amax")
    parts = (others - highest.gather(1, lifts.groups)).exp() * (others > NOT_ELIGIBLE)
    mass = torch.zeros(shape, device=scores.device).scatter_add(1, lifts.groups, parts)
    by_group = highest + torch.where(mass > 0, mass, 1.0).log()
    before = torch.cat([torch.zeros_like(lifts.lines[:, :1]), lifts.lines[:, :-1].cumsum(1)], dim=1)
    size = banner.shape[1]
    places = lifts.groups.gather(1, banner)[:, None].expand(-1, size, -1)
    picked = scores.gather(1, banner).masked_fill(~drawn, NOT_ELIGIBLE)
    picked = picked[:, None] + before.gather(2, places)  # (B, K, K): product of a column, at a line
    gone = torch.ones(size, size, dtype=torch.bool, device=scores.device).tril(-1)
    left = [by_group[:, None] + before, picked.masked_fill(gone, NOT_ELIGIBLE)]
    found = picked.diagonal(dim1=1, dim2=2) - torch.cat(left, dim=2).logsumexp(dim=2)
    return found.masked_fill(~drawn, 0.0)


def first_position_log_prob(scores: Tensor, eligible: Tensor) -> Tensor:
    """Return (B, C) log pi^(1): the log-softmax of the first position, -1e30 where not eligible."""
    return scores.masked_fill(~eligible, NOT_ELIGIBLE).log_softmax(dim=1)


def kl_divergence(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Return (B,) KL(pi || pi_ref) in nats of two log-softmaxes (B, C) over the same candidates.

    Example:
        >>> even = torch.zeros(1, 4).log_softmax(dim=1)
        >>> float(kl_divergence(even, even))
        0.0
    """
    return (log_probs.exp() * (log_probs - reference_log_probs)).sum(dim=1)


def entropy(log_probs: Tensor) -> Tensor:
    """Return (B,) entropy in nats of log-softmaxes (B, C)."""
    return -(log_probs.exp() * log_probs).sum(dim=1)
