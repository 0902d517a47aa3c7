"""The answer to `/recommend` as bytes, put together from fragments the catalogue has ready."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from msgspec.json import encode


@lru_cache(maxsize=16)
def expiry(at_seconds: int) -> str:
    """Return RFC 3339, UTC.

    Example:
        >>> expiry(1_700_000_000)
        '2023-11-14T22:13:20Z'
    """
    moment = datetime.fromtimestamp(at_seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def answer(
    *,
    recommendation_id: str,
    fragments: Sequence[bytes],
    policy_version: int,
    arm: str,
    source: str,
    reason: str | None,
    attribution_token: str,
    expires_at: str,
) -> bytes:
    """Return the JSON of a `schemas.requests.RecommendResponse`.

    Args:
        recommendation_id: needs no escapes, like arm, source, token and expiry.
        fragments: `Catalogue.fragments` of each product, in display order.
        policy_version: the weights that chose.
        arm: of the request.
        source: who filled the free positions.
        reason: what the answer had to do without; None: nothing.
        attribution_token: for the events of this banner.
        expires_at: RFC 3339.
    """
    products = b",".join([b'{"position":%d,%b' % place for place in enumerate(fragments)])
    return b'{"recommendation_id":"%b","products":[%b],%b' % (
        recommendation_id.encode(),
        products,
        (
            f'"policy_version":{policy_version},"arm":"{arm}","source":"{source}",'
            f'"reason":{encode(reason).decode()},"attribution_token":"{attribution_token}",'
            f'"expires_at":"{expires_at}"}}'
        ).encode(),
    )
