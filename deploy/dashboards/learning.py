"""Does the policy earn more, and is its learning healthy?"""

from typing import Final

from console.health import MEANINGS
from deploy.dashboards.parts import Board, Panel, Query, Row, Unit, quantiles, rate, share


def _earned(window: str) -> str:
    """Return the query of reward per banner by arm."""
    earned = rate('aggregate_reward_points_total{change="earned"}', "arm", window=window)
    withdrawn = rate('aggregate_reward_points_total{change="withdrawn"}', "arm", window=window)
    banners = rate('aggregate_rewards_total{kind="settlement"}', "arm", window=window)
    return f"({earned} - {withdrawn}) / {banners}"


def _health(name: str, unit: Unit) -> Panel:
    """Return the panel of a number that the console explains, in its words and bounds."""
    words = MEANINGS[name]
    return Panel(
        words.title,
        f"{words.meaning} {words.advice}".strip(),
        unit,
        (Query(f"max(train_health_{name})", words.title.lower()),),
        low=words.low,
        high=words.high,
    )


_PAYS: Final = Row(
    "Does it pay?",
    (
        Panel(
            "Reward per banner, by arm",
            "Points per settled banner over 15 minutes, corrections included. Control is the "
            "foundation's greedy five: the distance between the lines is what learning earns.",
            "short",
            (Query(_earned("15m"), "{{arm}}"),),
            width=12,
        ),
        Panel(
            "Lift",
            "Policy arm over control arm, minus one, since the log began, with its interval. The "
            "whole interval above 0: the policy earns more, and that is no accident.",
            "percentunit",
            (Query("console_lift_ratio", "{{bound}}"),),
            width=12,
        ),
    ),
)
_TRAINER: Final = Row(
    "Trainer: does it keep up?",
    (
        Panel(
            "Batches",
            "promoted: new weights were made live. held: published, but promotion is held. "
            "refused: not finite, nothing was learned (alert BatchesRefused).",
            "cps",
            (Query(rate("train_batches_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Rewards by what became of them",
            "untrainable are the control arm's, fallbacks' and `learn: false`. unreadable ones are "
            "dead letters.",
            "cps",
            (Query(rate("train_records_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Time of an update",
            "From closing a batch to its checkpoint. Beyond the time between batches the trainer "
            "falls behind.",
            "s",
            quantiles("train_update_seconds", window="5m"),
            high=4,
        ),
        Panel(
            "Lag",
            "Rewards not learned from; a batch's worth (256) always waits.",
            "short",
            (Query("sum(train_lag_records)", "rewards"),),
            high=5_000,
        ),
        Panel(
            "Staleness of the weights that drew",
            "How many versions old a banner's weights were when it was learned from. Some are "
            "right: a banner waits for its clicks while versions go on.",
            "none",
            quantiles("train_staleness_versions", window="5m"),
        ),
        Panel(
            "Stale records",
            "Share drawn by a version more than 50 behind; their weight stays capped.",
            "percentunit",
            (
                Query(
                    share(
                        rate("train_stale_records_total"),
                        rate('train_records_total{outcome="trained"}'),
                    ),
                    "stale",
                ),
            ),
            high=0.3,
        ),
        Panel(
            "Freshness",
            "From a shopper's event to serving weights that learned from it. Promised: 95% within "
            "10 s.",
            "s",
            quantiles("service_freshness_seconds", window="5m"),
            high=10,
        ),
        Panel(
            "Since the last publication",
            "Age of the newest version. Grows where nobody is rewarded, too.",
            "dtdurations",
            (Query("time() - max(train_published_timestamp_seconds > 0)", "age"),),
        ),
        Panel(
            "Snapshots refused by servers",
            "Versions that failed a server's checks; older weights go on serving. Always 0 in "
            "good days: alert SnapshotsRejected.",
            "cps",
            (Query(rate('service_swaps_total{result="rejected"}'), "rejected"),),
            high=1e-9,
        ),
    ),
)
_MODEL: Final = Row(
    "Model: is its learning healthy? (bounds as on the console's page of policies)",
    (
        _health("entropy_nats", "short"),
        _health("foundation_kl_nats", "short"),
        _health("kl_nats", "short"),
        _health("clip_share", "percentunit"),
        _health("cap_share", "percentunit"),
        _health("effective_share", "percentunit"),
        _health("gradient_norm", "short"),
        Panel(
            "Reward the trainer sees",
            "Moving mean of a banner's reward and its spread, policy arm alone.",
            "short",
            (
                Query("max(train_health_reward_per_banner)", "mean"),
                Query("max(train_health_reward_spread)", "standard deviation"),
            ),
        ),
        Panel(
            "Focus",
            "What scores are multiplied by where they are served: 4 at the beginning, falls to 1 "
            "with the first thousands of banners. While it is high a low entropy is meant.",
            "short",
            (Query("max(train_health_focus_weight)", "focus"),),
        ),
    ),
)
LEARNING: Final = Board(
    "learning",
    "Quintet: learning",
    "**Does the policy earn more, and is its learning healthy?** First row: the money. Second: is "
    "the trainer on time. Third: signs of a policy that goes astray; `quintet policies rollback` "
    "puts an earlier one in front of shoppers within seconds.",
    (
        "RingNoUpdates", "TrainerLagGrowing", "FreshnessSlow", "PolicyCollapsed",
        "PolicyFarFromFoundation", "TrainingCapped", "BatchesRefused", "SnapshotsRejected",
        "PromotionHeld",
    ),
    (_PAYS, _TRAINER, _MODEL),
)  # fmt: skip
