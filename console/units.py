"""One arm's sums, kept up as its units are shown banners and earn."""

from console.generations import Generations
from evidence.sums import ArmSums
from schemas.identity import fingerprint


class ArmUnits:
    """The sums of an arm, and what each unit contributed lately.

    A unit that was silent for two horizons (attribution window and lateness) can earn no more; it
    is forgotten and stays in the sums. Should the same shopper and period come again after that,
    they count as a new unit.

    Args:
        horizon_ms: attribution window and lateness.

    Example:
        >>> arm = ArmUnits(1000)
        >>> arm.add("u1", banners=1, reward=0.0, now_ms=0)
        >>> arm.add("u1", banners=0, reward=1.5, now_ms=10)
        >>> arm.sums.units, arm.sums.mean
        (1, 1.5)
    """

    def __init__(self, horizon_ms: int) -> None:
        self.sums = ArmSums()
        self._units = Generations[tuple[float, float]](horizon_ms)

    def add(self, unit: str, *, banners: int, reward: float, now_ms: int) -> None:
        """Take in banners and reward of one unit; a correction brings no banner."""
        digest = fingerprint(unit.encode())
        before = self._units.get(digest)
        self.sums = self.sums.moved(banners, reward, of=before)
        had_banners, had_reward = before or (0.0, 0.0)
        self._units.put(digest, (had_banners + banners, had_reward + reward), now_ms=now_ms)
