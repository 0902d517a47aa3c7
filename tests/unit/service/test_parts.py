"""The pure parts: tokens, arms, keys, pins, past purchases."""

import hmac
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import history, identity
from schemas.codec import decode_event
from schemas.errors import KeysNotReadable
from schemas.keys import Keyring
from service.arms import ArmRule
from service.context import with_recent
from service.errors import TokenExpired, TokenForged
from service.past_purchases import PastOrderLines, import_purchases
from service.pins import merge
from service.tokens import Tokens

NOW_MS = 1_700_000_000_000
REC = "01ARYZ6S410000000000000000-00112233445566ff"
SHOWN = ("p1", "p2", "p3")


def tokens(*secrets: bytes) -> Tokens:
    return Tokens(secrets or (b"one",), window_seconds=3600)


def test_a_token_is_good_for_its_banner():
    token = tokens().issue(REC, SHOWN, NOW_MS)

    tokens().check(token, REC, (), NOW_MS)
    tokens().check(token, REC, SHOWN, NOW_MS)


def test_a_token_of_a_former_secret_is_accepted_until_the_secret_is_dropped():
    token = tokens(b"old").issue(REC, SHOWN, NOW_MS)

    tokens(b"new", b"old").check(token, REC, SHOWN, NOW_MS)
    with pytest.raises(TokenForged):
        tokens(b"new").check(token, REC, SHOWN, NOW_MS)


@pytest.mark.parametrize(("skew_seconds", "good"), [(-301, False), (-299, True), (3899, True)])
def test_clocks_may_differ_by_the_leeway(skew_seconds, good):
    token = tokens().issue(REC, SHOWN, NOW_MS)
    now_ms = NOW_MS + 1000 * skew_seconds

    if good:
        tokens().check(token, REC, SHOWN, now_ms)
    else:
        with pytest.raises(TokenForged):
            tokens().check(token, REC, SHOWN, now_ms)


def test_a_token_expires_with_its_window():
    token = tokens().issue(REC, SHOWN, NOW_MS)

    with pytest.raises(TokenExpired):
        tokens().check(token, REC, SHOWN, NOW_MS + 1000 * 3901)


@given(place=st.integers(0, 10_000), flip=st.integers(1, 63))
def test_no_changed_token_is_accepted(place, flip):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = tokens().issue(REC, SHOWN, NOW_MS)
    place %= len(token) - 1  # the last sign may hold unused bits
    changed = alphabet[(alphabet.index(token[place]) + flip) % 64]

    with pytest.raises(TokenForged):
        tokens().check(token[:place] + changed + token[place + 1 :], REC, (), NOW_MS)


@given(secret=st.binary(min_size=1, max_size=100))
def test_the_mac_of_a_token_is_hmac_sha256(secret):
    data = urlsafe_b64decode(tokens(secret).issue(REC, SHOWN, NOW_MS) + "==")

    expected = hmac.digest(secret, data[:-16] + REC.encode(), "sha256")[:16]
    assert data[-16:] == expected


@given(st.text(max_size=200))
def test_no_text_is_accepted_as_a_token(text):
    with pytest.raises(TokenForged):
        tokens().check(text, REC, (), NOW_MS)


def test_an_arm_is_kept_for_a_period_and_drawn_again_in_the_next():
    rule = ArmRule(b"s", control_share=0.5, period_seconds=60)
    keys = [identity.user_key(b"s", f"u{n}") for n in range(200)]

    first = [rule.assign(key, "x", NOW_MS) for key in keys]
    same = [rule.assign(key, "y", NOW_MS - NOW_MS % 60_000 + 59_999) for key in keys]
    later = [rule.assign(key, "x", NOW_MS + 60_000) for key in keys]

    assert first == same
    assert 50 < sum(a.arm != b.arm for a, b in zip(first, later, strict=True)) < 150
    assert all(a.unit != b.unit for a, b in zip(first, later, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_control_arm_has_its_share_of_users_and_of_anonymous_banners(share):
    rule = ArmRule(b"s", control_share=share)
    count = 4_000

    users = [rule.assign(n.to_bytes(8, "big"), "x", NOW_MS).arm for n in range(count)]
    anonymous = [rule.assign(None, f"ulid-{n}", NOW_MS).arm for n in range(count)]

    standard_error = (share * (1 - share) / count) ** 0.5
    for arms in (users, anonymous):
        assert abs(arms.count("control") / count - share) <= 4 * standard_error


@pytest.mark.parametrize(
    "text",
    [
        "key-12345",
        "key-12345:",
        "key-12345:admin",
        "short:operate",
        "k-123456:operate@",
        "k-123456:operate@0",
        "k-123456:operate@-1",
        "k-123456:operate@many",
        "k-123456:operate@" + "9" * 5000,
        "k-123456:operate,k-123456:operate",
    ],
)
def test_api_keys_that_cannot_be_read_are_refused_without_being_shown(text):
    with pytest.raises(KeysNotReadable) as refusal:
        Keyring.parse(text)

    assert "123456" not in str(refusal.value)


def test_spaces_and_empty_entries_between_api_keys_do_not_matter():
    assert len(Keyring.parse(" a-1234567:operate , ,b-1234567:recommend,").keys) == 2
    assert not Keyring.parse("")


@given(
    pinned=st.dictionaries(st.integers(0, 4), st.integers(100, 200), max_size=5),
    drawn=st.lists(st.integers(0, 99), max_size=5, unique=True),
)
def test_merging_pins_loses_nothing_and_keeps_the_order_of_the_drawn(pinned, drawn):
    drawn = drawn[: 5 - len(pinned)]

    rows, log_probs = merge(pinned, drawn, [-1.0] * len(drawn))

    assert sorted(rows) == sorted([*pinned.values(), *drawn])
    assert [row for row in rows if row < 100] == drawn
    assert [log_prob is None for log_prob in log_probs] == [row >= 100 for row in rows]
    if len(rows) == 5:
        assert all(rows[position] == row for position, row in pinned.items())


def test_recent_purchases_over_no_history_are_a_history_of_their_own():
    found = history.unpack(with_recent(b"", [3, 1, 2]))

    assert (found.recent.tolist(), found.orders, len(found.rows)) == ([3, 1, 2], 0, 0)


def orders(**changes) -> list[PastOrderLines]:
    fields = {"user_id": "u1", "occurred_at_ms": 5, "order_id": None, "lines": [("p1", 2)]}
    return [PastOrderLines(**(fields | changes))]


def imported(found: list[PastOrderLines]):
    told = import_purchases(found, secret=b"s", rows={"p1": 7}, now_ms=NOW_MS)
    return [message for _, message in told]


def test_a_past_order_becomes_a_purchase_that_earns_nothing():
    (message,) = imported(orders(order_id="o1"))

    fact = decode_event(message.value)
    assert message.key == fact.user_key == identity.user_key(b"s", "u1")
    assert (fact.source, fact.order_id, fact.occurred_at_ms) == ("import", "o1", 5)
    assert [(line.product_id, line.row, line.quantity) for line in fact.lines] == [("p1", 7, 2)]


def test_importing_twice_makes_the_same_events():
    assert imported(orders()) == imported(orders())
    ids = {
        decode_event(m.value).event_id for n in range(3) for m in imported(orders(occurred_at_ms=n))
    }
    assert len(ids) == 3


def test_a_large_past_order_is_several_events_of_one_order():
    messages = imported(orders(lines=[(f"p{n}", 1) for n in range(450)]))

    facts = [decode_event(message.value) for message in messages]
    assert [len(fact.lines) for fact in facts] == [200, 200, 50]
    assert len({fact.event_id for fact in facts}) == 3
    assert len({fact.order_id for fact in facts}) == 1
