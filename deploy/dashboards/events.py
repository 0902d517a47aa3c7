"""Does what shoppers do arrive, and is it rewarded once?"""

from typing import Final

from deploy.dashboards.parts import Board, Panel, Query, Row, rate, share


def _attributed(kind: str) -> str:
    """Return the query of the share of a type's events that a banner earned by."""
    seen = f'aggregate_events_total{{type="{kind}"'
    whole = rate(f'{seen},outcome!~"ignored|duplicate"}}', window="15m")
    return share(rate(f'{seen},outcome="applied"}}', window="15m"), whole)


_TAKEN: Final = Row(
    "Events: taken in by the service",
    (
        Panel(
            "Accepted events",
            "By type. Clicks without impressions or purchases: one of the producers is silent.",
            "cps",
            (Query(rate('service_events_total{outcome="accepted"}', "type"), "{{type}}"),),
        ),
        Panel(
            "Refused events",
            "invalid: breaks the contract, the answer says where. forged: a wrong token or another "
            "shopper's. rate_limited: more than a person can do.",
            "cps",
            (Query(rate('service_events_total{outcome!="accepted"}', "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Attribution rate",
            "Share of clicks and purchases that a banner earned by, over 15 minutes. Purchases "
            "are mostly of products no banner showed; a sudden fall of the clicks' means that "
            "storefronts lose recommendation ids.",
            "percentunit",
            (
                Query(_attributed("click"), "clicks"),
                Query(_attributed("purchase"), "purchases"),
            ),
        ),
    ),
)
_AGGREGATOR: Final = Row(
    "Aggregator: how far it is, what it could not use",
    (
        Panel(
            "Lag",
            "Events that are not committed, by aggregator. A few hundred come and go; a line that "
            "climbs: alert AggregatorLagGrowing.",
            "short",
            (Query("aggregate_lag_records", "{{instance}}"),),
        ),
        Panel(
            "Stream time behind the clock",
            "By partition. A partition with unsettled banners gets a tick each second; hours are "
            "right only where nothing happens.",
            "s",
            (
                Query(
                    "time() - max by (partition) (aggregate_stream_time_timestamp_seconds)",
                    "partition {{partition}}",
                ),
            ),
        ),
        Panel(
            "Late, duplicate, conflicting",
            "duplicate is right: producers may send twice. late came after its window. conflict: "
            "one event id with two payloads, a producer's fault.",
            "cps",
            (
                Query(
                    rate('aggregate_events_total{outcome=~"late|duplicate|conflict"}', "outcome"),
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Unattributed, forged, erased",
            "unattributed: no banner it could reward. forged: another shopper's banner, or a "
            "product it did not show.",
            "cps",
            (
                Query(
                    rate(
                        'aggregate_events_total{outcome=~"unattributed|forged|erased"}', "outcome"
                    ),
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Dead letters",
            "Records that could not be read, and what the inbox refused; they wait in events.dead "
            "for `quintet dead-letters list`. Always 0 in good days.",
            "cps",
            (
                Query(rate("aggregate_dead_letters_total", "reason"), "{{reason}}"),
                Query(rate("service_dead_letters_total", "reason"), "inbox: {{reason}}"),
                Query(rate('train_records_total{outcome="unreadable"}'), "reward unreadable"),
            ),
            high=1e-9,
        ),
        Panel(
            "Begun again",
            "Times uncommitted work was dropped: the log was away, or another aggregator took "
            "over. Nothing is lost; many in a row: alert LogAway.",
            "cps",
            (Query(rate("aggregate_restarts_total"), "restarts"),),
        ),
    ),
)
_REWARDS: Final = Row(
    "Rewards: every banner once",
    (
        Panel(
            "Rewards",
            "Settlements (one per banner) and corrections (a click or purchase after it).",
            "cps",
            (Query(rate("aggregate_rewards_total", "kind"), "{{kind}}"),),
        ),
        Panel(
            "Points earned and taken back, by arm",
            "What rewards added and, by refunds and late corrections, took away.",
            "cps",
            (Query(rate("aggregate_reward_points_total", "arm, change"), "{{arm}} {{change}}"),),
        ),
        Panel(
            "Banners that wait",
            "pending: for their settlement, some seconds' worth. overdue: it should have come, the "
            "aggregator is behind. kept: for corrections, a window's worth; this is its memory.",
            "short",
            (
                Query("sum(aggregate_pending_banners)", "pending"),
                Query("max(console_waiting_banners)", "overdue"),
                Query("sum(aggregate_kept_banners)", "kept"),
            ),
        ),
        Panel(
            "Lost, doubled",
            "Counted by the console over the whole log, independently of the aggregator. Both are "
            "promised to be 0: alerts BannersLost, BannersDoubled.",
            "short",
            (
                Query("max(console_lost_banners)", "lost"),
                Query("max(console_doubled_banners)", "doubled"),
            ),
            high=0.5,
        ),
        Panel(
            "History behind the log",
            "Age of the newest record in the history; it follows within a second, and grows only "
            "where nothing at all happens, or where history waits.",
            "s",
            (Query("time() - max(aggregate_history_applied_timestamp_seconds)", "age"),),
        ),
        Panel(
            "History waits",
            "Times the projector could not go on, by what was away: the store (Redis) or the log. "
            "Always 0 in good days: alerts HistoryAway, LogAway.",
            "cps",
            (Query(rate("aggregate_history_failures_total", "away"), "{{away}}"),),
            high=1e-9,
        ),
    ),
)
EVENTS: Final = Board(
    "events",
    "Quintet: events and rewards",
    "**Does what shoppers do arrive, and is it rewarded once?** First row: the producers. Second: "
    "is the aggregator on time, what could it not use. Third: does every banner get one reward.",
    (
        "AggregatorLagGrowing", "DeadLetters", "BannersLost", "BannersDoubled", "RingNoRewards",
        "LogAway", "HistoryAway",
    ),
    (_TAKEN, _AGGREGATOR, _REWARDS),
)  # fmt: skip
