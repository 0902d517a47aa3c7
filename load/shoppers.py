"""`python -m load.shoppers SPEC RESULT`: Locust's shoppers, who keep the HTTP contract.

They look at a page and get a banner; some of these are confirmed by an impression, some are
clicked, few bought from, later and through the shop's own key; some shoppers never come back. In a
process of its own, because Locust changes the standard library under everything else.

Visits come at set times, whatever the service makes of those before (open loop): each of Locust's
users has a schedule of her own, and latencies count from it.
"""

import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from load.errors import LoadError
from load.schedule import LAST_SECONDS, SPAWNED_SECONDS, Shop, Spec
from load.traffic import CAPPED, Outcome, Played
from service.limits import BrowserLimits

T = TypeVar("T")
USERS: Final = 200
"""Locust's users: so many requests can be under way at once."""
PATIENCE_SECONDS: Final = 1.0
"""A storefront shows something else when no banner has come by then."""
_HOT: Final = "shopper-0"
_HOT_ALLOWED: Final = BrowserLimits().per_user // 2
"""She is over her cap no sooner; part of it may have gone to a visit of hers just before."""
_FOR_EVER: Final = 86_400.0
_BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
_BANNER: Final = 5
_BATCH: Final = 1_000
_EXCLUDED: Final = 1_000
_OVERSIZE: Final = 70_000
_SHED: Final = HTTPStatus.SERVICE_UNAVAILABLE
_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class _Shown(msgspec.Struct):
    product_id: str


class _Banner(msgspec.Struct):
    recommendation_id: str
    attribution_token: str
    products: list[_Shown]


class _Result(msgspec.Struct):
    outcome: str


class _Taken(msgspec.Struct):
    results: list[_Result]


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
        user = _HOT if is_hot else f"shopper-{chances.randrange(spec.shoppers)}"
        deferred = chances.random() < 0.2
        asked = {
            "user_id": user,
            "viewed_product_id": _product(chances.randrange(spec.products)),
            "deferred": deferred,
            "exclude_product_ids": excluded or [],
        }
        status, answer = self._timed(due, "/recommend", asked, spec.browser_key, _is_banner)
        read = _read(answer, _Banner)
        if status == HTTPStatus.OK and read is not None:
            self._respond(user, read, deferred=deferred)

    def _respond(self, user: str, answer: _Banner, *, deferred: bool) -> None:
        """Let her see, click and buy, each in its own time, or never come back."""
        chances = self._shop.random
        banner = {
            "recommendation_id": answer.recommendation_id,
            "attribution_token": answer.attribution_token,
        }
        shown = [each.product_id for each in answer.products]
        if not shown or chances.random() < 0.1:  # she never comes back
            return
        if deferred:
            self._later(chances.uniform(0.2, 1.0), user, {"type": "impression", **banner})
        if chances.random() < 0.15:
            product = chances.choice(shown)
            click = {"type": "click", "product_id": product, **banner}
            self._later(chances.uniform(0.6, 2.0), user, click)
            if chances.random() < 0.3:
                order = {
                    "type": "purchase", "user_id": user, "order_id": uuid.uuid4().hex,
                    "items": [{"product_id": product, "quantity": 1, "price_cents": 499}],
                }  # fmt: skip
                self._later(chances.uniform(1.0, 8.0), user, order, key=self._shop.spec.server_key)

    def _later(
        self, seconds: float, user: str, event: dict[str, Any], key: str | None = None
    ) -> None:
        given = self._shop.spec.browser_key if key is None else key
        self._spawn_later(seconds, self._report, user, event, given, 3)

    def _report(self, user: str, event: dict[str, Any], key: str, tries: int) -> None:
        event = {"event_id": uuid.uuid4().hex, "occurred_at": _now()} | event
        self._shop.reports[event["event_id"]] = self._shop.now()
        status, answer, headers = self._post("/events", [event], key)
        del self._shop.reports[event["event_id"]]
        pause = headers.get("Retry-After") or ""
        if status == _SHED and pause.isdigit() and tries > 1:
            self._spawn_later(float(pause), self._report, user, event, key, tries - 1)
            return
        taken = _read(answer, _Taken)
        outcome = f"status {status}"
        if status == HTTPStatus.ACCEPTED:
            outcome = taken.results[0].outcome if taken and taken.results else "unreadable"
        if user == _HOT and key == self._shop.spec.browser_key:
            self._shop.hot_taken += outcome == "accepted"
            if outcome == "rate_limited" and self._shop.hot_taken >= _HOT_ALLOWED:
                outcome = CAPPED
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
        sent = self._shop.visits[due] = self._shop.now()
        status, answer, headers = self._post(path, body, key)
        done = self._shop.now()
        outcome: Outcome = "wrong"
        is_shed = status == _SHED and bool(headers.get("Retry-After"))
        if not is_shed and not is_right(status, answer):
            self._shop.tally.faults[f"{path} {status}"] += 1
        elif done - due > PATIENCE_SECONDS:
            self._shop.tally.faults[f"{path} late"] += 1
        else:
            outcome = "shed" if is_shed else "good"
        del self._shop.visits[due]
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
            except (msgspec.DecodeError, UnicodeDecodeError):
                return status, None, {}
            return status, read, answer.headers or {}


def _product(number: int) -> str:
    return f"product-{number}"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _read(answer: Any, kind: type[T]) -> T | None:  # noqa: ANN401 - decoded JSON
    """Return an answer as what it should be; None: it is not."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        return None


def _is_banner(status: int, answer: Any) -> bool:  # noqa: ANN401 - decoded JSON
    read = _read(answer, _Banner)
    return (
        status == HTTPStatus.OK
        and read is not None
        and len({each.product_id for each in read.products}) == _BANNER
    )


def _is_taken(status: int, answer: Any) -> bool:  # noqa: ANN401 - decoded JSON
    read = _read(answer, _Taken)
    return (
        status == HTTPStatus.ACCEPTED
        and read is not None
        and [each.outcome for each in read.results] == ["accepted"] * _BATCH
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
    end = spec.seconds + PATIENCE_SECONDS + LAST_SECONDS
    while shop.left < USERS and shop.now() < end:
        gevent.sleep(0.1)
    share = (time.process_time() - shop.spent) / (shop.now() + SPAWNED_SECONDS)
    gevent.sleep(LAST_SECONDS)
    runner.quit()
    if not spec.is_limit:
        shop.close()
    return shop.tally.played(seconds=round(spec.seconds), cpu_share=share)


def main(spec_file: Path, result: Path) -> None:
    """Read the spec, play, write what was measured."""
    spec = msgspec.json.decode(spec_file.read_bytes(), type=Spec)
    if not spec.phases:
        raise LoadError("a spec needs a phase")
    result.write_bytes(msgspec.json.encode(play(spec)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
