"""`python -m load.shoppers SPEC RESULT`: Locust's shoppers, who keep the HTTP contract.

They look at a page and get a banner; some of these are confirmed by an impression, some are
clicked, few bought from, later and through the shop's own key; some shoppers never come back. In a
process of its own, because Locust changes the standard library under everything else.

Visits come at set times, whatever the service makes of those before (open loop): each of Locust's
users has a schedule of her own, and latencies count from it.
"""

import random
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from load.errors import LoadError
from load.traffic import Outcome, Played, Tally

USERS: Final = 200
"""Locust's users: so many requests can be under way at once."""
PATIENCE_SECONDS: Final = 1.0
"""A storefront shows something else when no banner has come by then."""
_SPAWNED_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 3.0
_FOR_EVER: Final = 86_400.0
_BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
_BANNER: Final = 5
_BATCH: Final = 1_000
_EXCLUDED: Final = 1_000
_OVERSIZE: Final = 70_000
_SHED: Final = HTTPStatus.SERVICE_UNAVAILABLE
_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Phase(msgspec.Struct, frozen=True):
    """Some seconds at one rate."""

    seconds: float
    rate: float


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What the shoppers are told.

    Attributes:
        url: of the service.
        phases: one after another.
        products, shoppers: so many there are, named as `load.shop` names them.
        browser_key, server_key: of the scopes; empty: none is sent.
        hot_share: of the visits are one shopper's.
        large_share: of the visits are large: long lists, or batches of 1,000 events.
        seed: equal seeds give equal visits.
    """

    url: str
    phases: tuple[Phase, ...]
    products: int
    shoppers: int
    browser_key: str = ""
    server_key: str = ""
    hot_share: float = 0.0
    large_share: float = 0.0
    seed: int = 0

    @property
    def seconds(self) -> float:
        """Return how long all phases take."""
        return sum(phase.seconds for phase in self.phases)

    def due(self, number: int) -> float | None:
        """Return when a visit comes, seconds since the start; None: there are no more.

        Example:
            >>> spec = Spec(url="", phases=(Phase(2, 1), Phase(1, 4)), products=1, shoppers=1)
            >>> [spec.due(number) for number in range(7)]
            [0.0, 1.0, 2.0, 2.25, 2.5, 2.75, None]
        """
        start = 0.0
        for phase in self.phases:
            visits = round(phase.seconds * phase.rate)
            if number < visits:
                return start + number / phase.rate
            number -= visits
            start += phase.seconds
        return None


class Shop:
    """What all shoppers of this process share: the schedule, and what became of their visits."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tally = Tally()
        self.random = random.Random(spec.seed)  # noqa: S311 - no secret
        self.started = time.monotonic() + _SPAWNED_SECONDS
        self.spent = time.process_time()
        self.left = 0
        self._next = 0

    def now(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self.started

    def next_visit(self) -> float | None:
        """Return when the next visit is due; whoever asks makes it."""
        self._next += 1
        return self.spec.due(self._next - 1)


class Shoppers:
    """Makes the visits of one of Locust's users, and what follows from them.

    Args:
        shop: what is due.
        client: Locust's own; sends requests.
        later: calls a function with arguments after so many seconds.
    """

    def __init__(
        self,
        shop: Shop,
        client: Any,  # noqa: ANN401 - has no protocol
        later: Callable[..., object],
    ) -> None:
        self._shop, self._client, self._spawn_later = shop, client, later

    def visit(self, due: float) -> None:
        """Make the visit that was due."""
        chances, spec = self._shop.random, self._shop.spec
        chance = chances.random()
        if chance >= spec.large_share:
            self._look(due)
        elif chance < 0.4 * spec.large_share:
            self._large_batch(due)
        elif chance < 0.8 * spec.large_share:
            self._look(due, excluded=[f"none-{number}" for number in range(_EXCLUDED)])
        else:
            self._oversize(due)

    def _look(self, due: float, excluded: list[str] | None = None) -> None:
        chances, spec = self._shop.random, self._shop.spec
        is_hot = chances.random() < spec.hot_share
        user = "shopper-0" if is_hot else f"shopper-{chances.randrange(spec.shoppers)}"
        deferred = chances.random() < 0.2
        asked = {
            "user_id": user,
            "viewed_product_id": _product(chances.randrange(spec.products)),
            "deferred": deferred,
            "exclude_product_ids": excluded or [],
        }
        status, answer = self._timed(due, "/recommend", asked, spec.browser_key, _is_banner)
        if status == HTTPStatus.OK:
            self._respond(user, answer, deferred=deferred)

    def _respond(self, user: str, answer: dict[str, Any], *, deferred: bool) -> None:
        """Let her see, click and buy, each in its own time, or never come back."""
        chances = self._shop.random
        banner = {
            "recommendation_id": answer["recommendation_id"],
            "attribution_token": answer["attribution_token"],
        }
        shown = [each["product_id"] for each in answer["products"]]
        if not shown or chances.random() < 0.1:  # she never comes back
            return
        if deferred:
            self._later(chances.uniform(0.2, 1.0), {"type": "impression", **banner})
        if chances.random() < 0.15:
            product = chances.choice(shown)
            click = {"type": "click", "product_id": product, **banner}
            self._later(chances.uniform(0.6, 2.0), click)
            if chances.random() < 0.3:
                order = {
                    "type": "purchase", "user_id": user, "order_id": uuid.uuid4().hex,
                    "items": [{"product_id": product, "quantity": 1, "price_cents": 499}],
                }  # fmt: skip
                self._later(chances.uniform(1.0, 8.0), order, key=self._shop.spec.server_key)

    def _later(self, seconds: float, event: dict[str, Any], key: str | None = None) -> None:
        given = self._shop.spec.browser_key if key is None else key
        self._spawn_later(seconds, self._report, event, given, 3)

    def _report(self, event: dict[str, Any], key: str, tries: int) -> None:
        event = {"event_id": uuid.uuid4().hex, "occurred_at": _now()} | event
        status, answer, headers = self._post("/events", [event], key)
        if status == _SHED and "Retry-After" in headers and tries > 1:
            self._spawn_later(float(headers["Retry-After"]), self._report, event, key, tries - 1)
            return
        outcome = (
            answer["results"][0]["outcome"] if status == HTTPStatus.ACCEPTED else f"status {status}"
        )
        self._shop.tally.reported[outcome] += 1

    def _large_batch(self, due: float) -> None:
        events = [
            {"event_id": uuid.uuid4().hex, "type": "add_to_cart", "occurred_at": _now(),
             "user_id": f"shopper-{self._shop.random.randrange(self._shop.spec.shoppers)}",
             "product_id": _product(self._shop.random.randrange(self._shop.spec.products))}
            for _ in range(_BATCH)
        ]  # fmt: skip
        self._timed(due, "/events", events, self._shop.spec.server_key, _is_taken)

    def _oversize(self, due: float) -> None:
        body = {"user_id": "x" * _OVERSIZE}
        key = self._shop.spec.browser_key
        self._timed(due, "/recommend", body, key, lambda status, _: status == _TOO_LARGE)

    def _timed(
        self, due: float, path: str, body: object, key: str,
        is_right: Callable[[int, Any], bool],
    ) -> tuple[int, Any]:  # fmt: skip
        sent = self._shop.now()
        status, answer, headers = self._post(path, body, key)
        done = self._shop.now()
        outcome: Outcome = "wrong"
        if status == _SHED and headers.get("Retry-After"):
            outcome = "shed"
        elif not is_right(status, answer):
            self._shop.tally.faults[f"{path} {status}"] += 1
        elif done - due > PATIENCE_SECONDS:
            self._shop.tally.faults[f"{path} late"] += 1
        else:
            outcome = "good"
        self._shop.tally.add(due=due, sent=sent, done=done, outcome=outcome)
        return status, answer

    def _post(self, path: str, body: object, key: str) -> tuple[int, Any, Any]:
        address = self._shop.random.getrandbits(24)
        headers = {
            "Content-Type": "application/json", "User-Agent": _BROWSER,
            # As a proxy in front of the service tells it.
            "X-Forwarded-For": f"10.{address >> 16}.{address >> 8 & 255}.{address & 255}",
        }  # fmt: skip
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with self._client.post(
            path, data=msgspec.json.encode(body), headers=headers, catch_response=True
        ) as answer:
            answer.success()  # judged here, not by Locust
            status = int(answer.status_code or 0)
            try:
                read = msgspec.json.decode(answer.content or b"null")
            except msgspec.DecodeError:
                return status, None, {}
            return status, read, answer.headers or {}


def _product(number: int) -> str:
    return f"product-{number}"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _is_banner(status: int, answer: Any) -> bool:  # noqa: ANN401 - decoded JSON
    return (
        status == HTTPStatus.OK
        and len({each["product_id"] for each in answer["products"]}) == _BANNER
    )


def _is_taken(status: int, answer: Any) -> bool:  # noqa: ANN401 - decoded JSON
    return status == HTTPStatus.ACCEPTED and all(
        each["outcome"] == "accepted" for each in answer["results"]
    )


def play(spec: Spec) -> Played:
    """Let the shoppers come; return what became of them."""
    # Here and not above: it changes the standard library of the process that imports it.
    import gevent
    from locust import FastHttpUser, task
    from locust.env import Environment

    shop = Shop(spec)

    class Shopper(FastHttpUser):
        """One of Locust's users: makes whichever visit is due next."""

        network_timeout = connection_timeout = 10.0

        @task
        def visit(self) -> None:
            """Wait until the next visit is due, and make it."""
            due = shop.next_visit()
            if due is None:
                shop.left += 1
                gevent.sleep(_FOR_EVER)
                return
            gevent.sleep(max(0.0, due - shop.now()))
            Shoppers(shop, self.client, gevent.spawn_later).visit(due)

    runner = Environment(user_classes=[Shopper], host=spec.url).create_local_runner()
    runner.start(USERS, spawn_rate=USERS)
    end = spec.seconds + PATIENCE_SECONDS + _LAST_SECONDS
    while shop.left < USERS and shop.now() < end:
        gevent.sleep(0.1)
    share = (time.process_time() - shop.spent) / (shop.now() + _SPAWNED_SECONDS)
    gevent.sleep(_LAST_SECONDS)
    runner.quit()
    return shop.tally.played(seconds=round(spec.seconds), cpu_share=share)


def main(spec_file: Path, result: Path) -> None:
    """Read the spec, play, write what was measured."""
    spec = msgspec.json.decode(spec_file.read_bytes(), type=Spec)
    if not spec.phases:
        raise LoadError("a spec needs a phase")
    result.write_bytes(msgspec.json.encode(play(spec)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
