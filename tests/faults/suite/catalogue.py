"""The faults that are known: what each stands on, and who plays it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.suite.load import Habits
from tests.faults.suite.scene import Scene


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: F1 to F20, with a letter for a variant.
        title: what is done.
        play: strikes, heals, waits for the recovery and judges.
        settings: of the ring, beyond those of every scene.
        kafka, redis: what the ring stands on; `proxied`: Kafka is behind a proxy.
        begins: False: `play` starts the ring itself.
        rate: shoppers a second.
        habits: of the shoppers.
        p99: most that the p99 may grow by, as a factor; None: no bound.
    """

    name: str
    title: str
    play: Callable[[Scene], None]
    settings: dict[str, str] = field(default_factory=dict)
    kafka: bool = False
    redis: bool = False
    proxied: bool = False
    begins: bool = True
    rate: float = 40.0
    habits: Habits = field(default_factory=Habits)
    p99: float | None = None


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, title: str, *, kafka: bool = False, redis: bool = False, proxied: bool = False,
    begins: bool = True, rate: float = 40.0, habits: Habits | None = None,
    p99: float | None = None, **settings: str,
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:  # fmt: skip
    """Enter a function into the catalogue of faults."""

    def enter(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
        FAULTS[name] = Fault(
            name,
            title,
            play,
            settings,
            kafka,
            redis,
            proxied,
            begins,
            rate,
            habits or Habits(),
            p99,
        )
        return play

    return enter
