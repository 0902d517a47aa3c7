"""What the console is told when it is built."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from console.audit import AuditSettings


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Settings of the console's process.

    Attributes:
        service_url: where the storefront page finds the service, as the shopper's browser sees it,
            `http://127.0.0.1:8080`. The service must allow the console's own origin.
        keys: scopes by API key; empty: only callers on this machine.
        shoppers: user ids that the storefront page offers, known from past purchases.
        audit: when a banner without a reward counts as lost.
    """

    service_url: str
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shoppers: tuple[str, ...] = ()
    audit: AuditSettings = field(default_factory=lambda: AuditSettings(grace_seconds=30))
