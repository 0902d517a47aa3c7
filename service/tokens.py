"""Attribution tokens: proof that this service showed these products to this shopper, and when.

A token is url-safe base64 of, big-endian,
    key id (4 bytes), time of issue (u32 seconds), number of products (u8), their tags (u32 each),
    HMAC-SHA256 cut to 16 bytes over all of these and the recommendation id.
The recommendation id ends with the shopper's routing key, so the shopper is under the MAC too.
"""

import hashlib
import hmac
import struct
import zlib
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.limits import BANNER_SIZE
from service.errors import TokenExpired, TokenForged

LEEWAY_SECONDS: Final = 300
"""Two services' clocks may differ by so much."""
_HEAD: Final = struct.Struct(">4sIB")
_TAGS: Final = [struct.Struct(f">{count}I") for count in range(BANNER_SIZE + 1)]
_BLOCK_BYTES: Final = 64
_MAC_BYTES: Final = 16
_ID_BYTES: Final = 4


class Tokens:
    """Issues with the first secret, accepts every one: put a new secret first to rotate.

    Args:
        secrets: the secrets, newest first; at least one.
        window_seconds: how long a token is good for, the attribution window.
    """

    def __init__(self, secrets: Sequence[bytes], *, window_seconds: int) -> None:
        self._keys = {
            hashlib.sha256(secret).digest()[:_ID_BYTES]: _Mac(secret) for secret in secrets
        }
        self._issuing_id, self._issuing_mac = next(iter(self._keys.items()))
        self.window_seconds = window_seconds

    def issue(self, recommendation_id: str, product_ids: Sequence[str], now_ms: int) -> str:
        """Return the token of a banner."""
        tags = [zlib.crc32(product_id.encode()) for product_id in product_ids]
        body = _HEAD.pack(self._issuing_id, now_ms // 1000, len(tags)) + _TAGS[len(tags)].pack(
            *tags
        )
        mac = self._issuing_mac.of(body, recommendation_id)
        return urlsafe_b64encode(body + mac).rstrip(b"=").decode()

    def check(
        self, token: str, recommendation_id: str, product_ids: Iterable[str], now_ms: int
    ) -> None:
        """Accept a token sent with an event about these products of a recommendation's banner.

        Raises:
            TokenForged: not issued here, for another recommendation, or without one of the
                products.
            TokenExpired: the attribution window is over.
        """
        issued_seconds, tags = self._opened(token, recommendation_id)
        now_seconds = now_ms / 1000
        if any(zlib.crc32(shown.encode()).to_bytes(4, "big") not in tags for shown in product_ids):
            raise TokenForged("the attribution token is of a banner without this product")
        if issued_seconds > now_seconds + LEEWAY_SECONDS:
            raise TokenForged("the attribution token was issued in the future")
        if now_seconds > issued_seconds + self.window_seconds + LEEWAY_SECONDS:
            raise TokenExpired("the attribution window is over")

    def _opened(self, token: str, recommendation_id: str) -> tuple[int, set[bytes]]:
        try:
            data = b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            key_id, issued_seconds, count = _HEAD.unpack_from(data)
        except (NotBase64, struct.error, ValueError) as fault:
            raise TokenForged("not an attribution token") from fault
        body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if len(body) != _HEAD.size + 4 * count:
            raise TokenForged("not an attribution token")
        key = self._keys.get(key_id)
        if key is None or not hmac.compare_digest(mac, key.of(body, recommendation_id)):
            raise TokenForged("the attribution token is not of this recommendation")
        tags = {body[start : start + 4] for start in range(_HEAD.size, len(body), 4)}
        return issued_seconds, tags


class _Mac:
    """HMAC-SHA256 (RFC 2104) of one secret, its padded key hashed once: half the time of `hmac`."""

    def __init__(self, secret: bytes) -> None:
        key = secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def of(self, body: bytes, recommendation_id: str) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body + recommendation_id.encode())
        outer.update(inner.digest())
        return outer.digest()[:_MAC_BYTES]
