"""Reward records as training examples, one by one and as tensors of a batch.

Dimensions: B records in a batch, C candidates, K = 5 positions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policy.torch_batch import PreparedBatch
from policy.torch_context import pack_candidates, pack_contexts
from policy.torch_network import TorchPolicy
from schemas import candidates as candidate_rows
from schemas import history as histories
from schemas.codec import decode_reward, encode
from schemas.errors import SchemaError
from schemas.limits import BANNER_SIZE
from schemas.rewards import Reward
from trainer.errors import RewardNotUsable

_POINTS_LIMIT: Final = 1e6
"""Points or log-probabilities beyond are no rewards but faults, and would drown a batch."""
_ROUNDING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Example:
    """One reward record, read and checked.

    Attributes:
        reward: the record.
        candidates: (C,) int32 rows the policy chose among, ascending.
        slots: (K',) int64, where among the candidates each drawn product stands.
        positions: (K',) int64, the drawn positions; pinned ones are missing.
    """

    reward: Reward
    candidates: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]


def read_example(reward: Reward, products: int) -> Example:
    """Return a trainable reward record as an example.

    Args:
        reward: a record whose banner a policy drew.
        products: rows of the catalogue it was drawn from.

    Raises:
        RewardNotUsable: it contradicts itself or the catalogue; the text says in what.
    """
    size = len(reward.rows)
    lengths = {size, len(reward.points), len(reward.delta), len(reward.log_probs)}
    if len(lengths) != 1 or not 0 < size <= BANNER_SIZE:
        raise RewardNotUsable(
            f"rows, points, delta and log_probs must have one length in 1..{BANNER_SIZE}"
        )
    try:
        candidates = candidate_rows.unpack(reward.candidates)
        history = histories.unpack(reward.history)
    except SchemaError as problem:
        raise RewardNotUsable(str(problem)) from problem
    _check_numbers(reward)
    if len(history.rows) and not (
        math.isfinite(history.decayed.sum()) and history.last.max() <= history.orders
    ):
        raise RewardNotUsable("the history has a repeat after the last order, or no finite count")
    if not len(candidates) or candidates[-1] >= products:
        raise RewardNotUsable(f"no candidates, or one beyond the catalogue's {products} rows")
    positions = [k for k, value in enumerate(reward.log_probs) if value is not None]
    drawn = [reward.rows[k] for k in positions]
    if len(set(drawn)) != len(drawn) or not drawn:
        raise RewardNotUsable("nothing was drawn, or a product stands twice on the banner")
    slots = candidates.searchsorted(drawn)
    if candidates.take(slots, mode="clip").tolist() != drawn:
        raise RewardNotUsable("a drawn product is not among the candidates")
    return Example(reward, candidates, slots, np.array(positions))


def _check_numbers(reward: Reward) -> None:
    log_probs = [value for value in reward.log_probs if value is not None]
    numbers = (*reward.points, *reward.delta, *log_probs)
    if max(numbers) > _POINTS_LIMIT or min(numbers) < -_POINTS_LIMIT:
        raise RewardNotUsable("points or log-probabilities are not finite or beyond a million")
    if log_probs and max(log_probs) > _ROUNDING:
        raise RewardNotUsable("a log-probability is above zero")


def pack_records(examples: Sequence[Example]) -> npt.NDArray[np.uint8]:
    """Return the records of examples as bytes, one packed record after its length."""
    records = [encode(example.reward) for example in examples]
    packed = b"".join(len(record).to_bytes(4, "little") + record for record in records)
    return np.frombuffer(packed, np.uint8).copy()


def unpack_records(array: npt.NDArray[np.uint8]) -> list[Reward]:
    """Return the records of `pack_records`."""
    packed, rewards, at = array.tobytes(), [], 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "little")
        rewards.append(decode_reward(packed[at + 4 : end]))
        at = end
    return rewards


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of examples.

    Attributes:
        prepared: contexts and candidates, ready to be scored.
        rows: (B, K) int64 of all products shown, pinned ones too; -1 beyond the end.
        banner: (B, K) int64 slots of the drawn products, 0 where none was drawn.
        drawn: (B, K) bool.
        behaviour_log_prob: (B, K) float32, under the policy that drew; 0 where none was drawn.
        points: (B, K) float64, points of each position now.
        delta: (B, K) float64, points minus those of the revision before.
        is_settlement: (B,) bool, False for corrections.
        has_position: (B, K) bool, False beyond the end of a short banner.
    """

    prepared: PreparedBatch
    rows: npt.NDArray[np.int64]
    banner: Tensor
    drawn: Tensor
    behaviour_log_prob: Tensor
    points: npt.NDArray[np.float64]
    delta: npt.NDArray[np.float64]
    is_settlement: npt.NDArray[np.bool_]
    has_position: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.is_settlement)


def batch_of(examples: Sequence[Example], policy: TorchPolicy) -> Batch:
    """Return examples as tensors on the policy's device."""
    shape = (len(examples), BANNER_SIZE)
    banner, drawn = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    log_prob, has_position = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    points, delta = np.zeros(shape), np.zeros(shape)
    rows = np.full(shape, -1)
    for number, example in enumerate(examples):
        reward, size = example.reward, len(example.reward.rows)
        banner[number, example.positions] = example.slots
        drawn[number, example.positions] = True
        log_prob[number, :size] = [value or 0.0 for value in reward.log_probs]
        points[number, :size], delta[number, :size] = reward.points, reward.delta
        has_position[number, :size] = True
        rows[number, :size] = reward.rows
    contexts = pack_contexts(
        [example.reward.viewed_row for example in examples],
        [example.reward.history for example in examples],
        policy.features,
    )
    candidates = pack_candidates([example.candidates for example in examples], policy.products)
    device = policy.device
    return Batch(
        prepared=policy.prepare(contexts, candidates),
        rows=rows,
        banner=torch.from_numpy(banner).to(device),
        drawn=torch.from_numpy(drawn).to(device),
        behaviour_log_prob=torch.from_numpy(log_prob).to(device),
        points=points,
        delta=delta,
        is_settlement=np.array([example.reward.revision == 0 for example in examples]),
        has_position=has_position,
    )


def causes_ms(examples: Sequence[Example]) -> tuple[int, ...]:
    """Return the append times of the events that examples teach."""
    causes = (example.reward.caused_at_ms for example in examples)
    return tuple(cause for cause in causes if cause is not None)
