"""Is the ring turning? Banners, rewards, updates, what serves, each with its age: pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cli.doctor.findings import Finding, ago, fail, ok, warn
from console.audit import Counts

GRACE_MS: Final = 30_000
"""How long each link may take beyond what it waits for by design."""
_BEHIND_RECORDS: Final = 10_000
_TRAINER_GRACE_MS: Final = 60_000
_BATCHES_BEHIND: Final = 4


@dataclass(frozen=True, slots=True)
class RingFacts:
    """Where each link of the ring stands; times are append times, milliseconds since 1970.

    Attributes:
        now_ms: the clock.
        settlement_ms: a banner without an earning event settles after so long.
        batch_banners: rewarded banners of one update.
        banner_ms: the newest banner.
        due_ms: the newest banner that is no longer waited for: its reward must be there.
        reward_ms: the newest reward.
        untrained: rewards that the newest snapshot does not hold.
        update_ms: when a policy was published last.
        live_version: of the registry's pointer.
        live_ms: when the pointer was moved.
        served_version: that a server swapped to last.
        served_ms: when.
        rejected: why servers refused the live version; empty: they did not.
        refused: the trainer found something that was not finite, and learns nothing.
        lag: events that the aggregator has not committed; None: it was not asked.
        counts: from the console's audit; None: no console answers.
        letters: dead letters not replayed, by reason.
        serving: a server of this data directory is up on this machine.
    """

    now_ms: int
    settlement_ms: int = 5_000
    batch_banners: int = 256
    banner_ms: int | None = None
    due_ms: int | None = None
    reward_ms: int | None = None
    untrained: int = 0
    update_ms: int | None = None
    live_version: int | None = None
    live_ms: int = 0
    served_version: int | None = None
    served_ms: int | None = None
    rejected: str = ""
    refused: bool = False
    lag: int | None = None
    counts: Counts | None = None
    letters: Mapping[str, int] = field(default_factory=dict)
    serving: bool = False


def judge_ring(ring: RingFacts) -> list[Finding]:
    """Return one finding for each link, then what was lost, doubled or could not be read."""
    return [
        _banners(ring),
        _rewards(ring),
        _training(ring),
        _serving(ring),
        *_exactly_once(ring),
        _letters(ring),
    ]


def _banners(ring: RingFacts) -> Finding:
    if ring.banner_ms is None:
        return warn(
            "banners",
            "none is in the log so far",
            "ask for one: POST /recommend, or `quintet simulate`",
        )
    return ok("banners", f"the last was recommended {ago(ring.now_ms, ring.banner_ms)}")


def _rewards(ring: RingFacts) -> Finding:
    remedy = "is `quintet aggregate` up? look at its log"
    said = "none so far"
    if ring.reward_ms is not None:
        said = f"the last was settled or corrected {ago(ring.now_ms, ring.reward_ms)}"
    if ring.due_ms is not None and (ring.reward_ms is None or ring.reward_ms < ring.due_ms):
        return fail(
            "rewards",
            f"they stand still: {said}, but a banner of {ago(ring.now_ms, ring.due_ms)} is due",
            remedy,
        )
    if ring.lag is not None and ring.lag > _BEHIND_RECORDS:
        return warn(
            "rewards",
            f"{said}; the aggregator is {ring.lag:,} events behind",
            "it follows by itself; on Kafka start another `quintet aggregate`",
        )
    lag = "" if ring.lag is None else f", {ring.lag:,} events behind"
    return ok("rewards", said + lag)


def _training(ring: RingFacts) -> Finding:
    if ring.refused:
        return fail(
            "training",
            "the trainer refuses to learn: something is not finite",
            "`quintet policies rollback`, then `quintet policies resume`",
        )
    said = "no update so far"
    if ring.update_ms is not None:
        said = f"the last update was published {ago(ring.now_ms, ring.update_ms)}"
    said += f", {ring.untrained:,} rewards are not in it"
    late = ring.now_ms - (ring.update_ms or 0) > _TRAINER_GRACE_MS
    if late and ring.untrained > _BATCHES_BEHIND * ring.batch_banners:
        return fail(
            "training",
            f"it stands still or is behind: {said}",
            "is `quintet train` up? look at its log",
        )
    return ok("training", said)


def _serving(ring: RingFacts) -> Finding:
    if ring.live_version is None:
        return warn("serving", "nothing is live", "run `quintet pretrain`")
    if ring.rejected:
        return fail(
            "serving",
            f"servers refused version {ring.live_version}: {ring.rejected}",
            "`quintet policies rollback`; what served before still does",
        )
    waited = ring.now_ms - ring.live_ms > GRACE_MS
    if ring.serving and waited and ring.served_version != ring.live_version:
        return fail(
            "serving",
            f"version {ring.live_version} is live since {ago(ring.now_ms, ring.live_ms)}"
            f", but servers told last of version {ring.served_version}",
            "do servers see the same data directory? look at the log of `quintet serve`",
        )
    if ring.served_version is None or ring.served_ms is None:
        return ok("serving", f"version {ring.live_version} is live; no server has told of it")
    return ok("serving", f"version {ring.served_version} since {ago(ring.now_ms, ring.served_ms)}")


def _exactly_once(ring: RingFacts) -> list[Finding]:
    counts = ring.counts
    if counts is None:
        return [ok("exactly once", "not counted: no console answers here (it keeps the audit)")]
    found = []
    if counts.lost:
        found.append(
            fail(
                "exactly once",
                f"{counts.lost:,} of {counts.expected:,} banners were passed over without a reward",
                "keep the log; look for `dead_letters` and restarts in the aggregator's log",
            )
        )
    if counts.doubled:
        found.append(
            fail(
                "exactly once",
                f"{counts.doubled:,} banners were rewarded twice",
                "do two rings write into this log, or was a backup put back?",
            )
        )
    if counts.waiting:
        found.append(
            warn(
                "exactly once",
                f"{counts.waiting:,} banners are overdue",
                "is `quintet aggregate` up? it follows by itself",
            )
        )
    said = f"{counts.expected:,} banners due a reward, none lost, none doubled"
    return found or [ok("exactly once", said)]


def _letters(ring: RingFacts) -> Finding:
    count = sum(ring.letters.values())
    if not count:
        return ok("dead letters", "none waits")
    reason = max(ring.letters, key=ring.letters.__getitem__)
    return warn(
        "dead letters",
        f"{count:,} events could not be read, most because: {reason}",
        "`quintet dead-letters list`; mend the cause, then `quintet dead-letters replay`",
    )
