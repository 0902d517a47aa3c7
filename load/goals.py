"""A figure and what it must reach."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and what it must reach; `must` None: reported only."""

    name: str
    measured: float
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = True

    @property
    def met(self) -> bool:
        """True when the must is reached, or there is none."""
        if self.must is None:
            return True
        return self.measured >= self.must if self.more_is_better else self.measured <= self.must

    @property
    def verdict(self) -> str:
        """Return it in a word; empty: it is reported only."""
        return "" if self.must is None else "met" if self.met else "MISSED"

    @property
    def shown(self) -> tuple[str, str, str, str, str]:
        """Return the cells of its row: name, must, aim, measured, verdict."""
        must, aim = ("" if value is None else f"{value:g}" for value in (self.must, self.aim))
        return self.name, must, aim, f"{self.measured:.3g}", self.verdict
