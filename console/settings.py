"""What the console is told when it is built."""

from dataclasses import dataclass, field

from console.audit import AuditSettings
from schemas.keys import Keyring


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Settings of the console's process.

    Attributes:
        service_url: where the storefront page finds the service, as the shopper's browser sees it,
            `http://127.0.0.1:8080`. The service must allow the console's own origin.
        keys: the API keys; none: only callers on this machine.
        shoppers: user ids that the storefront page offers, known from past purchases.
        audit: when a banner without a reward counts as lost.
    """

    service_url: str
    keys: Keyring = field(default_factory=Keyring)
    shoppers: tuple[str, ...] = ()
    audit: AuditSettings = field(default_factory=lambda: AuditSettings(grace_seconds=30))
