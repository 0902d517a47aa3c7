"""What must hold of a scenario is missed where it does not hold, and the page says so."""

from dataclasses import replace

import pytest

from load.crowd import Kept
from load.goals import Goal
from load.page import write_page
from load.scenarios import SMOKE, WHOLE, Flood, Flooded, Told, flood_goals, goals, scenarios
from load.schedule import Phase, Spec
from load.traffic import CAPPED, Played, Second
from load.watching import Look


def played(*seconds: Second, p99_ms: float = 10.0, **more) -> Played:
    return Played(list(seconds), p99_ms / 2, p99_ms, 1.0, 0.5, float(len(seconds)), **more)


def seconds(count: int, *, good: int = 100, shed: int = 0, wrong: int = 0) -> list[Second]:
    return [Second(good + shed + wrong, good, shed, wrong, 5.0, 10.0)] * count


def scenario(name: str):
    return next(each for each in scenarios(SMOKE) if each.name == name)


def missed(found: list[Goal]) -> list[str]:
    return [goal.name for goal in found if not goal.met]


STEADY = played(*seconds(6))


def test_a_quiet_scenario_meets_everything():
    assert missed(goals(Told(scenario("steady"), STEADY), STEADY)) == []


def test_one_wrong_answer_is_too_many():
    wrong = played(*seconds(5), *seconds(1, good=99, wrong=1))

    assert missed(goals(Told(scenario("hot user"), wrong), STEADY)) == [
        "hot user: answers that were wrong or late"
    ]


def test_an_event_that_is_refused_is_one_too_many():
    told = Told(scenario("steady"), played(*seconds(6), reported={"accepted": 9, "forged": 1}))

    assert missed(goals(told, STEADY)) == ["steady: events not accepted"]


def test_the_hot_shopper_is_capped_and_nobody_else():
    capped = Told(scenario("hot user"), played(*seconds(6), reported={"accepted": 9, CAPPED: 50}))
    others = Told(
        scenario("hot user"), played(*seconds(6), reported={CAPPED: 5, "rate_limited": 1})
    )

    assert missed(goals(capped, STEADY)) == []
    assert missed(goals(others, STEADY)) == ["hot user: events not accepted"]


def test_a_burst_may_be_shed_but_must_be_over_soon():
    base, burst = seconds(6), seconds(5, good=800, shed=150)
    good = Told(scenario("burst"), played(*base, *burst, *base))
    stormy = Told(scenario("burst"), played(*base, *burst, *seconds(6, good=90, shed=10)))

    assert missed(goals(good, STEADY)) == []
    assert missed(goals(stormy, STEADY)) == ["burst: seconds until it is calm again"]


def test_slow_senders_must_be_told_each_time():
    writers = scenario("slow clients").crowd[1]
    found = [
        goals(Told(scenario("slow clients"), STEADY, Kept(900, overdue, told, 800, 510.0)), STEADY)
        for overdue, told in ((2 * writers, 2 * writers), (2 * writers, writers), (1, 1))
    ]

    name = "slow clients: share of slow senders that got a 408"
    assert [missed(each) for each in found] == [[], [name], [name]]
    assert any("at once" in goal.name and goal.measured == 510.0 for goal in found[0])


def flooded(*floods: Flood) -> Flooded:
    return Flooded(products=10, half=played(*seconds(4)), floods=floods)


def flood(times: int, good: int, capacity: float = 100.0) -> Flood:
    went = played(*seconds(4, good=good, shed=times * 100 - good))
    return Flood(times, went, 4.0, played(*seconds(4)), capacity, capacity, 9_000.0)


def test_a_flood_must_leave_four_fifths_of_the_capacity():
    found = flood_goals(flooded(flood(2, 90), flood(4, 79)))

    assert missed(found) == ["flood x4: good answers over capacity"]


def test_each_round_is_held_against_the_capacity_around_it_and_the_middle_one_counts():
    slow, fast, poor = flood(2, 45, capacity=50.0), flood(2, 180, capacity=200.0), flood(2, 30)

    one_poor = flood_goals(flooded(slow, poor, fast))
    two_poor = flood_goals(flooded(slow, poor, poor))

    assert missed(one_poor) == []
    assert {goal.name: goal.measured for goal in one_poor}[
        "flood x2: the same in the worst round"
    ] == pytest.approx(0.3)
    assert missed(two_poor) == ["flood x2: good answers over capacity"]


def test_what_is_lost_in_any_round_counts():
    wrong = replace(flood(2, 90), played=played(*seconds(4, good=90, shed=100, wrong=10)))
    restless = replace(flood(2, 90), calm=played(*seconds(4, good=90, shed=10)))

    assert missed(flood_goals(flooded(flood(2, 90), wrong, flood(2, 90)))) == [
        "flood x2: share neither answered nor refused in time"
    ]
    assert missed(flood_goals(flooded(flood(2, 90), restless, flood(2, 90)))) == [
        "flood x2: seconds until it is calm again"
    ]


def test_of_a_flood_too_large_to_be_refused_is_judged_what_comes_after_it():
    drowned = flood(10, 20)
    restless = replace(drowned, calm=played(*seconds(4, good=90, shed=10)))

    assert missed(flood_goals(flooded(drowned))) == []
    assert missed(flood_goals(flooded(restless))) == ["flood x10: seconds until it is calm again"]


def test_a_flood_that_its_client_could_not_send_is_not_judged_but_one_must_be():
    unsent = Played(seconds(4, good=0, wrong=400), 0.0, 0.0, 900.0, 1.0, 5.0)
    late = replace(flood(4, 0), played=unsent)

    some, none, once, most = (
        flood_goals(flooded(*floods))
        for floods in (
            [flood(2, 90), late],
            [late, late],
            [late, flood(4, 90)],
            [late, flood(4, 90), flood(4, 90)],
        )
    )

    assert missed(some) == []
    assert any("not judged" in goal.name and goal.measured == 900.0 for goal in some)
    assert missed(none) == ["floods that could be judged"]
    assert missed(once) == ["floods that could be judged"]
    assert missed(most) == []


def test_a_service_that_floods_leave_lame_is_told_from_one_that_recovers():
    lame = replace(flood(2, 40), before=100.0, after=45.0)

    assert "capacity after all floods over that before" in missed(flood_goals(flooded(lame)))
    dead = replace(lame, after=0.0, before=0.0)
    assert "capacity after all floods over that before" in missed(flood_goals(flooded(dead)))


def test_whole_and_smoke_play_the_same_scenarios():
    assert [each.name for each in scenarios(WHOLE)] == [each.name for each in scenarios(SMOKE)]


def test_visits_come_at_the_rate_of_their_phase():
    spec = Spec(url="", phases=(Phase(10, 2.5), Phase(2, 25)), products=1, shoppers=1)
    due = []
    while (at := spec.due(len(due))) is not None:
        due.append(at)

    assert len(due) == 25 + 50
    assert due == sorted(due)
    assert (due[24], due[25], due[-1]) == (9.6, 10.0, 11.96)


def test_the_page_holds_everything_and_needs_no_other_host(tmp_path):
    page = tmp_path / "out" / "load.html"
    looks = [
        Look(float(at), {"serve": 90.0, "train": 400.0}, 3.0, {"banners": 2.0 * at})
        for at in (1, 2)
    ]

    write_page(
        page, told="Two <cores>.", goals=[Goal("p99 & more", 9.0, 5.0, 2.0, False)],
        played=[("steady", STEADY)], looks=looks,
    )  # fmt: skip

    text = page.read_text()
    assert '<script src="' not in text
    assert "Two &lt;cores&gt;." in text
    assert "p99 &amp; more" in text
    assert "<tr class=missed>" in text
    assert all(name in text for name in ("offered", "shed", "p99, ms", "train", "banners"))
