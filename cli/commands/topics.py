"""`quintet topics`: the declared topics made on the cluster, and shown beside what it has."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli import wiring
from cli.errors import CommandFailed
from cli.output import Output, table
from cli.settings import Settings
from streams.topics import TOPICS

if TYPE_CHECKING:
    from streams.kafka.topics import TopicState

_LOCAL = "the local log makes its topics by itself when it is opened: there is nothing to do"


def apply_topics(settings: Settings, output: Output) -> None:
    """Make the declared topics that the cluster lacks; name those that differ (exit status 1).

    Topics that exist are never changed. Every process does the same when it starts.
    """
    if settings.streams == "local":
        wiring.open_log(settings, member="topics").close()
        _tell_of_the_local_log(output)
        return
    kafka = wiring.open_kafka(settings, member="topics")
    try:
        made = kafka.make_missing_topics()
        states = kafka.topic_states()
    finally:
        kafka.close()
    _tell(output, states, made)
    if faults := _faults(states):
        raise CommandFailed("; ".join(faults))


def list_topics(settings: Settings, output: Output) -> None:
    """Show every declared topic beside what the cluster has (exit status 1 where one differs)."""
    if settings.streams == "local":
        _tell_of_the_local_log(output)
        return
    kafka = wiring.open_kafka(settings, member="topics")
    try:
        states = kafka.topic_states()
    finally:
        kafka.close()
    _tell(output, states, None)
    if faults := _faults(states):
        raise CommandFailed("; ".join(faults))
    if any(state.partitions is None for state in states):
        output.say("`quintet topics apply` makes those that are missing")


def _faults(states: Iterable["TopicState"]) -> list[str]:
    return [fault for state in states for fault in state.faults]


def _tell_of_the_local_log(output: Output) -> None:
    result = {"streams": "local", "made": [], "topics": [{"name": each.name} for each in TOPICS]}
    output.result(result, _LOCAL)


def _tell(output: Output, states: list["TopicState"], made: list[str] | None) -> None:
    result: dict[str, object] = {"streams": "kafka", "topics": states}
    if made is not None:
        result["made"] = made
    title = f"{len(states)} topics" + ("" if made is None else f", {len(made)} of them made now")
    output.result(result, table(title, [row for state in states for row in _rows(state)]))


def _rows(state: "TopicState") -> Iterable[dict[str, object]]:
    """Return a row for the topic, and one for each setting that is not as declared."""
    actual: object = "missing" if state.partitions is None else state.partitions
    yield {
        "topic": state.name,
        "what": "partitions",
        "declared": state.declared_partitions,
        "actual": actual,
        "": "differs" if state.partitions not in {None, state.declared_partitions} else "",
    }
    for setting in state.settings:
        is_declared = setting.actual == setting.declared
        if state.partitions is None or (is_declared and not setting.required):
            continue
        word = "" if is_declared else "differs" if setting.required else "differs, which is allowed"
        yield {
            "topic": "",
            "what": setting.name,
            "declared": setting.declared,
            "actual": setting.actual,
            "": word,
        }
