"""Live shoppers over HTTP: they come at a steady rate, whatever the service makes of it."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import structlog

from schemas.requests import RecommendRequest, RecommendResponse
from simulator.errors import TrafficRefused, WorldNotPossible
from simulator.ledger import FileLedger, Ledger, NoLedger
from simulator.outbox import Outbox
from simulator.reports import Reporter, Timed, is_chosen
from simulator.tally import Tally, TrafficReport
from simulator.wire import RETRIED, Wire, quiet_retries
from simulator.world import DEFAULT_POINTS, Points, Visit, World, visit_rng

log = structlog.get_logger(__name__)

_PROGRESS_SECONDS: Final = 1.0
_GLANCE_SECONDS: Final = 0.1
_REPEATED_AFTER_SECONDS: Final = 0.2
_LAST_ANSWERS_SECONDS: Final = 5.0
"""After `stop`, visits under way get so long to be answered."""


class Stop(Protocol):
    """Asks traffic to end; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Return True once no further shopper shall come."""


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """How shoppers come.

    Attributes:
        seed: of the stream of visits and its noise.
        rate: visits per second, open loop: a slow service does not slow the shoppers down until
            `concurrency` is reached; None: as fast as it answers.
        concurrency: requests for a banner under way at most.
        open_visits: visits at most whose order is still to come.
        time_scale: wall seconds per second of a shopper's delay; 0: everything at once.
        api_key: needs the scopes `recommend` and `events:server`; None: a loopback without keys.
        duplicates: share of the events that are sent twice.
        named_orders: share of the orders that name their recommendation; the others carry the user
            alone. An anonymous shopper's order always names it.
        patience_seconds: for so long a request is tried again.
        ledger: file to note every event in; None: none.
        run_id: makes event ids unlike those of any other run.
        points: what the client thinks that banners earn.
    """

    seed: int = 0
    rate: float | None = 100.0
    concurrency: int = 64
    open_visits: int = 4000
    time_scale: float = 0.01
    api_key: str | None = field(default=None, repr=False)
    duplicates: float = 0.0
    named_orders: float = 0.0
    patience_seconds: float = 60.0
    ledger: Path | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))
    points: Points = DEFAULT_POINTS

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise WorldNotPossible("rate is above 0, or None")
        if self.concurrency < 1 or self.open_visits < 1 or self.time_scale < 0:
            raise WorldNotPossible("concurrency and open_visits are 1 at least, time_scale 0")
        if not (0 <= self.duplicates <= 1 and 0 <= self.named_orders <= 1):
            raise WorldNotPossible("duplicates and named_orders are shares between 0 and 1")


async def simulate(
    url: str,
    world: World,
    *,
    clock: Callable[[], int],
    banners: int | None = None,
    settings: TrafficSettings | None = None,
    stop: Stop | None = None,
    on_progress: Callable[[TrafficReport], None] | None = None,
) -> TrafficReport:
    """Send a world's shoppers to a service, and return what happened when all is reported.

    A shopper's next visit waits until her former order is answered; visits of others do not.

    Args:
        url: where the service listens.
        world: the shop; the service must know its products.
        clock: milliseconds since 1970, for what events say of when they happened.
        banners: visits at most; None: as many as the world has.
        settings: how shoppers come.
        stop: ends the coming; what they did is reported at once, then this returns.
        on_progress: called about once a second.
    """
    settings = TrafficSettings() if settings is None else settings
    ledger: Ledger = NoLedger() if settings.ledger is None else FileLedger(settings.ledger)
    tally = Tally()
    with closing(ledger), quiet_retries():
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as group,
        ):
            wire = Wire(
                session,
                url,
                tally,
                api_key=settings.api_key,
                patience_seconds=settings.patience_seconds,
            )
            outbox = Outbox(wire, tally, ledger)
            traffic = _Traffic(world, settings, clock, wire, outbox, tally, ledger)
            beside = [group.create_task(outbox.run())]
            if on_progress is not None:
                beside.append(group.create_task(traffic.tell(on_progress)))
            if stop is not None:
                beside.append(group.create_task(traffic.watch(stop)))
            await traffic.come(banners, stop)
            await outbox.drain()
            for loop in beside:
                loop.cancel()
    report = traffic.report()
    if on_progress is not None:
        on_progress(report)
    return report


class _Traffic:
    """The shoppers of one run."""

    def __init__(
        self,
        world: World,
        settings: TrafficSettings,
        clock: Callable[[], int],
        wire: Wire,
        outbox: Outbox,
        tally: Tally,
        ledger: Ledger,
    ) -> None:
        self._world, self._settings, self._clock = world, settings, clock
        self._wire, self._outbox, self._tally, self._ledger = wire, outbox, tally, ledger
        products = {product.product_id: product for product in world.products}
        self._reporter = Reporter(settings.run_id, products, settings.time_scale)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._open = asyncio.Semaphore(settings.open_visits)
        self._under_way: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._started = asyncio.get_running_loop().time()

    def report(self) -> TrafficReport:
        """Return what happened so far."""
        return self._tally.report(self._seconds())

    async def tell(self, on_progress: Callable[[TrafficReport], None]) -> None:
        """Report about once a second until cancelled."""
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            on_progress(self.report())

    async def watch(self, stop: Stop) -> None:
        """Once `stop` is set, report at once what was done, and give up what hangs."""
        while not stop.is_set():  # noqa: ASYNC110 - set by a signal or another thread
            await asyncio.sleep(_GLANCE_SECONDS)
        self._outbox.hurry()
        await asyncio.sleep(_LAST_ANSWERS_SECONDS)
        self._outbox.give_up()
        for task in self._under_way:
            task.cancel()

    async def come(self, banners: int | None, stop: Stop | None) -> None:
        """Let shoppers come; return when each has been answered and her order reported."""
        async with asyncio.TaskGroup() as visits:
            for visit in islice(self._world.visits(self._settings.seed), banners):
                await self._pace(visit.number)
                await self._open.acquire()
                if stop is not None and stop.is_set():
                    break
                task = visits.create_task(self._in_turn(visit, self._former(visit)))
                self._under_way.add(task)
                task.add_done_callback(self._left)
                if visit.user_id is not None:
                    self._latest[visit.user_id] = task

    def _left(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._open.release()

    async def _pace(self, number: int) -> None:
        rate = self._settings.rate
        if rate is None:
            async with self._slots:  # come when a request could be made
                return
        early = number / rate - self._seconds()
        self._tally.behind_seconds = max(self._tally.behind_seconds, -early)
        if early > 0:
            await asyncio.sleep(early)

    def _former(self, visit: Visit) -> asyncio.Task[None] | None:
        return None if visit.user_id is None else self._latest.get(visit.user_id)

    async def _in_turn(self, visit: Visit, former: asyncio.Task[None] | None) -> None:
        if former is not None and not former.done():
            await asyncio.wait([former])
        self._tally.visits += 1
        async with self._slots:
            answer = await self._answer(visit)
        await asyncio.gather(*self._respond(visit, answer))

    async def _answer(self, visit: Visit) -> RecommendResponse | None:
        request = RecommendRequest(user_id=visit.user_id, viewed_product_id=visit.viewed_product_id)
        try:
            return await self._wire.recommend(request)
        except (TrafficRefused, *RETRIED) as problem:
            self._tally.failed += 1
            log.warning("visit_without_answer", reason=str(problem))
            return None

    def _respond(
        self, visit: Visit, answer: RecommendResponse | None
    ) -> list[asyncio.Future[None]]:
        """Let the shopper respond; return what tells when her events are reported."""
        banner = () if answer is None else tuple(each.product_id for each in answer.products)
        response = self._world.respond(visit, banner, visit_rng(visit))
        if answer is not None:
            points = self._settings.points
            expected = self._world.expected_reward(visit, banner, points)
            self._tally.answered(answer, reward=response.reward(points), expected=expected)
            self._ledger.banner(visit, answer, expected)
        run_id, named_orders = self._settings.run_id, self._settings.named_orders
        events = self._reporter.events(
            visit,
            answer,
            response,
            answered_at_ms=self._clock(),
            names_the_banner=visit.user_id is None
            or is_chosen(run_id, visit.number, "named", named_orders),
        )
        now = asyncio.get_running_loop().time()
        return [done for timed in events for done in self._put(timed, now + timed.after_seconds)]

    def _put(self, timed: Timed, due: float) -> Iterator[asyncio.Future[None]]:
        yield self._outbox.put(timed.event, due)
        if is_chosen(timed.event.event_id, 0, "duplicate", self._settings.duplicates):
            yield self._outbox.put(timed.event, due + _REPEATED_AFTER_SECONDS, is_duplicate=True)

    def _seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._started
