"""Does the ring turn, and where is it stuck?"""

from typing import Final

from deploy.dashboards.parts import Board, Panel, Query, Row, quantile, rate

_PROCESSES: Final = ("service", "aggregate", "train", "console")


def _of_each(query: str, legend: str = "{{job}} {{instance}}") -> tuple[Query, ...]:
    """Return a query once for each process; `@` stands for its name."""
    return tuple(Query(query.replace("@", process), legend) for process in _PROCESSES)


_STATIONS: Final = Row(
    "One turn: serve, events, aggregator, trainer, model",
    (
        Panel(
            "1 Banners shown",
            "Banners answered by /recommend. 0 with shoppers in the shop: look at Serving.",
            "cps",
            (Query(rate("service_recommendations_total")),),
            kind="number",
            width=4,
        ),
        Panel(
            "2 Events taken in",
            "What shoppers did, accepted into the log. 0 while banners are shown: the storefront "
            "reports nothing, or the log is away.",
            "cps",
            (Query(rate('service_events_total{outcome="accepted"}')),),
            kind="number",
            width=4,
        ),
        Panel(
            "3 Banners rewarded",
            "Settlements by the aggregator; over a minute about as many as banners shown. 0 while "
            "banners are shown: alert RingNoRewards.",
            "cps",
            (Query(rate('aggregate_rewards_total{kind="settlement"}')),),
            kind="number",
            width=4,
        ),
        Panel(
            "4 Banners learned from",
            "Rewards that went into a batch. 0 while banners are rewarded: alert RingNoUpdates.",
            "cps",
            (Query(rate('train_records_total{outcome="trained"}')),),
            kind="number",
            width=4,
        ),
        Panel(
            "5 Versions promoted a minute",
            "New weights made live. 0 while batches close: somebody rolled back and holds, see "
            "Promotion held.",
            "short",
            (Query("60 * " + rate('train_batches_total{outcome="promoted"}')),),
            kind="number",
            width=4,
        ),
        Panel(
            "6 Versions swapped in a minute",
            "New weights taken into memory, by all servers together. 0 while versions are "
            "promoted: alert RingNoSwaps.",
            "short",
            (Query("60 * " + rate('service_swaps_total{result="swapped"}')),),
            kind="number",
            width=4,
        ),
    ),
)
_STATE: Final = Row(
    "What is not as it should be: all of these are 0 or small",
    (
        Panel(
            "Alerts that fire",
            "Pages and tickets. Above 0: Alerting names them, the runbook says what to do.",
            "none",
            (Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
            kind="number",
            high=0.5,
            width=4,
        ),
        Panel(
            "Processes that do not answer",
            "Targets that Prometheus could not scrape. Above 0: alert ProcessDown; they are named "
            "below.",
            "none",
            (Query('count(up{job=~"serve|aggregate|train|console"} == 0) or vector(0)'),),
            kind="number",
            high=0.5,
            width=4,
        ),
        Panel(
            "Freshness, 95th percentile",
            "From a shopper's event to serving weights that learned from it. Promised: 10 s.",
            "s",
            (Query(quantile(0.95, "service_freshness_seconds", window="5m")),),
            kind="number",
            high=10,
            width=4,
        ),
        Panel(
            "Events behind",
            "Events that the aggregator has not committed. A thousand is a second's work; growing "
            "for minutes: alert AggregatorLagGrowing.",
            "short",
            (Query("sum(aggregate_lag_records)"),),
            kind="number",
            high=10_000,
            width=4,
        ),
        Panel(
            "Rewards behind",
            "Rewards that the trainer has not learned from; a batch's worth (256) always waits.",
            "short",
            (Query("sum(train_lag_records)"),),
            kind="number",
            high=5_000,
            width=4,
        ),
        Panel(
            "Promotion held",
            "1: somebody rolled back, nothing is promoted until `quintet policies resume`.",
            "none",
            (Query("max(console_hold_state)"),),
            kind="number",
            high=0.5,
            width=4,
        ),
    ),
)
_FLOW: Final = Row(
    "Where it is stuck: the first line that drops",
    (
        Panel(
            "From banner to learning",
            "The same banners at three stations. They lie on each other a few seconds apart; the "
            "station whose line falls first is the one to look at. Learned stays below rewarded by "
            "the control arm's share.",
            "cps",
            (
                Query(rate("service_recommendations_total"), "shown"),
                Query(rate('aggregate_rewards_total{kind="settlement"}'), "rewarded"),
                Query(rate('train_records_total{outcome="trained"}'), "learned from"),
            ),
            width=12,
        ),
        Panel(
            "Versions",
            "The trainer's newest, the live one, and the oldest that a server serves. They differ "
            "by a few; after a rollback the trainer's runs ahead.",
            "none",
            (
                Query("max(train_policy_version)", "published"),
                Query("max(console_live_version)", "live"),
                Query("min(service_policy_version)", "served, oldest"),
            ),
            width=12,
        ),
    ),
)
_PROCESS: Final = Row(
    "The processes",
    (
        Panel(
            "Answers",
            "1: Prometheus reaches the process. 0: it is down, or its port is not the one written "
            "down.",
            "none",
            (Query('up{job=~"serve|aggregate|train|console"}', "{{job}} {{instance}}"),),
            low=0.5,
        ),
        Panel(
            "Running since",
            "How long each process runs. One that stays at seconds dies again and again: alert "
            "ProcessRestartsOften.",
            "dtdurations",
            _of_each("time() - @_process_start_time_seconds"),
        ),
        Panel(
            "Version of Quintet",
            "How many processes run which version; two versions are right only during a roll-out.",
            "none",
            _of_each("count by (job, version) (@_build_info)", "{{job}} {{version}}"),
        ),
        Panel(
            "Processor",
            "Cores in use. The trainer takes one while it learns; a server at 1 is at its limit.",
            "short",
            _of_each("rate(@_process_cpu_seconds_total[$__rate_interval])"),
        ),
        Panel(
            "Memory",
            "Resident memory. The trainer needs most (1.6 GB at 100,000 products).",
            "bytes",
            _of_each("@_process_resident_memory_bytes"),
        ),
        Panel(
            "Free disk",
            "Share of the data directory's disk that is free. Below a tenth: alert DiskFilling.",
            "percentunit",
            _of_each("@_disk_free_bytes / @_disk_size_bytes"),
            low=0.1,
        ),
    ),
)
RING: Final = Board(
    "ring",
    "Quintet: the ring",
    "**Does the ring turn, and where is it stuck?** Read the six numbers from left to right: the "
    "first that is 0 while its left neighbour is not is the place. *Serving*, *Events and rewards* "
    "and *Learning* then say why.",
    (
        "ProcessDown", "ProcessMissing", "RingNoRewards", "RingNoUpdates", "RingNoSwaps",
        "ServerBehind", "FreshnessSlow", "ProcessRestartsOften", "DiskFilling", "PromotionHeld",
    ),
    (_STATIONS, _STATE, _FLOW, _PROCESS),
)  # fmt: skip
