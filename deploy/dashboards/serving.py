"""Do shoppers get banners, good ones, in time?"""

from typing import Final

from deploy.dashboards.parts import Board, Panel, Query, Row, or_zero, quantiles, rate, share

_REQUESTS: Final = "service_request_seconds_count"
_RECOMMEND: Final = 'route="/recommend"'
_ALL: Final = rate(f"{_REQUESTS}{{{_RECOMMEND}}}")

_SHOPPERS: Final = Row(
    "Requests: how many, how many fail, how long they take",
    (
        Panel(
            "Requests",
            "Requests by route. What `unmatched` counts was sent to no route of ours.",
            "reqps",
            (Query(rate(_REQUESTS, "route"), "{{route}}"),),
        ),
        Panel(
            "Failed requests",
            "Share of /recommend answered with a 5xx, and for each request answered, how many were "
            "turned away; promised: together less than one in a thousand.",
            "percentunit",
            (
                Query(share(rate(f'{_REQUESTS}{{{_RECOMMEND},code=~"5.."}}'), _ALL), "5xx"),
                Query(share(rate('service_shed_total{reason="banners"}'), _ALL), "turned away"),
            ),
            high=0.001,
        ),
        Panel(
            "Time to answer /recommend",
            "Median, 95th and 99th percentile. Promised: 99% within 50 ms; usual: a few ms.",
            "s",
            quantiles("service_request_seconds", labels=f"{{{_RECOMMEND}}}"),
            high=0.05,
        ),
        Panel(
            "Refused requests",
            "Answers with a 4xx, by code: 401 and 403 are keys, 413 and 422 a storefront that "
            "breaks the contract, 499 shoppers who left before their answer.",
            "reqps",
            (
                Query(
                    or_zero(rate(_REQUESTS + '{code=~"4.."}', "code"), rate(_REQUESTS)), "{{code}}"
                ),
            ),
        ),
        Panel(
            "Turned away",
            "Requests answered 503 with Retry-After, and connections cut, before they cost "
            "anything, by reason; and 503s of the routes themselves. Callers send them again.",
            "reqps",
            (
                Query(or_zero(rate("service_shed_total", "reason"), rate(_REQUESTS)), "{{reason}}"),
                Query(
                    or_zero(rate(_REQUESTS + '{code="503"}', "route"), rate(_REQUESTS)),
                    "503 {{route}}",
                ),
            ),
        ),
        Panel(
            "Time to take events in",
            "An answer 202 waits for the disk or the broker; seconds here mean a slow log.",
            "s",
            quantiles("service_request_seconds", labels='{route="/events"}'),
            high=1,
        ),
    ),
)
_BANNERS: Final = Row(
    "Banners: what chose them, what they had to do without",
    (
        Panel(
            "Banners by arm",
            "Control is the foundation's greedy five; its share is the setting control_share.",
            "cps",
            (Query(rate("service_recommendations_total", "arm"), "{{arm}}"),),
        ),
        Panel(
            "Banners by source",
            "`popular` and `static` are fallbacks: no weights, or a draw that failed. Above 5%: "
            "alert FallbackBanners.",
            "cps",
            (Query(rate("service_recommendations_total", "source"), "{{source}}"),),
        ),
        Panel(
            "What banners did without",
            "history_unavailable: Redis is away. log_unavailable: the banner may never be "
            "rewarded. fewer_than_five_eligible: filters or a small catalogue.",
            "cps",
            (
                Query(
                    or_zero(
                        rate("service_recommendation_reasons_total", "reason"),
                        rate("service_recommendations_total"),
                    ),
                    "{{reason}}",
                ),
            ),
        ),
        Panel(
            "Draws that failed, ids nobody knows",
            "Failed draws are faults of ours and should stay at 0. Unknown ids are a storefront "
            "ahead of the catalogue, or another shop's.",
            "cps",
            (
                Query(rate("service_draw_failures_total"), "draws failed"),
                Query(rate("service_unknown_ids_total"), "unknown ids"),
            ),
        ),
        Panel(
            "Weights that serve, by server",
            "Version of each server; one that stays behind the others: alert ServerBehind.",
            "none",
            (Query("service_policy_version", "{{instance}} {{worker}}"),),
        ),
        Panel(
            "Age of the weights",
            "Since each server swapped last. Grows while nothing is learned or promotion is held.",
            "dtdurations",
            (Query("time() - service_swap_timestamp_seconds", "{{instance}} {{worker}}"),),
        ),
    ),
)
_PARTS: Final = Row(
    "What serving leans on: the log and the history",
    (
        Panel(
            "Banners that wait for the log",
            "Queued for the log. Normally next to none; it grows while the log is away, and what "
            "does not fit is dropped.",
            "short",
            (Query("sum(service_log_queue_records)", "waiting"),),
        ),
        Panel(
            "Log away, banners dropped",
            "away: 1 while the last append was not taken. dropped: banners that will never be "
            "rewarded, a second; always 0 in good days.",
            "short",
            (
                Query("max(service_log_away_state)", "away"),
                Query(rate("service_recommendations_dropped_total"), "dropped"),
                Query(rate("service_log_append_failures_total"), "refused appends"),
            ),
            high=0.5,
        ),
        Panel(
            "The spool",
            "Messages that wait on the servers' own disks while Kafka is away, and how fast they "
            "drain. A refusal: the spool or its disk is full, callers get 503. Dropped: what Kafka "
            "would never take; always 0.",
            "short",
            (
                Query("sum(service_spool_records)", "waiting"),
                Query(rate("service_spool_drained_total"), "drained a second"),
                Query(rate("service_spool_refusals_total"), "refused a second"),
                Query(rate("service_spool_dropped_total"), "dropped a second"),
            ),
        ),
        Panel(
            "Size of the spool",
            "By server; the limit is the setting QUINTET_SPOOL_BYTES. Not 0 while Kafka answers: "
            "alert LogSpooling.",
            "bytes",
            (Query("service_spool_bytes", "{{instance}} {{worker}}"),),
        ),
        Panel(
            "History away",
            "breaker: 1 while the store (Redis) is left alone because it failed again and again. "
            "Banners go on without what shoppers bought.",
            "short",
            (
                Query("max(service_history_breaker_state)", "breaker open"),
                Query(rate("service_history_failures_total"), "failed reads"),
            ),
            high=0.5,
        ),
    ),
)
SERVING: Final = Board(
    "serving",
    "Quintet: serving",
    "**Do shoppers get banners, good ones, in time?** First row: are requests answered. Second: "
    "does the policy choose them. Third: is it the log or the history that fails.",
    (
        "ServingErrorsBurnFast", "ServingErrorsBurnSlow", "ServingLatencyBurnFast",
        "ServingLatencyBurnSlow", "FallbackBanners", "RecommendationsDropped", "SheddingLoad",
        "LogAway", "LogSpooling", "SpoolFull", "HistoryAway", "SnapshotsRejected",
    ),
    (_SHOPPERS, _BANNERS, _PARTS),
)  # fmt: skip
