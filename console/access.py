"""Who may operate the ring: keys with the scope `operate`, or, without keys, this machine.

A browser that visits a strange page must not be talked into a rollback: operations want a JSON
content type (which a foreign page cannot send without asking first), refuse a foreign origin, and,
where loopback is the only guard, a foreign host name as well (a name may be rebound to 127.0.0.1).
"""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from console.errors import BadRequest, NotAllowed
from schemas.keys import OPERATE, Keyring
from schemas.loopback import is_at_loopback, is_loopback

_SAME_ORIGIN: Final = frozenset({"same-origin", "none"})


class Access:
    """Checks callers against the API keys.

    Args:
        keys: the API keys; none: callers on this machine have every scope, others none.
    """

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def require(self, request: Request, scope: str = OPERATE) -> None:
        """Return when the caller has the scope.

        Raises:
            NotAllowed: no key, an unknown key, a key without the scope, or not on this machine.
        """
        if not self._keys:
            if request.client is None or not is_loopback(request.client.host):
                raise NotAllowed("without API keys only callers on this machine have this scope")
            if not is_at_loopback("//" + request.headers.get("host", "")):
                raise NotAllowed("call the console by a loopback name: 127.0.0.1 or localhost")
            return
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        known = self._keys.find(key.strip()) if kind.lower() == "bearer" else None
        if known is None or scope not in known.scopes:
            raise NotAllowed(f"needs `Authorization: Bearer KEY` of a key with the scope {scope}")

    def require_operation(self, request: Request) -> None:
        """Return when the caller may change something, and meant to.

        Raises:
            NotAllowed: as `require`, or the request comes from another site's page.
            BadRequest: the content type is not JSON.
        """
        if request.headers.get("sec-fetch-site", "none") not in _SAME_ORIGIN:
            raise NotAllowed("operations are accepted from the console's own pages only")
        origin = request.headers.get("origin")
        if origin is not None and _netloc(origin) != request.headers.get("host", "").lower():
            raise NotAllowed("operations are accepted from the console's own pages only")
        self.require(request)
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise BadRequest("send `Content-Type: application/json` (an empty object will do)")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
