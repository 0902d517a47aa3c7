"""Which names are this machine's alone: what guards a process where there are no API keys."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Return True for an address that only this machine reaches, and for `localhost`.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost")
        (True, True, True)
        >>> is_loopback("192.168.1.7"), is_loopback("shop.example"), is_loopback(None)
        (False, False, False)
    """
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=64)
def is_at_loopback(url: str) -> bool:
    """Return whether the host of a URL or an origin, or of a Host header after `//`, is loopback.

    Example:
        >>> is_at_loopback("http://localhost:3000"), is_at_loopback("//127.0.0.1:8080")
        (True, True)
        >>> is_at_loopback("null"), is_at_loopback("//rebound.example"), is_at_loopback("//[::")
        (False, False, False)
    """
    try:
        return is_loopback(urlsplit(url).hostname)
    except ValueError:
        return False
