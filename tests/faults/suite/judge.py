"""What holds of every fault, once its shoppers have gone and nothing is left to be done."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress

from schemas.codec import decode_event, decode_reward
from schemas.errors import SchemaError
from schemas.events import Recommended
from schemas.identity import fingerprint
from schemas.rewards import Reward
from streams.port import Record
from tests.faults.suite import ledger, reducer, replay
from tests.faults.suite.finding import Finding
from tests.faults.suite.ledger import BannerNoted, Note, OutcomeNoted, Sending
from tests.faults.suite.load import Answer
from tests.faults.suite.scene import Scene, Tail, in_log, stable
from tests.rings import PATIENCE_SECONDS, until
from trainer.checkpoint import CheckpointFolder

LAST_MOMENTS_SECONDS = 0.2
HEARD_SECONDS = 1.0
"""A killed server may lose recommendations that a client noted so long before its death or so long
after it: they are appended within 100 ms, but what it sent last may be read late."""
_LEARNED_A_SECOND = 1_000
REMEMBERED = 16_384
"""So many rewards a trainer promises to know again."""


def judge(
    scene: Scene, *, versions: bool = True, peace: bool = True, histories: bool = True
) -> None:
    """Stop the shoppers, wait until nothing is left to do, and hold the ring against the ledger.

    Args:
        scene: whose ring runs and has recovered.
        versions: False where somebody moves the live pointer back.
        peace: False where what the log holds was read otherwise at first (a bug, mended).
        histories: False where the log holds orders that no projector can read.
    """
    scene.load.stop()
    finding = scene.finding
    _come_to_rest(scene)
    notes = list(ledger.read(scene.ledger.path))
    events, rewards = in_log(scene.ring, "events", "rewards")
    hold_against(finding, notes, events, rewards, kills=scene.kills)
    for sentence, count in Counter(scene.load.wrong).items():
        finding.check(False, f"{count} times: {sentence}")
    if versions:
        check_versions(finding, list(scene.load.answers))
    with closing(scene.ring.log()) as log:
        parts = log.partitions("events")
    in_peace = replay.Peace(events, parts)
    with closing(in_peace):
        if peace:
            same = in_peace.rewards(scene.ring.settings()) == replay.table(rewards)
            finding.check(same, "the rewards are not those of an aggregator never disturbed")
        if histories:
            check_histories(scene, in_peace, events)
    check_trained(scene, rewards)
    check_console(scene, rewards)
    check_metrics(scene, notes, rewards)
    scene.check_memory()


def _come_to_rest(scene: Scene) -> None:
    """Wait until every logged banner is settled, and trainer and rewards stand still."""

    with (
        closing(scene.ring.log()) as log,
        Tail(log, "events") as events,
        Tail(log, "rewards") as made,
    ):
        banners: set[str] = set()
        settled: set[str] = set()

        def left() -> tuple[int, int]:
            banners.update(event.recommendation_id for event in _recommended(events.new()))
            settled.update(reward.recommendation_id for reward in _decoded(made.new()))
            return len(banners - settled), made.count

        # What is never settled is counted as lost.
        with suppress(AssertionError):
            until(lambda: left()[0] == 0, "")
        stable(left, seconds=2.5, patience=PATIENCE_SECONDS, what="the table of rewards")

    def learned() -> bool:
        return len(_unlearned(scene, in_log(scene.ring, "rewards")[0])) < _batch(scene)

    seconds = PATIENCE_SECONDS + scene.crowd_banners / _LEARNED_A_SECOND
    until(learned, "the trainer has learned from what is settled", seconds=seconds)


def hold_against(
    finding: Finding,
    notes: Sequence[Note],
    events: Iterable[Record],
    rewards: Iterable[Record],
    *,
    kills: Sequence[float] = (),
) -> None:
    """Count what is lost and doubled: the log against the ledger.

    Args:
        finding: takes the counts and what is wrong.
        notes: of the ledger.
        events, rewards: the records of both topics.
        kills: when a server was killed (the ledger's clock).
    """
    answered = {note.recommendation_id: note for note in notes if isinstance(note, BannerNoted)}
    sent = {note.event_id for note in notes if isinstance(note, Sending)}
    finding.banners, finding.events = len(answered), len(sent)
    logged = Counter(event.recommendation_id for event in _recommended(events))
    finding.check(max(logged.values(), default=0) <= 1, "a banner stands in the log twice")
    missing = answered.keys() - logged.keys()
    excused = {
        each
        for each in missing
        if any(
            -HEARD_SECONDS <= kill - answered[each].answered_at <= LAST_MOMENTS_SECONDS
            for kill in kills
        )
    }
    finding.check(
        missing <= excused, f"{len(missing - excused)} answered banners are not in the log"
    )
    if excused:
        finding.told.append(f"{len(excused)} banners of a killed server's last moments were lost")
    _check_accepted(finding, notes, events)
    possible = reducer.expected(notes, lost=excused)
    earned = _earned(finding, rewards)
    for each in logged:
        has = earned.pop(each, None)
        allowed = possible.get(each, [])
        if has is None:
            finding.lost += 1
        elif each not in answered:
            finding.doubled += any(has)
        elif has not in allowed:
            columns = list(zip(has, *allowed, strict=True))
            more = any(got > max(others) for got, *others in columns)
            finding.doubled += more
            finding.lost += not more or any(got < min(others) for got, *others in columns)
    finding.doubled += len(earned)
    finding.check(not earned, f"{len(earned)} rewards are of banners that are not in the log")
    finding.check(not finding.lost, f"{finding.lost} banners lost something")
    finding.check(not finding.doubled, f"{finding.doubled} banners got more than they earned")


def _check_accepted(finding: Finding, notes: Sequence[Note], events: Iterable[Record]) -> None:
    """What was answered 202 is in the log."""
    accepted = {
        note.event_id
        for note in notes
        if isinstance(note, OutcomeNoted) and note.outcome == "accepted"
    }
    there = {event.event_id for event in _read(events)}
    gone = accepted - there
    finding.check(not gone, f"{len(gone)} accepted events are not in the log")


def _earned(finding: Finding, rewards: Iterable[Record]) -> dict[str, reducer.Points]:
    """Return the points of each banner, the sum of what its revisions brought."""
    by_banner: dict[str, list[Reward]] = defaultdict(list)
    for reward in _decoded(rewards):
        by_banner[reward.recommendation_id].append(reward)
    earned = {}
    for banner, revisions in by_banner.items():
        numbers = [reward.revision for reward in revisions]
        if numbers != list(range(len(numbers))):
            finding.check(False, f"revisions {numbers} of {banner}")
            finding.doubled += len(numbers) != len(set(numbers))
        columns = zip(*(reward.delta for reward in revisions), strict=True)
        earned[banner] = tuple(round(math.fsum(column), 9) + 0.0 for column in columns)
    return earned


def check_versions(finding: Finding, answers: Sequence[Answer]) -> None:
    """Who asks after an answer never gets an older version than it."""
    drawn = [each for each in answers if each.arm == each.source == "policy"]
    ended = sorted((each.sent_at + each.seconds, each.version) for each in drawn)
    newest, place, backward = 0, 0, 0
    for each in sorted(drawn, key=lambda one: one.sent_at):
        while place < len(ended) and ended[place][0] <= each.sent_at:
            newest = max(newest, ended[place][1])
            place += 1
        backward += each.version < newest
    finding.check(not backward, f"{backward} answers came from an older version than one before")


def check_histories(scene: Scene, in_peace: replay.Peace, events: Sequence[Record]) -> None:
    """The histories are those of a store filled once from the whole log."""
    shoppers = replay.shoppers_of(events)
    settings = scene.ring.settings()
    rebuilt = in_peace.histories(settings, shoppers)

    def are_equal() -> bool:
        return replay.kept_histories(settings, shoppers) == rebuilt

    try:
        until(are_equal, "")
    except AssertionError:
        kept = replay.kept_histories(settings, shoppers)
        wrong = sum(kept.get(each) != value for each, value in rebuilt.items())
        finding = scene.finding
        finding.check(False, f"{wrong} of {len(rebuilt)} histories are not those of the log")


def check_trained(scene: Scene, rewards: Sequence[Record]) -> None:
    """The trainer consumed what is settled, each revision once, but for the batch still open."""
    checkpoint = CheckpointFolder(scene.ring.data_dir / "checkpoints").latest()
    if checkpoint is None:
        scene.finding.check(False, "the trainer has no checkpoint")
        return
    offset = checkpoint.progress.offset
    before = remembered(r for r in rewards if r.offset < offset)
    consumed = {int(each) for each in checkpoint.tensors["seen"]}
    scene.finding.check(
        consumed == before,
        f"of {len(before)} settled rewards the trainer consumed {len(consumed & before)}, and "
        f"{len(consumed - before)} others",
    )


def remembered(rewards: Iterable[Record]) -> set[int]:
    """Return what a trainer that consumed these rewards knows: the last, each once."""
    names = dict.fromkeys(_name(each) for each in _trainable(rewards))
    return set(list(names)[-REMEMBERED:])


def check_console(scene: Scene, rewards: Sequence[Record]) -> None:
    """What people are shown is what the log says."""
    earned = _earned(Finding(fault="", seed=0), rewards)
    whole = math.fsum(math.fsum(points) for points in earned.values())

    def shown() -> Mapping[str, float] | None:
        status, report = scene.ring.get("/experiment", console=True)
        if status != 200:
            return None
        arms = report["arms"].values()
        counts = {name: float(report["rewards"][name]) for name in ("expected", "lost", "doubled")}
        return counts | {
            "banners": sum(arm["banners"] for arm in arms),
            "reward": round(math.fsum(arm["reward"] for arm in arms), 6),
        }

    settled = float(len(earned))
    truth = {"expected": settled, "lost": 0.0, "doubled": 0.0, "banners": settled}
    truth["reward"] = round(whole, 6)
    try:
        until(lambda: shown() == truth, "")
    except AssertionError:
        scene.finding.check(False, f"the console shows {shown()}, the log says {truth}")


def check_metrics(scene: Scene, notes: Sequence[Note], rewards: Sequence[Record]) -> None:
    """Processes that lived through it have counted what the ledger and the table hold."""
    finding = scene.finding
    one_server = scene.ring.settings().workers == 1
    if one_server and scene.unchanged("serve") and not scene.load.failed:
        accepted = sum(isinstance(n, OutcomeNoted) and n.outcome == "accepted" for n in notes)
        counted = scene.metrics("serve")["service_events_total", "accepted"]
        if not scene.load.shed:
            finding.check(counted == accepted, f"{counted:.0f} events counted, {accepted} answered")
    if scene.unchanged("aggregate"):
        counters = [scene.metrics("aggregate"), *map(scene.metrics_of, scene.aggregators_beside)]
        check_counted(finding, counters, settled=sum(r.revision == 0 for r in _decoded(rewards)))


def check_counted(
    finding: Finding, counters: Iterable[Counter[tuple[str, str]]], *, settled: int
) -> None:
    """Hold what all aggregators counted against the table.

    Of a commit whose answer was lost nobody counts anything: whoever began again may have too few.
    """
    counted = sum((each for each in counters), Counter[tuple[str, str]]())
    settlements = counted["aggregate_rewards_total", "settlement"]
    enough = settlements > 0 if counted["aggregate_restarts_total", ""] else settlements == settled
    finding.check(
        enough and settlements <= settled, f"{settlements:.0f} settlements counted, {settled} made"
    )


def _unlearned(scene: Scene, rewards: Iterable[Record]) -> list[Reward]:
    checkpoint = CheckpointFolder(scene.ring.data_dir / "checkpoints").latest()
    offset = 0 if checkpoint is None else checkpoint.progress.offset
    return _trainable(record for record in rewards if record.offset >= offset)


def _batch(scene: Scene) -> int:
    return scene.ring.settings().batch_banners


def _name(reward: Reward) -> int:
    return fingerprint(f"{reward.recommendation_id} {reward.revision}".encode())


def _trainable(records: Iterable[Record]) -> list[Reward]:
    return [reward for reward in _decoded(records) if reward.trainable]


def _decoded(records: Iterable[Record]) -> list[Reward]:
    return [decode_reward(record.value) for record in records]


def _recommended(records: Iterable[Record]) -> list[Recommended]:
    return [event for event in _read(records) if isinstance(event, Recommended)]


def _read(records: Iterable[Record]) -> list:  # type: ignore[type-arg]
    found = []
    for record in records:
        try:
            found.append(decode_event(record.value))
        except SchemaError:
            continue
    return found
