"""What becomes of an event reported over HTTP: the intake, and a browser's rules around it."""

from dataclasses import dataclass

from schemas.requests import EventIn
from service.intake import BROWSER, SERVER, Intake, Rows, Verdict
from service.limits import BrowserRules


@dataclass(frozen=True, slots=True)
class Caller:
    """Who reports.

    Attributes:
        trusted: holds `events:server`.
        address: where the request came from.
        user_agent: as it says; empty: it does not.
    """

    trusted: bool
    address: str
    user_agent: str


def judged(
    event: EventIn,
    caller: Caller,
    *,
    intake: Intake,
    rules: BrowserRules,
    rows: Rows,
    now_ms: int,
) -> Verdict:
    """Return what becomes of an event, received now; a browser's is counted against its caps."""
    if caller.trusted:
        return intake.judge(event, SERVER, rows, now_ms)
    refusal = rules.refusal(
        event, address=caller.address, user_agent=caller.user_agent, now_ms=now_ms
    )
    if refusal is not None:
        return refusal
    verdict = intake.judge(event, BROWSER, rows, now_ms)
    shopper = verdict.messages[0].key if verdict.messages else None
    if not event.attribution_token or not shopper:
        return verdict
    return rules.excess(event, shopper, address=caller.address, now_ms=now_ms) or verdict
