"""The service while its log is away: what it takes waits on disk, until that is full."""

import asyncio

from schemas.codec import encode
from schemas.events import Click, Recommended
from schemas.products import ProductUpserted
from service.watcher import WatcherSettings
from streams.errors import LogUnavailable
from streams.port import Message


def drained(shop) -> None:
    """Bring the log back, and wait until nothing waits on disk."""
    shop.log.reachable = True
    for _ in range(1_000):
        if not shop.service.spooled.spooling:
            return
        shop.service.appender.wait_idle(timeout_seconds=0.01)
        shop.service.spooled._stopping.wait(0.01)
    raise AssertionError("the spool does not drain")


def test_promise_7_an_event_answered_while_the_log_is_away_is_in_it_afterwards(
    make_shop, event, tmp_path
):
    shop = make_shop(spool_folder=tmp_path / "spool")
    shop.log.reachable = False

    banners = []
    for number in range(5):
        banners.append(shop.recommend(user_id="u1"))
        assert shop.outcomes(event(event_id=f"e{number}")) == ["accepted"]
    assert shop.service.appender.wait_idle()

    assert shop.metric("service_log_spooling") == 1
    assert shop.metric("service_spool_records") == 10
    assert shop.metric("service_spool_bytes") > 0
    assert {banner["reason"] for banner in banners} == {None}
    drained(shop)
    facts = shop.facts()
    assert [f.event_id for f in facts if isinstance(f, Click)] == [f"e{n}" for n in range(5)]
    assert [f.recommendation_id for f in facts if isinstance(f, Recommended)] == [
        banner["recommendation_id"] for banner in banners
    ]
    assert shop.metric("service_spool_drained_total") == 10
    assert shop.metric("service_spool_records") == shop.metric("service_log_spooling") == 0


def test_promise_7_a_full_spool_makes_503_with_retry_after_and_takes_nothing(
    make_shop, event, tmp_path
):
    shop = make_shop(spool_folder=tmp_path / "spool", spool_bytes=1_000)
    shop.log.reachable = False
    taken = []
    for number in range(20):
        answer = shop.send("POST", "/events", [event(event_id=f"e{number}")])
        if answer.status == 202:
            taken.append(f"e{number}")
            continue
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    assert 1 < len(taken) < 20
    assert shop.recommend()["reason"] == "log_unavailable"
    assert shop.metric("service_spool_refusals_total") > 0
    assert shop.metric("service_spool_bytes") <= 1_000

    drained(shop)
    assert shop.outcomes(event(event_id="after")) == ["accepted"]
    clicks = [f.event_id for f in shop.facts() if isinstance(f, Click)]
    assert clicks == [*taken, "after"]
    assert shop.recommend()["reason"] is None


def test_recommendations_that_find_no_room_anywhere_are_dropped_and_counted(make_shop, tmp_path):
    from service.appender import AppenderSettings

    shop = make_shop(
        spool_folder=tmp_path / "spool",
        spool_bytes=0,
        appender=AppenderSettings(queue_records=3, group_seconds=0.0),
    )
    shop.log.reachable = False

    answers = [shop.recommend() for _ in range(8)]

    assert all(len(answer["products"]) == 5 for answer in answers)
    assert answers[-1]["reason"] == "log_unavailable"
    assert shop.metric("service_recommendations_dropped_total") == 5
    assert shop.metric("service_log_queue_records") == 3


def test_an_order_in_the_inbox_waits_for_the_rows_of_the_log(
    make_shop, product, event, tmp_path, monkeypatch
):
    kept = tmp_path / "catalogue.db"
    make_shop(catalogue_file=kept)
    settings = WatcherSettings(confirm_seconds=0.1, failure_seconds=0.01, interval_seconds=0.01)
    shop = make_shop(catalogue_file=kept, products=0, serving=False, watcher=settings)
    newer = [Message(None, encode(ProductUpserted(product=product(n)))) for n in (90, 91)]
    shop.log.append("products", newer)
    order = event("purchase", event_id="o-1", order_id="o1", product_id="p91")
    shop.log.append("inbox", [Message(None, encode(order))])
    consumer, away = shop.log.consumer, [True]

    def consumer_of(topics, *, group):
        if topics == ["products"] and away:
            raise LogUnavailable("away")
        return consumer(topics, group=group)

    monkeypatch.setattr(shop.log, "consumer", consumer_of, raising=False)

    async def story() -> None:
        async with shop.service.app.router.lifespan_context(shop.service.app):
            assert len(shop.service.behaviour.state.catalogue) == 20
            await asyncio.sleep(0.2)
            away.clear()
            async with asyncio.timeout(20.0):
                while not shop.facts():  # noqa: ASYNC110 - other threads work
                    await asyncio.sleep(0.02)

    asyncio.run(story())

    (fact,) = shop.facts()
    assert fact.lines[0].row == 1
