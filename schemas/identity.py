"""Routing keys and recommendation ids: what makes everything that belongs together meet.

The routing key is the key of every message in the log `events`: 8 bytes of a keyed hash of the user
id or, without a user, of the recommendation's own ULID. The log holds these pseudonyms, never a raw
user id.
"""

import hashlib
import re
from typing import Final

from schemas.errors import RecommendationIdNotReadable

ROUTING_KEY_BYTES: Final = 8
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)
_BASE_32: Final = str.maketrans("ABCDEFGHJKMNPQRSTVWXYZ", "abcdefghijklmnopqrstuv")
_TIME_DIGITS: Final = 10
_RECOMMENDATION_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}-[0-9a-f]{16}")


def user_key(secret: bytes, user_id: str) -> bytes:
    """Return the 8-byte pseudonym of a user: their routing key and their key in the history.

    Example:
        >>> user_key(b"secret", "u1").hex() == user_key(b"secret", "u1").hex()
        True
        >>> user_key(b"secret", "u1") == user_key(b"other", "u1")
        False
    """
    return hashlib.blake2b(
        user_id.encode(), digest_size=ROUTING_KEY_BYTES, key=secret[:64], person=b"quintet-user"
    ).digest()


def anonymous_key(secret: bytes, ulid: str) -> bytes:
    """Return the 8-byte routing key of a recommendation that has no user."""
    return hashlib.blake2b(
        ulid.encode(), digest_size=ROUTING_KEY_BYTES, key=secret[:64], person=b"quintet-ulid"
    ).digest()


def ulid(now_ms: int, entropy: bytes) -> str:
    """Return the 26-character ULID (https://github.com/ulid/spec) of a time and 10 random bytes.

    Args:
        now_ms: milliseconds since 1970, below 2**48.
        entropy: at least 10 random bytes; the first 10 are used.

    Example:
        >>> ulid(1469918176385, bytes(10))
        '01ARYZ6S410000000000000000'
    """
    number = (now_ms << 80) | int.from_bytes(entropy[:10], "big")
    return "".join(_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10))


def recommendation_id(ulid_text: str, key: bytes) -> str:
    """Return `<ulid>-<routing key in hex>`."""
    return f"{ulid_text}-{key.hex()}"


def split_recommendation_id(text: str) -> tuple[str, bytes]:
    """Return the ULID and the routing key of a recommendation id.

    Raises:
        RecommendationIdNotReadable: the text has another form.
    """
    if _RECOMMENDATION_ID.fullmatch(text) is None:
        raise RecommendationIdNotReadable(
            "not a recommendation_id: expected <ulid>-<16 hex digits>"
        )
    ulid_text, _, key = text.partition("-")
    return ulid_text, bytes.fromhex(key)


def minted_ms(recommendation_id: str) -> int:
    """Return the time inside a recommendation's ULID, milliseconds since 1970.

    Raises:
        RecommendationIdNotReadable: the text has another form.

    Example:
        >>> minted_ms("01ARYZ6S410000000000000000-0011223344556677")
        1469918176385
    """
    ulid_text, _ = split_recommendation_id(recommendation_id)
    return int(ulid_text[:_TIME_DIGITS].translate(_BASE_32), 32)


def fingerprint(payload: bytes) -> int:
    """Return a 64-bit fingerprint of an event's payload, to tell a duplicate from a conflict."""
    return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "big")
