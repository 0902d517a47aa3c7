"""Grafana's dashboards as data, and the JSON that is made of them (`make dashboards`)."""

from typing import Final

from deploy.dashboards.coverage import COVERAGE
from deploy.dashboards.events import EVENTS
from deploy.dashboards.learning import LEARNING
from deploy.dashboards.parts import Board
from deploy.dashboards.ring import RING
from deploy.dashboards.serving import SERVING

BOARDS: Final[tuple[Board, ...]] = (RING, SERVING, EVENTS, LEARNING, COVERAGE)
"""In the order in which somebody who looks for a fault goes through them."""
