"""How much of the catalogue do shoppers get to see?"""

from typing import Final

from console.health import MEANINGS
from deploy.dashboards.parts import Board, Panel, Query, Row

_SHOWN: Final = Row(
    "What the newest 1,000 settled banners of each arm showed",
    (
        Panel(
            "Different products",
            "Control always shows the foundation's greedy five, so it shows fewer. A policy arm "
            "that falls below it explores nothing.",
            "short",
            (Query("max by (arm) (console_shown_products)", "{{arm}}"),),
        ),
        Panel(
            "Share of the catalogue",
            "Different products shown over products of the catalogue.",
            "percentunit",
            (
                Query(
                    "max by (arm) (console_shown_products) / on() group_left() "
                    "max(service_catalogue_products)",
                    "{{arm}}",
                ),
            ),
        ),
        Panel(
            "Mass of the ten most shown",
            "Share of all places that ten products took. Towards 1: every shopper sees the same.",
            "percentunit",
            (Query("max by (arm) (console_shown_top_share)", "{{arm}}"),),
        ),
    ),
)
_LEARNED: Final = Row(
    "Why",
    (
        Panel(
            "Different products learned from",
            f"{MEANINGS['distinct_products'].meaning} {MEANINGS['distinct_products'].advice}",
            "short",
            (Query("max(train_health_distinct_products)", "products"),),
            low=MEANINGS["distinct_products"].low,
        ),
        Panel(
            "Entropy of the first product",
            f"{MEANINGS['entropy_nats'].meaning} {MEANINGS['entropy_nats'].advice}",
            "short",
            (Query("max(train_health_entropy_nats)", "entropy"),),
            low=MEANINGS["entropy_nats"].low,
        ),
        Panel(
            "Products of the catalogue",
            "As each server knows them; a jump is an import, a fall a feed that lost its products.",
            "short",
            (Query("max(service_catalogue_products)", "products"),),
        ),
    ),
)
COVERAGE: Final = Board(
    "coverage",
    "Quintet: coverage",
    "**How much of the catalogue do shoppers get to see?** A policy that narrows down earns well "
    "today and notices nothing tomorrow.",
    ("PolicyCollapsed", "PolicyFarFromFoundation"),
    (_SHOWN, _LEARNED),
)
