"""Who may do what: the key of a request, its scopes, and how often it may call.

Without keys whoever calls from this machine may do everything, and a browser there calls for every
page that it shows: pages of other sites are refused, also where a name was rebound to 127.0.0.1.
"""

from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from schemas.keys import EVENTS_BROWSER, RECOMMEND, SCOPES, Key, Keyring, Scopes
from schemas.loopback import is_at_loopback
from service.errors import KeyNotGiven, KeyOverRate, ScopeNotGiven
from service.windows import Window

_PUBLIC: Final = frozenset({RECOMMEND, EVENTS_BROWSER})
_MINUTE: Final = 60


class ApiKeys:
    """Checks callers against the keys; for one thread.

    Args:
        keyring: the keys; none: every caller has every scope, which is for loopback alone.
        origins: whose pages may call without keys, beside loopback's own; "*": everybody's.
    """

    def __init__(self, keyring: Keyring, origins: Collection[str] = ()) -> None:
        self._keyring = keyring
        self._origins = frozenset(origins)
        self._windows = {
            key.digest: Window(cap=key.per_minute, seconds=_MINUTE, cells=1)
            for key in keyring.keys
            if key.per_minute is not None
        }

    def require(self, request: Request, *any_of: str, now_ms: int) -> Scopes:
        """Return the caller's scopes when one of them is among `any_of`; the call is counted.

        Raises:
            KeyNotGiven: no key, or an unknown one.
            ScopeNotGiven: the key has none of these scopes; or there are no keys, and another
                site's page calls.
            KeyOverRate: the key has called too often.
        """
        if not self._keyring:
            self._require_own(request)
            return SCOPES
        key = self._key(request)
        if key.scopes.isdisjoint(any_of):
            raise ScopeNotGiven(f"this needs a key with the scope {' or '.join(any_of)}")
        window = self._windows.get(key.digest)
        if window is not None and window.is_over(key.digest, now_ms):
            raise KeyOverRate(window.cap, seconds=_MINUTE, ends_in=window.ends_in(now_ms))
        return key.scopes

    def _require_own(self, request: Request) -> None:
        host = request.headers.get("host")  # no browser leaves it out
        if host and not is_at_loopback("//" + host):
            raise ScopeNotGiven("without API keys call by a loopback name: 127.0.0.1 or localhost")
        origin = request.headers.get("origin")
        if origin is None or is_at_loopback(origin) or self._origins & {origin, "*"}:
            return
        raise ScopeNotGiven(
            "without API keys pages of this machine may call, and those of QUINTET_CORS_ORIGINS"
        )

    def _key(self, request: Request) -> Key:
        """Return the key sent as `Authorization: Bearer`.

        A beacon cannot set headers, so a key that a browser may hold anyway (`recommend`,
        `events:browser`) may also come as the query parameter `key`.
        """
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            found = self._keyring.find(sent.strip())
        else:
            found = self._keyring.find(request.query_params.get("key", ""))
            found = found if found is not None and found.scopes <= _PUBLIC else None
        if found is None:
            raise KeyNotGiven("send a known key as Authorization: Bearer")
        return found
