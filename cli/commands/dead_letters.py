"""`quintet dead-letters`: events that could not be read, and putting them back."""

from collections import Counter
from contextlib import closing
from typing import Annotated, Any

import typer

from cli import wiring
from cli.errors import BadUsage
from cli.output import Output, plain, table
from cli.settings import Settings

SHOWN_CHARACTERS = 4_000
REASONS_SHOWN = 10
Reason = Annotated[str, typer.Option(help="only those whose reason holds this text")]
Reader = Annotated[str, typer.Option(help="only those that this process could not read")]
Topic = Annotated[str, typer.Option(help="only those of this topic")]


def list_dead_letters(
    settings: Settings,
    output: Output,
    reason: Reason = "",
    reader: Reader = "",
    topic: Topic = "",
    waiting: Annotated[bool, typer.Option(help="only those not replayed so far")] = False,
    start: Annotated[int, typer.Option("--from", min=0, help="first number of the page")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="most on one page")] = 50,
) -> None:
    """List events that could not be read, with where they stood and why; count them by reason."""
    from streams.dead_letters import Wanted, letters

    wanted = Wanted(reason=reason, reader=reader, topic=topic)
    rows: list[dict[str, Any]] = []
    total: Counter[tuple[str, str]] = Counter()
    due: Counter[tuple[str, str]] = Counter()
    after: int | None = None
    with (
        wiring.opened_log(settings, member="dead-letters") as log,
        closing(letters(log)) as found,
    ):
        for each in found:
            if not wanted.takes(each) or (waiting and each.replayed):
                continue
            why = (each.letter.reader, each.letter.reason)
            total[why] += 1
            due[why] += not each.replayed
            if each.number < start:
                continue
            if len(rows) < limit:
                rows.append(_row(each))
            elif after is None:
                after = each.number
    reasons = [
        {"reader": why[0], "reason": why[1], "letters": count, "waiting": due[why]}
        for why, count in total.most_common(REASONS_SHOWN)
    ]
    title = f"{total.total():,} dead letters, {due.total():,} not replayed"
    if after is not None:
        title += f"; the next page: --from {after}"
    output.result(
        {
            "dead_letters": rows,
            "total": total.total(),
            "waiting": due.total(),
            "next": after,
            "reasons": reasons,
        },
        table(title, rows) if rows else "no dead letters",
    )
    if len(total) > 1 and not output.as_json:
        output.people.print(table("by reason", reasons))


def _row(found: Any) -> dict[str, Any]:  # noqa: ANN401 - streams is imported when it is needed
    return {
        "number": found.number,
        "topic": found.letter.topic,
        "offset": f"{found.letter.partition}/{found.letter.offset}",
        "reader": found.letter.reader,
        "reason": found.letter.reason,
        "replayed": found.replayed,
    }


def show_dead_letter(
    settings: Settings, output: Output, number: Annotated[int, typer.Argument(help="from `list`")]
) -> None:
    """Show one dead letter with its content."""
    from streams.dead_letters import letters

    with (
        wiring.opened_log(settings, member="dead-letters") as log,
        closing(letters(log)) as found,
    ):
        letter = next((each.letter for each in found if each.number == number), None)
    if letter is None:
        raise BadUsage(f"there is no dead letter {number}: see `quintet dead-letters list`")
    content = (letter.value or b"").decode("utf-8", "backslashreplace")
    if len(content) > SHOWN_CHARACTERS:
        content = content[:SHOWN_CHARACTERS] + f"\n… {len(content):,} characters, whole by --json"
    output.result(
        letter,
        plain(f"{letter.topic}/{letter.partition}/{letter.offset}: {letter.reason}\n{content}"),
    )


def replay_dead_letters(
    settings: Settings,
    output: Output,
    numbers: Annotated[list[int] | None, typer.Argument(help="from `list`; none: all")] = None,
    reason: Reason = "",
    reader: Reader = "",
    topic: Topic = "",
    dry_run: Annotated[bool, typer.Option(help="only say what would be replayed")] = False,
) -> None:
    """Append dead letters to their topics again, after what made them unreadable is mended.

    Each goes back once: what was replayed before is left alone, and said. What cannot be read again
    is buried again, under another number.

    Example: quintet dead-letters replay --reason 'upgrade this process' --dry-run
    """
    from streams.dead_letters import Wanted, letters, replay

    wanted = Wanted(numbers or None, reason, reader, topic)
    with wiring.opened_log(settings, member="dead-letters") as log:
        known: Counter[bool] = Counter()
        missing = set(numbers or ())
        with closing(letters(log)) as found:
            for each in found:
                missing.discard(each.number)
                known[each.replayed] += wanted.takes(each)
        if missing:
            named = ", ".join(map(str, sorted(missing)))
            raise BadUsage(f"no dead letter {named}: see `quintet dead-letters list`")
        count = known[False] if dry_run or not known[False] else replay(log, wanted)
    before = known[True]
    if before:
        output.say(f"{before:,} {'was' if before == 1 else 'were'} replayed before and left alone")
    output.result(
        {"replayed": count, "before": before, "dry_run": dry_run},
        f"{'would replay' if dry_run else 'replayed'} {count:,} event{'' if count == 1 else 's'}",
    )
