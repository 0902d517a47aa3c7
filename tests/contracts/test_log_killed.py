"""What every log promises when processes die, or are taken for dead."""

import random
import signal
from collections import Counter
from contextlib import closing

from streams.port import Log
from tests.contracts.log_processes import Copier, message
from tests.contracts.logs import TRIES, Installation, everything, own_all


def test_an_acknowledged_append_survives_kill_nine(installation: Installation, log: Log) -> None:
    with installation.process("append_for_ever") as process:
        said = [process.hear() for _ in range(5)]
        said += process.kill()

    acknowledged = int(said[-1])
    values = Counter(record.value for record in everything(log, "events"))
    assert acknowledged >= 50
    assert all(values[b"value-%d" % number] == 1 for number in range(acknowledged))


def test_a_killed_owner_is_replaced(installation: Installation, log: Log) -> None:
    with installation.process("own_for_ever") as process:
        assert process.hear() == str(log.partitions("events"))
        with closing(log.consumer(["events"], group="copiers")) as heir:
            process.kill()

            own_all(log, heir)


def test_an_owner_taken_for_dead_is_fenced_and_nothing_of_it_moves(
    installation: Installation, log: Log
) -> None:
    log.append("events", [message(1)])
    with installation.process("copy_when_told") as process:
        assert process.hear() == "1"
        installation.take_away(process)
        heir = Copier(log)
        with closing(heir.consumer):
            for _ in range(TRIES):
                if records := heir.take():
                    heir.copy(records)
                    break

            process.popen.send_signal(signal.SIGCONT)
            process.tell()

            assert process.hear() == "fenced"
    assert [record.value for record in everything(log, "rewards", at_least=1)] == [b"value-1"]


def test_kill_nine_again_and_again_leaves_outputs_offsets_and_state_equal(
    installation: Installation, log: Log
) -> None:
    rng = random.Random(7)  # noqa: S311
    for start in range(0, 4_000, 500):
        log.append("events", [message(number) for number in range(start, start + 500)])

    for _ in range(installation.kills):
        with installation.process("copy_for_ever") as process:
            for _ in range(rng.randint(1, 4)):
                assert process.hear()
            process.kill()
    copier = Copier(log)
    with closing(copier.consumer):
        while sum(copier.counts.values()) < 4_000:
            if records := list(copier.consumer.poll(max_records=500, timeout_seconds=0.2)):
                copier.copy(records)

    sources = everything(log, "events")
    outputs = everything(log, "rewards", at_least=len(sources))
    assert Counter(r.value for r in outputs) == Counter(r.value for r in sources)
    for key in {record.key for record in sources}:
        assert [r.value for r in outputs if r.key == key] == [
            r.value for r in sources if r.key == key
        ]
    assert copier.counts == Counter(record.partition for record in sources)
