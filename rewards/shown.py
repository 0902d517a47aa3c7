"""What a reward repeats of its banner: kept packed, and opened again at every revision."""

from typing import Final

import msgspec

from rewards.attribution import Earned
from rewards.errors import LedgerNotReadable
from schemas.events import Arm, Recommended, Source
from schemas.rewards import Reward


class Shown(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The example that the banner is for the trainer; fields as in `schemas.rewards.Reward`."""

    unit: str
    arm: Arm
    source: Source
    trainable: bool
    policy_version: int
    catalogue_version: int
    viewed_row: int
    history: bytes
    candidates: bytes
    rows: tuple[int, ...]
    log_probs: tuple[float | None, ...]
    product_ids: tuple[str, ...]
    deferred: bool
    of_user: bool

    def without_shopper(self) -> "Shown":
        """Return what may be said of a banner of an erased user: no context, and not to train on.

        The reward still counts, so no impression is lost in either arm.
        """
        return msgspec.structs.replace(
            self, trainable=False, viewed_row=-1, history=b"", candidates=b""
        )

    def reward(
        self,
        recommendation_id: str,
        earned: Earned,
        *,
        before: tuple[float, ...],
        revision: int,
        settled_at_ms: int,
        caused_at_ms: int | None,
        specification: str,
    ) -> Reward:
        """Return the record of a settlement or a correction.

        Args:
            recommendation_id: of the banner.
            earned: what it earned so far.
            before: (K,) points of the revision before; empty for the settlement.
            revision: from 0.
            settled_at_ms: stream time.
            caused_at_ms: append time of what caused it; None: time did.
            specification: version of the reward specification.
        """
        points = earned.points
        delta = points
        if before:
            delta = tuple(now - then for now, then in zip(points, before, strict=True))
        return Reward(
            recommendation_id=recommendation_id,
            revision=revision,
            settled_at_ms=settled_at_ms,
            caused_at_ms=caused_at_ms,
            specification=specification,
            unit=self.unit,
            arm=self.arm,
            source=self.source,
            trainable=self.trainable,
            points=points,
            delta=delta,
            clicked=earned.clicked,
            bought=earned.bought,
            policy_version=self.policy_version,
            catalogue_version=self.catalogue_version,
            viewed_row=self.viewed_row,
            history=self.history,
            candidates=self.candidates,
            rows=self.rows,
            log_probs=self.log_probs,
        )


_DECODER: Final = msgspec.msgpack.Decoder(Shown)
_ENCODER: Final = msgspec.msgpack.Encoder()


def pack(event: Recommended) -> bytes:
    """Return the packed form of what a reward repeats of a recommendation."""
    return _ENCODER.encode(
        Shown(
            unit=event.unit,
            arm=event.arm,
            source=event.source,
            trainable=event.trainable,
            policy_version=event.policy_version,
            catalogue_version=event.catalogue_version,
            viewed_row=event.viewed_row,
            history=event.history,
            candidates=event.candidates,
            rows=event.rows,
            log_probs=event.log_probs,
            product_ids=event.product_ids,
            deferred=event.deferred,
            of_user=event.user_key is not None,
        )
    )


def unpack(data: bytes) -> Shown:
    """Return what `pack` packed.

    Raises:
        LedgerNotReadable: the bytes follow another layout.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise LedgerNotReadable(f"a kept banner is not readable: {problem}") from problem
