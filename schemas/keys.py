"""API keys, their scopes and rates: one setting, read the same by every process that is called.

The setting is text, `key:scope+scope,key:scope@600`: the first key has two scopes, the second one,
and at most 600 requests a minute. A key has no comma and no colon. Only SHA-256 digests are kept;
they are compared in constant time.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from schemas.errors import KeysNotReadable

RECOMMEND: Final = "recommend"
EVENTS_BROWSER: Final = "events:browser"
EVENTS_SERVER: Final = "events:server"
OPERATE: Final = "operate"
SCOPES: Final = frozenset({RECOMMEND, EVENTS_BROWSER, EVENTS_SERVER, OPERATE})
Scopes = frozenset[str]
_SHORTEST_KEY: Final = 8
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    Attributes:
        digest: SHA-256.
        scopes: what its holder may do.
        per_minute: requests in a minute, for each serving process; None: as many as come.
    """

    digest: bytes
    scopes: Scopes
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key; none: there are no keys."""

    keys: tuple[Key, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Return the keys of the setting; empty text is no keys.

        Raises:
            KeysNotReadable: the text has another form, an unknown scope, a key twice or a short
                key; the message never shows a key.

        Example:
            >>> [key] = Keyring.parse("k-12345678:recommend+operate@600").keys
            >>> sorted(key.scopes), key.per_minute
            (['operate', 'recommend'], 600)
        """
        found: dict[bytes, Key] = {}
        for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            key, colon, rest = entry.partition(":")
            listed, at, rate = rest.partition("@")
            scopes = frozenset(listed.split("+"))
            if not colon or scopes - SCOPES or (at and not _is_rate(rate)):
                raise KeysNotReadable(
                    f"API key {number}: expected key:scope+scope or key:scope+scope@600 (requests "
                    f"a minute) with scopes among {', '.join(sorted(SCOPES))}"
                )
            if len(key) < _SHORTEST_KEY:
                raise KeysNotReadable(f"API key {number} is shorter than {_SHORTEST_KEY} signs")
            if (digest := _digest(key)) in found:
                raise KeysNotReadable(f"API key {number} is given twice")
            found[digest] = Key(digest, scopes, int(rate) if at else None)
        return cls(tuple(found.values()))

    def __bool__(self) -> bool:
        return bool(self.keys)

    def find(self, key: str) -> Key | None:
        """Return what is kept of a key that was sent; None: nobody knows it.

        Takes the same time whatever was sent, and wherever the key stands in the setting.
        """
        digest = _digest(key)
        found = None
        for known in self.keys:
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _is_rate(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0
