"""One banner's life as text for a terminal."""

from datetime import UTC, datetime

from console.explanation import Explanation


def explained_text(found: Explanation) -> str:
    """Return what is known of a banner, in the order it happened."""
    context = found.context
    viewed = context.viewed.title if context.viewed else "nothing"
    lines = [
        f"{found.recommendation_id}  {_time(found.recommended_at_ms)}",
        f"  policy {found.policy_version}, arm {found.arm}, source {found.source}"
        + (f" ({found.reason})" if found.reason else ""),
        f"  viewing {viewed}; {len(context.purchased)} recent purchases, {context.orders} orders; "
        f"{context.candidates} candidates",
    ]
    lines += [
        f"  {place.position}  {place.title or place.product_id}"
        f"  probability {_number(place.propensity)}, points {_number(place.points)}"
        for place in found.banner
    ]
    lines += [
        f"  {_time(event.appended_at_ms)}  {event.type}  "
        + ", ".join(product.title or str(product.product_id) for product in event.products)
        + (f" (in the log {event.copies} times)" if event.copies > 1 else "")
        for event in found.events
    ]
    lines += [
        f"  {_time(revision.settled_at_ms)}  "
        f"{'settled' if revision.revision == 0 else 'corrected'} at {revision.reward:g}, "
        + (f"learned by policy {revision.learned_by}" if revision.learned_by else "not learned")
        for revision in found.revisions
    ]
    return "\n".join(lines)


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
