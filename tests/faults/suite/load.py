"""Seeded shoppers over HTTP with a ledger, and what was wrong with any answer they got.

They come at a steady rate, whatever the service makes of it. What a shopper does depends on the
seed and her number alone. An event is sent again, unchanged, until it is answered; one shopper in
five does not care and sends it once.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import aiohttp
import msgspec

from tests.faults.suite.ledger import BannerNoted, Ledger, OutcomeNoted, Sending

PATIENCE_SECONDS = 25.0
_TIMEOUT_SECONDS = 15.0
_REGULARS = 20
_NOTING = 64
REGULAR = "regular-"
"""Begins the name of a shopper who comes again and again."""
BANNER = 5


@dataclass(frozen=True)
class Answer:
    """One answer to `/recommend`; status 0: none came."""

    sent_at: float
    seconds: float
    status: int
    version: int = 0
    arm: str = ""
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Habits:
    """How shoppers report.

    Attributes:
        clicks, buys: how many of ten products are clicked, and bought.
        copies: an event is sent so many times at most, each copy at a time of its own.
        conflicts: share of events whose id is used again for another product.
        careless: share of shoppers who send an event once and forget it.
    """

    clicks: float = 0.2
    buys: float = 0.1
    copies: int = 2
    conflicts: float = 0.0
    careless: float = 0.2


@dataclass
class Load:
    """Shoppers of one service; `start` and `stop` it once.

    Attributes:
        answers: of `/recommend`, in the order in which they came.
        wrong: sentences about answers that may never be given.
        failed: when requests of either kind were sent that got no answer.
        failures: what became of these.
        retried: posts of events that were made again.
        shed: answers 503 that say when to come again.
        conflicts: how many events bore the id of an accepted one.
        refused: events answered with another outcome than accepted.
        duplicates: events that were sent again though nothing had failed.
    """

    url: str
    ledger: Ledger
    products: frozenset[str]
    seed: int
    rate: float = 40.0
    habits: Habits = field(default_factory=Habits)
    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    retried: int = 0
    shed: int = 0
    conflicts: int = 0
    refused: int = 0
    duplicates: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._banners: dict[str, tuple[str, ...]] = {}
        self._tokens: dict[str, str] = {}

    def start(self) -> None:
        """Let shoppers come."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Let no more come; return when each event is answered or given up.

        Raises:
            Exception: whatever the shoppers' thread died of.
        """
        self._stopping.set()
        self._thread.join(2 * PATIENCE_SECONDS + _TIMEOUT_SECONDS)
        assert not self._thread.is_alive(), "the shoppers do not end"
        if self._problem is not None:
            raise self._problem

    def leave(self) -> None:
        """Let everybody go at once, whatever they were about to do."""
        self._stopping.set()
        if self.is_there():
            with suppress(RuntimeError):  # they have gone meanwhile
                self._loop.call_soon_threadsafe(self._everybody.cancel)
            self._thread.join(_TIMEOUT_SECONDS)

    def is_there(self) -> bool:
        """Whether a shopper may still come or go."""
        return self._thread.is_alive()

    def visit(self, user_id: str) -> str | None:
        """Send one more shopper, who clicks at once.

        Returns:
            Her banner, once her click is accepted; None: something is missing.
        """
        return self._called(self._probe(user_id))

    def send(self, events: Sequence[Sending], *, patient: bool = True) -> None:
        """Report events about banners of this ledger, and wait for the answer."""
        self._called(self._report(events, patient=patient))

    def banners(self) -> dict[str, tuple[str, ...]]:
        """Return the products of every banner so far."""
        return dict(self._banners)

    def _called(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(90)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except (Exception, asyncio.CancelledError) as problem:  # noqa: BLE001 - `stop` raises it
            self._problem = problem
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Notes that wait together for the disk are synced together (see `Ledger.note`).
        self._loop.set_default_executor(ThreadPoolExecutor(_NOTING))
        self._everybody = cast("asyncio.Task[None]", asyncio.current_task())
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as self._session:
            self._ready.set()
            started, number = self._loop.time(), 0
            async with asyncio.TaskGroup() as visits:
                while not self._stopping.is_set():
                    visits.create_task(self._visit(number))
                    number += 1
                    due = started + number / self.rate
                    await asyncio.sleep(max(0.0, due - self._loop.time()))

    async def _visit(self, number: int) -> None:
        rng = Random(f"{self.seed}-{number}")  # noqa: S311 - not for secrets
        fresh = rng.random() < 0.6
        user_id = f"s{number}" if fresh else f"{REGULAR}{rng.randrange(_REGULARS)}"
        viewed = rng.choice(sorted(self.products)[:200]) if rng.random() < 0.3 else None
        shown = await self._recommend(user_id, viewed)
        if shown is None:
            return
        recommendation_id, products, _ = shown
        await asyncio.sleep(rng.uniform(0.0, 0.3))
        chosen = self._behaviour(number, recommendation_id, products, rng)
        if not chosen:
            return
        patient = rng.random() >= self.habits.careless
        user = user_id if fresh and rng.random() < 0.5 else None
        async with asyncio.TaskGroup() as posts:
            posts.create_task(self._report(chosen, patient=patient, user_id=user))
            for _ in range(rng.randrange(self.habits.copies)):
                again = rng.sample(chosen, rng.randint(1, len(chosen)))
                delay = rng.uniform(0.0, 0.6)
                posts.create_task(self._again(again, delay, patient=patient, user_id=user))
        if rng.random() < self.habits.conflicts:
            await self._contradict(rng.choice(chosen), products, user_id=user)

    def _behaviour(
        self, number: int, about: str, products: tuple[str, ...], rng: Random
    ) -> list[Sending]:
        """Return what a shopper does with a banner, in a random order."""
        events = [
            Sending(
                event_id=f"{self.seed}-{number}-c{place}", about=about, type="click",
                product_ids=(product,),
            )
            for place, product in enumerate(products) if rng.random() < self.habits.clicks
        ]  # fmt: skip
        bought = tuple(product for product in products if rng.random() < self.habits.buys)
        if bought:
            events.append(
                Sending(
                    event_id=f"{self.seed}-{number}-p", about=about, type="purchase",
                    product_ids=bought,
                )
            )  # fmt: skip
        rng.shuffle(events)
        return events

    async def _again(
        self, events: list[Sending], delay: float, *, patient: bool, user_id: str | None
    ) -> None:
        await asyncio.sleep(delay)
        self.duplicates += len(events)
        await self._report(events, patient=patient, user_id=user_id)

    async def _contradict(
        self, event: Sending, products: tuple[str, ...], *, user_id: str | None
    ) -> None:
        """Use an event's id for another product, once the first is accepted."""
        others = [product for product in products if product not in event.product_ids]
        if others and await self._report([event], patient=True, user_id=user_id):
            self.duplicates += 1
            other = msgspec.structs.replace(event, product_ids=(others[0],), earns=False)
            if await self._report([other], patient=True, user_id=user_id):
                self.conflicts += 1

    async def _probe(self, user_id: str) -> str | None:
        shown = await self._recommend(user_id, None)
        if shown is None or shown[2]:
            return None
        recommendation_id, products, _ = shown
        click = Sending(
            event_id=f"probe-{recommendation_id}", about=recommendation_id, type="click",
            product_ids=products[:1],
        )  # fmt: skip
        return recommendation_id if await self._report([click], patient=False) else None

    async def _recommend(
        self, user_id: str, viewed: str | None
    ) -> tuple[str, tuple[str, ...], str] | None:
        """Return a banner's id, its products and what it had to do without; None: no answer."""
        body = msgspec.json.encode({"user_id": user_id, "viewed_product_id": viewed})
        sent_at = time.monotonic()
        status, content, headers = await self._post("/recommend", body)
        seconds = time.monotonic() - sent_at
        if status != 200:
            self.answers.append(Answer(sent_at, seconds, status))
            self._look_at(status, headers, "/recommend")
            return None
        answer = msgspec.json.decode(content)
        reason = answer["reason"] or ""
        self.answers.append(
            Answer(
                sent_at, seconds, status, answer["policy_version"], answer["arm"],
                answer["source"], reason,
            )
        )  # fmt: skip
        products = tuple(product["product_id"] for product in answer["products"])
        sound = len(set(products)) == len(products) == BANNER and set(products) <= self.products
        if not sound or viewed in products:
            self.wrong.append(f"a banner of {products} beside {viewed}")
        noted = BannerNoted(
            recommendation_id=answer["recommendation_id"], user_id=user_id, product_ids=products,
            answered_at=time.monotonic(),
        )  # fmt: skip
        await asyncio.to_thread(self.ledger.note, [noted])
        self._tokens[noted.recommendation_id] = answer["attribution_token"]
        self._banners[noted.recommendation_id] = products
        return noted.recommendation_id, products, reason

    async def _report(
        self, events: Sequence[Sending], *, patient: bool, user_id: str | None = None
    ) -> bool:
        """Send events; with a user they do not name the banner of their orders."""
        await asyncio.to_thread(self.ledger.note, events)
        body = msgspec.json.encode([self._wire(event, user_id) for event in events])
        gives_up = time.monotonic() + (PATIENCE_SECONDS if patient else 0.0)
        while True:
            status, content, headers = await self._post("/events", body)
            if status == 202:
                break
            self._look_at(status, headers, "/events")
            if time.monotonic() > gives_up:
                return False
            self.retried += 1
            await asyncio.sleep(float(headers.get("retry-after", 0.2)) if status else 0.2)
        results = msgspec.json.decode(content)["results"]
        outcomes = [
            OutcomeNoted(event_id=result["event_id"], outcome=result["outcome"])
            for result in results
        ]
        await asyncio.to_thread(self.ledger.note, outcomes)
        self.refused += sum(each.outcome != "accepted" for each in outcomes)
        return all(each.outcome == "accepted" for each in outcomes)

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        headers, sent_at = {"content-type": "application/json"}, time.monotonic()
        try:
            async with self._session.post(self.url + path, data=body, headers=headers) as answer:
                content = await answer.read()
                return answer.status, content, {k.lower(): v for k, v in answer.headers.items()}
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            self.failed.append(sent_at)
            waited = time.monotonic() - sent_at
            self.failures.append(f"{path} after {waited:.2f} s: {problem!r}")
            return 0, b"", {}

    def _look_at(self, status: int, headers: dict[str, str], path: str) -> None:
        """Remember an answer that may never be given."""
        if status in {0, 202}:
            return
        if status == 503 and int(headers.get("retry-after", 0)) >= 1:
            self.shed += 1
            return
        self.wrong.append(f"{path} answered {status} with {sorted(headers)}")

    def _wire(self, event: Sending, user_id: str | None) -> dict[str, Any]:
        """Return an event as it is sent; with a user an order does not name its banner."""
        told: dict[str, Any] = {
            "event_id": event.event_id,
            "type": event.type,
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        named = {"recommendation_id": event.about, "attribution_token": self._tokens[event.about]}
        if event.type == "purchase":
            items = [{"product_id": product} for product in event.product_ids]
            told |= {"order_id": f"o-{event.event_id}", "items": items}
            return told | ({"user_id": user_id} if user_id else named)
        return told | {"product_id": event.product_ids[0]} | named
