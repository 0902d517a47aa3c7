"""What comes twice, late, in the wrong order, under a used id, or cannot be read at all."""

import time

from schemas.codec import decode_dead_letter
from streams.port import Message
from tests.faults.suite.catalogue import fault
from tests.faults.suite.judge import judge
from tests.faults.suite.ledger import BannerNoted, Sending, read
from tests.faults.suite.load import REGULAR, Habits
from tests.faults.suite.scene import Scene, in_log
from tests.rings import until

WINDOW_SECONDS, LATENESS_SECONDS = 10, 2
_UNRULY = Habits(clicks=0.4, buys=0.2, copies=10, conflicts=0.2)
_BUG = "a bug that will be mended"


@fault(
    "F10", "copies, any order, late, used ids", habits=_UNRULY, rate=20.0,
    attribution_window_seconds=str(WINDOW_SECONDS), lateness_seconds=str(LATENESS_SECONDS),
)  # fmt: skip
def events_come_again_late_and_in_any_order(scene: Scene) -> None:
    scene.strike()
    before = scene.load.banners()
    time.sleep(WINDOW_SECONDS + LATENESS_SECONDS + 2.0)
    old = scene.rng.sample(sorted(before), min(60, len(before)))
    notes = [note for note in read(scene.ledger.path) if isinstance(note, BannerNoted)]
    # What a regular buys too late for one banner a later one may have shown her, and earns.
    regulars = {each.recommendation_id for each in notes if each.user_id.startswith(REGULAR)}
    late = [
        Sending(
            event_id=f"late-{banner}", about=banner, product_ids=before[banner][:1], earns=False,
            type="click" if banner in regulars else scene.rng.choice(["click", "purchase"]),
        )
        for banner in old
    ]  # fmt: skip
    for start in range(0, len(late), 10):
        scene.load.send(late[start : start + 10])
    scene.heal()
    scene.recover()
    judge(scene)
    counted = scene.metrics("aggregate")
    for outcome, sent in (("late", len(late)), ("conflict", scene.load.conflicts)):
        found = counted["aggregate_events_total", outcome]
        scene.finding.check(sent > 0 and found == sent, f"{found:.0f} {outcome}, {sent} were sent")
        scene.finding.told.append(f"{sent} {outcome}")
    scene.finding.told.append(f"{scene.load.duplicates} copies")


@fault("F11", "records that cannot be read; a bug, mended")
def records_cannot_be_read(scene: Scene) -> None:
    poison = [
        b"{broken", b'{"type":"nonsense"}', b"\x00" * 100, b"\xff\xfe", b"x" * (5 << 20),
        b'{"schema_version":99,"type":"click","event_id":"e","product_id":"p"}', b"[]", b"NaN",
        b'"' + b"\\u0000" * 9 + b'"', None,
    ]  # fmt: skip
    scene.strike()
    key = scene.rng.randbytes(8)
    with_log = scene.ring.log()
    for topic in ("events", "inbox"):
        with_log.append(topic, [Message(key, value) for value in poison])
        with_log.append(topic, [Message(None, value) for value in poison if value])
    with_log.close()
    buried = 2 * (2 * len(poison) - 1)
    until(lambda: len(in_log(scene.ring, "events.dead")[0]) >= buried, "they are buried")
    scene.order("aggregate.blind")
    until(lambda: len(_mended(scene)) > 10, "a bug buries clicks")
    (scene.ring.orders / "aggregate.blind").unlink()
    time.sleep(1.0)
    clicks = len(_mended(scene))
    done = scene.ring.command("dead-letters", "replay", "--json")
    scene.finding.check(done.returncode == 0, f"replaying failed: {done.stderr[-300:]}")
    scene.heal()
    scene.recover()
    judge(scene, peace=False)
    letters = [decode_dead_letter(record.value) for record in in_log(scene.ring, "events.dead")[0]]
    scene.finding.check(all(letter.reason for letter in letters), "a dead letter has no reason")
    # The poison is buried once more by its replay; a tombstone without a key cannot be replayed.
    scene.finding.check(
        len(letters) == 2 * buried + clicks,
        f"{len(letters)} dead letters, not {2 * buried + clicks}",
    )
    scene.finding.check(
        len(_mended(scene)) == clicks, "a click was buried after the bug was mended"
    )
    scene.finding.told.append(f"{buried} unreadable records, {clicks} clicks buried by a bug")


def _mended(scene: Scene) -> list[str]:
    found = (decode_dead_letter(record.value) for record in in_log(scene.ring, "events.dead")[0])
    return [letter.reason for letter in found if _BUG in letter.reason]
