"""Which arm a request belongs to: a keyed hash decides, so nobody has to remember it."""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.events import Arm

_SPAN: Final = float(2**64)


class Assignment(msgspec.Struct, frozen=True):
    """The arm of one request and the unit of evidence it counts under."""

    arm: Arm
    unit: str


@dataclass(frozen=True, slots=True)
class ArmRule:
    """How requests are shared between the arms.

    Attributes:
        secret: keys the hash, so that a shopper cannot choose an arm.
        control_share: share of units in the control arm, 0 to 1.
        period_seconds: a shopper keeps an arm for so long. Not for ever: a few heavy shoppers would
            then decide every experiment.
    """

    secret: bytes
    control_share: float = 0.1
    period_seconds: int = 86_400

    def assign(self, user_key: bytes | None, ulid: str, now_ms: int) -> Assignment:
        """Return the arm and unit of a user in this period, or without a user of the ULID.

        Example:
            >>> ArmRule(b"s", control_share=0.0).assign(None, "01ARYZ6S41", 0)
            Assignment(arm='policy', unit='01ARYZ6S41')
        """
        if user_key is None:
            unit = ulid
        else:
            unit = f"{user_key.hex()}:{now_ms // (1000 * self.period_seconds)}"
        digest = hashlib.blake2b(
            unit.encode(), digest_size=8, key=self.secret[:64], person=b"quintet-arm"
        ).digest()
        share = int.from_bytes(digest, "big") / _SPAN
        return Assignment("control" if share < self.control_share else "policy", unit)
