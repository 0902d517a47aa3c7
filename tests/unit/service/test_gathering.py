"""Requests of one turn of the event loop are answered together, and fail alone."""

import asyncio
from collections.abc import Sequence

import pytest

from service.gathering import MOST, Gathering


class Doubling:
    """Answers twice the number, a complaint for a negative one, and notes who came together."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.groups: list[list[int]] = []
        self._failure = failure

    async def answer_all(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(numbers))
        if self._failure is not None:
            raise self._failure
        return [2 * number if number >= 0 else ValueError(f"no {number}") for number in numbers]


def asked(doubling: Doubling, numbers: Sequence[int]) -> list[int | BaseException]:
    async def ask() -> list[int | BaseException]:
        gathering = Gathering(doubling.answer_all)
        asking = [gathering.ask(number) for number in numbers]
        return await asyncio.gather(*asking, return_exceptions=True)

    return asyncio.run(ask())


def test_questions_of_one_turn_are_answered_together_and_each_gets_its_own_answer() -> None:
    doubling = Doubling()

    answers = asked(doubling, [3, 1, 2])

    assert answers == [6, 2, 4]
    assert doubling.groups == [[3, 1, 2]]


def test_a_question_that_cannot_be_answered_costs_the_others_nothing() -> None:
    one, other, last = asked(Doubling(), [1, -1, 2])

    assert (one, last) == (2, 4)
    assert isinstance(other, ValueError)
    assert str(other) == "no -1"


def test_a_failure_of_all_is_raised_to_everybody_who_asked() -> None:
    answers = asked(Doubling(RuntimeError("away")), [1, 2])

    assert [str(answer) for answer in answers] == ["away", "away"]


def test_a_crowd_is_answered_in_groups() -> None:
    doubling = Doubling()

    answers = asked(doubling, range(2 * MOST + 1))

    assert answers == [2 * number for number in range(2 * MOST + 1)]
    assert [len(group) for group in doubling.groups] == [MOST, MOST, 1]


def test_who_gave_up_is_not_answered_and_the_others_are() -> None:
    async def ask() -> int:
        gathering = Gathering(Doubling().answer_all)
        leaving = asyncio.ensure_future(gathering.ask(1))
        staying = asyncio.ensure_future(gathering.ask(2))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(ask()) == 4


def test_a_later_question_does_not_wait_for_an_earlier_group() -> None:
    async def ask() -> list[str]:
        let_go = asyncio.Event()
        order: list[str] = []

        async def answer_all(names: Sequence[str]) -> Sequence[str | Exception]:
            if "slow" in names:
                await let_go.wait()
            order.extend(names)
            return list(names)

        gathering = Gathering(answer_all)
        slow = asyncio.ensure_future(gathering.ask("slow"))
        for _ in range(3):
            await asyncio.sleep(0)
        await gathering.ask("quick")
        let_go.set()
        await slow
        return order

    assert asyncio.run(ask()) == ["quick", "slow"]
