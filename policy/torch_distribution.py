"""The Plackett-Luce distribution over banners: how likely a draw was, with gradients.

Dimensions: B banners in a batch, C candidates, K positions.
"""

from typing import Final

import torch
from torch import Tensor

from policy.errors import BannerNotDrawable

NOT_ELIGIBLE: Final = -1e30
"""The score of what may not be drawn: finite, so that gradients of empty softmaxes are zero, not
NaN."""


def position_log_prob(
    scores: Tensor,
    banner: Tensor,
    eligible: Tensor,
    drawn: Tensor | None = None,
    lifts: Tensor | None = None,
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
        lifts: (B, K, C) what each placed product adds to the scores of those that follow, from
            `TorchPolicy.pair_lifts`; None: nothing, for a softmax a banner instead of one a
            position.

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
    scores: Tensor, banner: Tensor, eligible: Tensor, drawn: Tensor, lifts: Tensor
) -> Tensor:
    """Return (B, K): a softmax a position, over what is left, with what was placed lifting it."""
    before = lifts.cumsum(dim=1) - lifts  # (B, K, C)
    taken = torch.zeros_like(lifts).scatter_(2, banner[:, :, None], drawn[:, :, None].to(lifts))
    left = eligible[:, None] & (taken.cumsum(dim=1) - taken == 0)
    log_probs = (scores[:, None] + before).masked_fill(~left, NOT_ELIGIBLE).log_softmax(dim=2)
    found = log_probs.gather(2, banner[:, :, None])[:, :, 0]
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
