"""What is let in: bounds by kind of request, which shrink while banners take too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.admission import Admission, AdmissionSettings, Lane, next_share
from service.connections import NOT_HTTP, PIPELINED, SLOW_READER, SLOW_REQUEST
from service.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refused():
    return []


@pytest.fixture
def admission(clock, refused):
    settings = AdmissionSettings(target_seconds=0.1, look_seconds=1.0, banners=64, events=128)
    return Admission(settings, refused=refused.append, monotonic=clock)


def after_a_look(admission, clock, *, banner_seconds: float):
    """Answer banners for a second, then one more; return the lanes of banners and events."""
    banners, events = admission.lane(b"/recommend", []), admission.lane(b"/events", [])
    banners.took(banner_seconds)
    clock.now += 1.1
    banners.took(banner_seconds)
    return banners, events


@pytest.mark.parametrize("url", [b"/livez", b"/readyz", b"/metrics"])
def test_what_operators_look_at_is_let_in_whatever_happens(admission, url):
    assert admission.lane(url, []) is None


@pytest.mark.parametrize("url", [b"/recommend", b"/recommend?", b"/recommend?key=x"])
def test_banners_are_bounded_together_whatever_key_the_page_names(admission, url):
    assert admission.lane(url, [(b"content-length", b"70000")]).reason == "banners"


@pytest.mark.parametrize(
    "url",
    [
        b"/recommendx",
        b"/docs",
        b"/%72ecommend",
        b"/%65vents",
        b"http://h/events",
        b"/livez?x",
        b"*",
    ],
)
def test_whatever_else_is_asked_and_however_it_is_spelt_is_bounded(admission, url):
    assert admission.lane(url, []).reason == "others"


@pytest.mark.parametrize("length", [b"65537", b"2000000", b"9" * 30, b"9" * 30_000])
def test_a_large_body_is_bounded_apart_from_events(admission, length):
    lane = admission.lane(b"/events", [(b"content-length", length)])

    assert lane.reason == "large_bodies"
    assert lane.waits_for_body


def test_a_body_of_unknown_size_counts_as_large(admission):
    assert admission.lane(b"/events", [(b"transfer-encoding", b"chunked")]).waits_for_body


@pytest.mark.parametrize("length", [b"0", b"65536", b"x", b"-1", b""])
def test_a_small_body_of_events_is_no_large_one(admission, length):
    assert admission.lane(b"/events?key=k", [(b"content-length", length)]).reason == "events"


def test_slow_banners_shrink_what_is_let_in(admission, clock):
    banners, events = after_a_look(admission, clock, banner_seconds=0.16)

    assert (banners.limit, events.limit) == (40, 80)


def test_one_long_stall_at_most_halves_what_is_let_in(admission, clock):
    banners, _ = after_a_look(admission, clock, banner_seconds=30.0)

    assert banners.limit == 32


def test_what_is_let_in_grows_back_while_somebody_is_refused(admission, clock):
    after_a_look(admission, clock, banner_seconds=30.0)
    admission.refuse("banners")

    banners, _ = after_a_look(admission, clock, banner_seconds=0.01)

    assert banners.limit == 35


def test_what_is_let_in_grows_back_though_no_banner_is_timed(admission, clock):
    _, events = after_a_look(admission, clock, banner_seconds=30.0)
    assert events.limit == 64
    admission.refuse("events")
    admission.look()
    assert events.limit == 64

    clock.now += 1.1
    admission.look()

    assert events.limit == 70
    clock.now += 1.1
    admission.look()
    assert events.limit == 70


def test_slow_events_cost_nobody_a_banner(admission, clock):
    events = admission.lane(b"/events", [])
    events.took(30.0)
    clock.now += 1.1
    events.took(30.0)

    assert admission.lane(b"/recommend", []).limit == 64


def test_every_refusal_is_told_by_its_reason(admission, refused):
    admission.refuse("events")

    assert refused == ["events"]


@given(
    share=st.floats(1 / 8, 1.0),
    means=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50),
    refused=st.booleans(),
)
def test_the_share_never_leaves_its_bounds_and_never_moves_against_the_delay(share, means, refused):
    for mean in means:
        moved = next_share(share, mean_seconds=mean, target_seconds=0.1, refused=refused)

        assert 1 / 8 <= moved <= 1.0
        assert moved <= share if mean > 0.1 else moved >= share
        share = moved


def test_every_reason_to_turn_somebody_away_is_there_before_it_happens():
    registry = CollectorRegistry()
    Metrics(registry)
    lanes = vars(Admission(AdmissionSettings(), refused=print, monotonic=float)).values()
    own = {each.reason for each in lanes if isinstance(each, Lane)}

    found = {
        sample.labels["reason"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "service_shed_total"
    }

    assert len(own) == 4
    assert found == own | {NOT_HTTP, PIPELINED, SLOW_READER, SLOW_REQUEST}
