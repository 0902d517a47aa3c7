"""API keys and their scopes.

The setting is text, `key:scope+scope,key:scope`: `shop-7f..:recommend+events:browser,erp-91..:
events:server` gives the first key two scopes and the second one. A key has no comma and no colon.
Only SHA-256 digests are kept, so that comparing takes the same time whatever was sent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from service.errors import KeyNotGiven, KeysNotReadable, ScopeNotGiven

RECOMMEND: Final = "recommend"
EVENTS_BROWSER: Final = "events:browser"
EVENTS_SERVER: Final = "events:server"
OPERATE: Final = "operate"
SCOPES: Final = frozenset({RECOMMEND, EVENTS_BROWSER, EVENTS_SERVER, OPERATE})
Scopes = frozenset[str]
_PUBLIC: Final = frozenset({RECOMMEND, EVENTS_BROWSER})
_SHORTEST_KEY: Final = 8


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Who may do what.

    Attributes:
        scopes_of: SHA-256 of a key to its scopes; empty: every caller has every scope, which is
            for loopback alone.
    """

    scopes_of: Mapping[bytes, Scopes]

    @classmethod
    def parse(cls, text: str) -> "ApiKeys":
        """Return the keys of the setting; empty text is no keys.

        Raises:
            KeysNotReadable: the text has another form, an unknown scope, a key twice or a short
                key; the message never shows a key.

        Example:
            >>> ApiKeys.parse("k-12345678:recommend+operate").scopes_of.popitem()[1] == {
            ...     "recommend", "operate"}
            True
        """
        found: dict[bytes, Scopes] = {}
        for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            key, colon, listed = entry.partition(":")
            scopes = frozenset(listed.split("+"))
            unknown = sorted(scopes - SCOPES)
            if not colon or unknown:
                raise KeysNotReadable(
                    f"API key {number}: expected key:scope+scope with scopes among "
                    f"{', '.join(sorted(SCOPES))}"
                )
            if len(key) < _SHORTEST_KEY:
                raise KeysNotReadable(f"API key {number} is shorter than {_SHORTEST_KEY} signs")
            if (digest := _digest(key)) in found:
                raise KeysNotReadable(f"API key {number} is given twice")
            found[digest] = scopes
        return cls(found)

    def scopes(self, request: Request) -> Scopes:
        """Return the scopes of the key sent as `Authorization: Bearer`; without keys all scopes.

        A beacon cannot set headers, so a key that a browser may hold anyway (`recommend`,
        `events:browser`) may also come as the query parameter `key`.

        Raises:
            KeyNotGiven: no key, or an unknown one.
        """
        if not self.scopes_of:
            return SCOPES
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            found = self.scopes_of.get(_digest(key.strip()))
        else:
            found = self.scopes_of.get(_digest(request.query_params.get("key", "")))
            found = found if found is not None and found <= _PUBLIC else None
        if found is None:
            raise KeyNotGiven("send a known key as Authorization: Bearer")
        return found

    def require(self, request: Request, *any_of: str) -> Scopes:
        """Return the caller's scopes when one of them is among `any_of`.

        Raises:
            KeyNotGiven: no key, or an unknown one.
            ScopeNotGiven: the key has none of these scopes.
        """
        scopes = self.scopes(request)
        if scopes.isdisjoint(any_of):
            raise ScopeNotGiven(f"this needs a key with the scope {' or '.join(any_of)}")
        return scopes


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
