"""What the numbers of an update mean: one table for metrics, manifests and the console."""

from typing import Final

HEALTH: Final[dict[str, str]] = {
    "refused": "1: something was not finite, nothing was learned; else 0",
    "records": "settlements and corrections in the batch",
    "corrections": "of these, later changes of settled rewards",
    "entropy_nats": "how spread the first position is, as served; at 0 the policy has collapsed",
    "kl_nats": "how far policy gradients alone have moved the first position",
    "foundation_kl_nats": "how far the first position, as served, is from the foundation's",
    "focus_weight": "what scores are multiplied by where they are served; falls to 1",
    "kl_weight": "beta, the weight of kl_nats in the loss",
    "learning_rate": "of Adam, at this batch",
    "loss": "of the last epoch",
    "gradient_norm": "before it was scaled down to the limit",
    "clip_share": "share of drawn positions whose ratio left the clip interval",
    "cap_share": "share of drawn positions whose importance weight stands at its cap",
    "effective_share": "effective sample size over sample size; low: stale banners or a high focus",
    "reward_per_banner": "moving mean of a banner's reward",
    "reward_spread": "moving standard deviation of a banner's reward",
    "distinct_products": "distinct products on the last 1,000 banners learned from",
}
