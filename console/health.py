"""The health of the policy in plain words: what each number means, and whether it is fine.

The bounds are where experience says to look, not where something breaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Verdict = Literal["fine", "watch", "plain"]
"""`plain`: a number without bounds, shown for those who know it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What people are told of one number.

    Attributes:
        title: its name in plain words.
        meaning: what it says, in one sentence.
        low, high: fine inside; None: no bound.
        advice: what it may mean outside.
    """

    title: str
    meaning: str
    low: float | None = None
    high: float | None = None
    advice: str = ""


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a version's health, explained."""

    name: str
    value: float
    title: str
    meaning: str
    verdict: Verdict


MEANINGS: Final[Mapping[str, Meaning]] = {
    "refused": Meaning(
        "Refused updates",
        "1: the update was not finite, so nothing was learned from its batch; else 0.",
        high=0.0,
        advice="If it happens again, look at the rewards the trainer was given.",
    ),
    "entropy_nats": Meaning(
        "Variety of the first product",
        "How freely the policy chooses the first product of a banner (entropy, in nats).",
        low=0.3,
        advice="It hardly varies what it shows, so it will be slow to notice when shoppers change; "
        "in the first thousands of banners that is meant, and passes.",
    ),
    "foundation_kl_nats": Meaning(
        "Distance from the foundation",
        "How far the policy has moved from its foundation (KL divergence, in nats).",
        high=5.0,
        advice="It has moved far from what past purchases taught; compare the arms.",
    ),
    "kl_nats": Meaning(
        "Distance by policy gradients",
        "How much of that distance policy gradients made. The rest is the reward model's, and "
        "early on that of a sharper draw.",
    ),
    "distinct_products": Meaning(
        "Different products shown",
        "How many different products the last thousand banners held.",
        low=15,
        advice="Nearly all shoppers see the same few products.",
    ),
    "gradient_norm": Meaning(
        "Size of the learning step",
        "Length of the gradient before it is clipped at 1.",
        high=10.0,
        advice="Rewards jump; steps are cut to a tenth or less.",
    ),
    "clip_share": Meaning(
        "Share of clipped positions",
        "Share of positions whose probability moved by more than a fifth in one update.",
        high=0.5,
        advice="Each update moves the policy a lot; a lower learning rate is calmer.",
    ),
    "cap_share": Meaning(
        "Share of capped weights",
        "Share of positions that the policy now finds over twice as likely as when it drew them.",
        high=0.3,
        advice="The trainer learns from banners of much older versions; it lags behind.",
    ),
    "effective_share": Meaning(
        "Usable share of each batch",
        "Effective sample size over the batch: how much the importance weights leave of it.",
        low=0.3,
        advice="The trainer learns from banners of much older versions: it lags behind; or the "
        "first thousands of banners are still drawn sharply, which passes.",
    ),
}


def explained(health: Mapping[str, float]) -> Sequence[Sign]:
    """Return the signs of a manifest's health, those we have words for first.

    Example:
        >>> [sign.verdict for sign in explained({"entropy_nats": 2.0, "foundation_kl_nats": 9.0})]
        ['fine', 'watch']
    """
    known = [_sign(name, health[name], MEANINGS[name]) for name in MEANINGS if name in health]
    others = [
        Sign(name=name, value=value, title=name.replace("_", " "), meaning="", verdict="plain")
        for name, value in sorted(health.items())
        if name not in MEANINGS
    ]
    return known + others


def _sign(name: str, value: float, words: Meaning) -> Sign:
    low = words.low is None or value >= words.low
    high = words.high is None or value <= words.high
    fine = low and high  # false for NaN too
    return Sign(
        name=name,
        value=value,
        title=words.title,
        meaning=words.meaning if fine else f"{words.meaning} {words.advice}",
        verdict="plain" if words.low is words.high is None else "fine" if fine else "watch",
    )
