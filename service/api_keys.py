"""Who may do what: the key of a request, its scopes, and how often it may call."""

from typing import Final

from starlette.requests import Request

from schemas.keys import EVENTS_BROWSER, RECOMMEND, SCOPES, Key, Keyring, Scopes
from service.errors import KeyNotGiven, KeyOverRate, ScopeNotGiven
from service.windows import Window

_PUBLIC: Final = frozenset({RECOMMEND, EVENTS_BROWSER})
_MINUTE: Final = 60


class ApiKeys:
    """Checks callers against the keys; for one thread.

    Args:
        keyring: the keys; none: every caller has every scope, which is for loopback alone.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._windows = {
            key.digest: Window(cap=key.per_minute, seconds=_MINUTE, cells=1)
            for key in keyring.keys
            if key.per_minute is not None
        }

    def require(self, request: Request, *any_of: str, now_ms: int) -> Scopes:
        """Return the caller's scopes when one of them is among `any_of`; the call is counted.

        Raises:
            KeyNotGiven: no key, or an unknown one.
            ScopeNotGiven: the key has none of these scopes.
            KeyOverRate: the key has called too often.
        """
        if not self._keyring:
            return SCOPES
        key = self._key(request)
        if key.scopes.isdisjoint(any_of):
            raise ScopeNotGiven(f"this needs a key with the scope {' or '.join(any_of)}")
        window = self._windows.get(key.digest)
        if window is not None and window.is_over(key.digest, now_ms):
            raise KeyOverRate(window.cap, seconds=_MINUTE, ends_in=window.ends_in(now_ms))
        return key.scopes

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
