"""Every page in a real browser."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"], indirect=True)
ALL_WIDTHS = pytest.mark.parametrize("width", [1200, 390], indirect=True)
Ring = Any
Visit = Any


def picture(visit: Visit, name: str) -> None:
    """Keep a screenshot where somebody wants to look at them."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        visit.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_the_learning_page_says_what_both_arms_earn_and_draws_them(
    ring: Ring, visit: Visit
) -> None:
    visit.page.goto(ring.url)

    sentence = visit.page.locator("#sentence")
    expect(sentence).to_contain_text(re.compile(r"The policy's banners earn 0\.\d+ per banner"))
    expect(sentence).to_contain_text(re.compile(r"the foundation's 0\.\d+"))
    expect(visit.page.locator("#chart svg.main-svg").first).to_be_visible()
    expect(visit.page.locator("#chart .scatterlayer path.js-line")).to_have_count(6)
    expect(visit.page.locator("#cards")).to_contain_text("31 versions have served")
    expect(visit.page.locator("#signs")).to_contain_text("Variety of the first product")


def test_the_learning_page_follows_the_log(ring: Ring, visit: Visit) -> None:
    from schemas.codec import encode
    from schemas.policies import Announcement
    from streams.port import Message

    visit.page.goto(ring.url)
    expect(visit.page.locator("#cards")).to_contain_text("31 versions")

    swap = Announcement(kind="served", version=32, at_ms=1, process="serve")
    ring.log.append("policies", [Message(None, encode(swap))])

    expect(visit.page.locator("#cards")).to_contain_text("32 versions")


@pytest.mark.parametrize("banners", [0])
def test_before_the_first_reward_the_learning_page_says_so(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url)

    expect(visit.page.locator("#sentence")).to_have_text("No banner has been rewarded yet.")
    expect(visit.page.locator("#no-chart")).to_be_visible()
    picture(visit, "learning-empty")


def test_pairs_that_earn_most_together_come_with_their_factors(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url)

    lines = visit.page.locator("#pairs li")
    expect(lines).to_have_count(3)
    expect(lines.nth(0)).to_have_text("dairy/milk with grocery/coffee4.95 times")
    expect(lines.nth(1)).to_contain_text("bakery/bread with dairy/cheese or grocery/soup")
    expect(lines.nth(2)).to_contain_text("1.49 times")
    expect(visit.page.locator("#pairs-of")).to_contain_text("version 31 multiplies the odds")
    expect(visit.page.locator("#pairs-of")).to_contain_text("share a place")
    widths = lines.locator(".bar i").evaluate_all(
        "all => all.map(one => one.offsetWidth / one.parentElement.offsetWidth)"
    )
    assert widths == pytest.approx([1.0, 0.5, 0.25], abs=0.02)


@pytest.mark.parametrize("lifts", [()])
def test_a_policy_without_pairs_says_so(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url)

    expect(visit.page.locator("#pairs-of")).to_have_text(
        "Version 31 has learned of no two categories that earn more together; "
        "unless QUINTET_LEARN_PAIRS is on, it does not try to."
    )
    expect(visit.page.locator("#pairs")).to_be_hidden()


def test_a_click_changes_the_banner_and_travels_as_context(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    tiles = visit.page.locator("#banner .tile")
    expect(tiles).to_have_count(5)
    before = tiles.evaluate_all("all => all.map(one => one.dataset.product)")

    tiles.nth(2).locator(".face").click()

    expect(visit.page.locator("#viewed-title")).to_be_visible()
    expect(tiles.first).not_to_have_attribute("data-product", before[0])
    assert ring.service.recommends[-1]["viewed_product_id"] == before[2]
    clicked = ring.service.of_type("click")
    assert [event["product_id"] for event in clicked] == [before[2]]
    assert clicked[0]["attribution_token"] == "token-" + clicked[0]["recommendation_id"]


def test_a_banner_that_is_seen_is_confirmed_once(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    with visit.page.expect_response(lambda answer: answer.url.endswith("/events")):
        expect(visit.page.locator("#banner .tile")).to_have_count(5)
    visit.page.mouse.wheel(0, 3000)
    visit.page.mouse.wheel(0, -3000)
    expect(visit.page.locator("#banner .tile").first).to_be_in_viewport()

    assert len(ring.service.of_type("impression")) == 1
    assert ring.service.recommends[0]["deferred"] is True


def test_buying_posts_one_order_and_the_banner_follows(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    tiles = visit.page.locator("#banner .tile")
    expect(tiles).to_have_count(5)
    bought = tiles.evaluate_all("all => all.map(one => one.dataset.product)")[:2]

    tiles.nth(0).get_by_role("button", name=re.compile("basket")).click()
    tiles.nth(1).get_by_role("button", name=re.compile("basket")).click()
    expect(visit.page.locator("#basket-words")).to_contain_text("2 products")
    picture(visit, "storefront-basket")
    visit.page.locator("#buy").click()

    expect(visit.page.locator("#told")).to_contain_text("Bought")
    expect(visit.page.locator("#basket")).to_be_hidden()
    expect(tiles.first).not_to_have_attribute("data-product", bought[0])
    orders = ring.service.of_type("purchase")
    assert [item["product_id"] for item in orders[0]["items"]] == bought
    assert orders[0]["recommendation_id"]
    assert len(orders) == 1
    assert ring.service.recommends[-1]["purchased_product_ids"] == bought


def test_a_known_shopper_buys_under_their_own_name(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    visit.page.locator("#shopper").fill("1201")
    visit.page.locator("#shopper").blur()
    expect(visit.page.locator("#banner-title")).to_have_text("For shopper 1201")

    visit.page.locator("#banner .face").first.click()
    with visit.page.expect_response(lambda answer: answer.url.endswith("/events")):
        visit.page.locator("#buy-now").click()

    expect(visit.page.locator("#told")).to_contain_text("Bought")
    assert ring.service.of_type("purchase")[0]["user_id"] == "1201"
    assert "purchased_product_ids" not in ring.service.recommends[-1]


def test_the_catalogue_is_searched_while_typing(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    expect(visit.page.locator("#shelf .tile")).to_have_count(24)

    visit.page.locator("#query").fill("coffee")

    expect(visit.page.locator("#found")).to_have_text("5 products")
    visit.page.locator("#shelf .face").first.click()
    expect(visit.page.locator("#viewed-title")).to_contain_text("coffee")


def test_the_keyboard_alone_is_enough_to_look_at_a_product(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")
    expect(visit.page.locator("#banner .tile")).to_have_count(5)

    visit.page.locator("#banner .face").first.focus()
    visit.page.keyboard.press("Enter")

    expect(visit.page.locator("#viewed-title")).to_be_focused()


@pytest.mark.parametrize("keys", ["operator-key:operate"])
def test_with_keys_the_shop_explains_why_a_browser_cannot_report_purchases(
    ring: Ring, visit: Visit
) -> None:
    ring.service.refuse_purchases = True
    visit.page.goto(ring.url + "/storefront")
    visit.page.locator("#banner .face").first.click()

    visit.page.locator("#buy-now").click()

    expect(visit.page.locator("#trouble")).to_contain_text("only a server may report purchases")
    visit.troubles[:] = [said for said in visit.troubles if "403" not in said]


def test_a_rollback_asks_first_then_holds_and_resume_lifts_it(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/policies")
    expect(visit.page.locator("#sentence")).to_have_text("Version 31 serves.")
    asked: list[str] = []
    visit.page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    visit.page.locator("#rollback").click()
    expect(visit.page.locator("#sentence")).to_have_text("Version 31 serves.")

    visit.page.on("dialog", lambda dialog: dialog.accept())
    visit.page.locator("#rollback").click()
    expect(visit.page.locator("#sentence")).to_have_text(
        "Version 30 serves, and promotion is held."
    )
    picture(visit, "policies-held")
    visit.page.goto(ring.url)
    expect(visit.page.locator("#trouble")).to_contain_text("Held since a rollback to version 30")
    visit.page.goto(ring.url + "/policies")
    visit.page.locator("#resume").click()

    expect(visit.page.locator("#sentence")).to_have_text("Version 30 serves.")
    assert "Roll back" in asked[0]


@pytest.mark.parametrize("keys", ["operator-key:operate"])
def test_with_keys_the_page_asks_for_one_and_sends_it(ring: Ring, visit: Visit) -> None:
    visit.page.on("dialog", lambda dialog: dialog.accept())
    visit.page.goto(ring.url + "/policies")
    visit.page.locator("#rollback").click()
    expect(visit.page.locator("#told")).to_contain_text("scope operate")

    visit.page.locator("#key").fill("operator-key")
    visit.page.locator("#key").blur()
    visit.page.locator("#rollback").click()

    expect(visit.page.locator("#told")).to_contain_text("Rolled back")
    visit.troubles[:] = [said for said in visit.troubles if "403" not in said]


def test_the_storefront_leads_to_why_these_five(ring: Ring, visit: Visit) -> None:
    visit.page.goto(ring.url + "/storefront")

    why = re.compile(r"/explain/[0-9A-Z]{26}-[0-9a-f]{16}$")
    expect(visit.page.locator("#why")).to_have_attribute("href", why)


def test_one_banners_life_is_told(ring: Ring, visit: Visit) -> None:
    visit.page.goto(f"{ring.url}/explain/{ring.told}")

    expect(visit.page.locator("#sentence")).to_contain_text("earned 0.10 points")
    expect(visit.page.locator("#chosen")).to_contain_text("35 candidates")
    expect(visit.page.locator("#positions tr")).to_have_count(5)
    expect(visit.page.locator("#positions")).to_contain_text("30.1%")
    expect(visit.page.locator("#events tr")).to_have_count(2)
    expect(visit.page.locator("#revisions tr")).to_have_count(1)


@BOTH_SCHEMES
@ALL_WIDTHS
@pytest.mark.parametrize(
    ("name", "path", "ready"),
    [
        ("learning", "/", "#chart svg.main-svg"),
        ("storefront", "/storefront", "#shelf .tile"),
        ("policies", "/policies", "#versions tr"),
        ("explain", "/explain/{told}", "#positions tr"),
    ],
)
def test_no_page_is_wider_than_its_window(
    ring: Ring, visit: Visit, scheme: str, width: int, name: str, path: str, ready: str
) -> None:
    visit.page.goto(ring.url + path.format(told=ring.told))
    expect(visit.page.locator(ready).first).to_be_visible()
    if name == "storefront":
        visit.page.locator("#banner .face").nth(2).click()
        expect(visit.page.locator("#viewed-title")).to_be_visible()

    picture(visit, f"{name}-{scheme}-{width}")

    assert visit.overflow() <= 0
