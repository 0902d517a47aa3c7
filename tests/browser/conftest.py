"""A real Chromium, a real console, and a stand-in service that notes what it is asked."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from prometheus_client import CollectorRegistry

from console.app import ConsoleParts, create_app
from console.audit import AuditSettings
from console.experiment import Experiment
from console.explain import Explainer
from console.follower import Follower
from console.pairs import Pairs
from console.policies import Operations
from console.settings import ConsoleSettings
from schemas.keys import Keyring
from streams.local import LocalLog
from tests.browser.filled_log import fill
from tests.browser.stand_ins import PRODUCTS, KeptCatalogue, KeptRegistry, StandInService, now_ms

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIFTS = (
    ("grocery/coffee", "dairy/milk", 1.6),
    ("bakery/bread", "dairy/cheese", 0.8),
    ("meat/chicken", "bakery/bread", 0.4),
    ("frozen/pizza", "produce/fruit", -0.9),
)


@dataclass
class Ring:
    """What a test looks at."""

    url: str
    service: StandInService
    log: LocalLog
    told: str
    """A banner in the log with a whole life."""


@pytest.fixture
def keys() -> str:
    """The setting of the API keys."""
    return ""


@pytest.fixture
def banners() -> int:
    return 3000


@pytest.fixture
def lifts() -> tuple[tuple[str, str, float], ...]:
    """Pairs of categories that the live version has learned of."""
    return LIFTS


@pytest.fixture
def ring(
    tmp_path: Path,
    keys: str,
    banners: int,
    lifts: tuple[tuple[str, str, float], ...],
) -> Iterator[Ring]:
    service = StandInService()
    log = LocalLog(tmp_path / "log.sqlite", clock=now_ms)
    told = fill(log, banners) if banners else ""
    registry, catalogue = KeptRegistry(lifts), KeptCatalogue(PRODUCTS)
    follower = Follower(log, lambda: Experiment(AuditSettings(grace_seconds=30)), clock=now_ms)
    app = create_app(
        ConsoleParts(
            follower=follower,
            operations=Operations(registry, log, clock=now_ms),
            explainer=Explainer(log, registry, lambda: catalogue, horizon_seconds=3600),
            catalogue=lambda: catalogue,
            pairs=Pairs(registry, lambda: catalogue),
        ),
        ConsoleSettings(
            service_url=service.url, keys=Keyring.parse(keys), shoppers=("1201", "77", "2205")
        ),
        metrics_registry=CollectorRegistry(),
    )
    stop = threading.Event()
    following = threading.Thread(target=follower.run, args=(stop,))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    serving = threading.Thread(target=server.run)
    following.start()
    serving.start()
    while not server.started:
        serving.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Ring(f"http://127.0.0.1:{port}", service, log, told)
    server.should_exit = True
    stop.set()
    serving.join()
    following.join()
    service.close()
    log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = f"no browser at {CHROMIUM}: install Debian's chromium to run the browser tests"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page and what it did that nobody sees."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    """Errors in the browser's console, uncaught exceptions, requests to other hosts."""

    def watch(self) -> None:
        self.page.on(
            "console",
            lambda said: self.troubles.append(said.text) if said.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self._leaves(request.url))

    def _leaves(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.troubles.append("left this machine: " + url)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.fixture(params=["light"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1200])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def visit(browser: Browser, scheme: Any, width: int) -> Iterator[Visit]:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 860}, reduced_motion="reduce"
    )
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page())
    visit.watch()
    yield visit
    context.close()
    assert visit.troubles == []
