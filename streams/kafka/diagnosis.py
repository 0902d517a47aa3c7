"""Why a cluster cannot be reached, and which setting to look at."""

import socket
import ssl
from typing import Any, Final

from kafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

_PROTOCOL: Final = "QUINTET_KAFKA_SECURITY_PROTOCOL"
_PROBE_SECONDS: Final = 2.0
_SASL: Final = "QUINTET_KAFKA_SASL_"


def explanation(options: dict[str, Any], failure: BaseException) -> str:
    """Return what went wrong and what to do.

    Args:
        options: of the client that could not connect, as kafka-python takes them.
        failure: how its connection ended.
    """
    protocol = options["security_protocol"]
    if isinstance(failure, SaslAuthenticationFailedError):
        hint = f"look at {_SASL}USERNAME, {_SASL}PASSWORD and {_SASL}MECHANISM"
    elif isinstance(failure, UnsupportedSaslMechanismError):
        hint = f"look at {_SASL}MECHANISM"
    elif isinstance(failure, IllegalSaslStateError):
        hint = f"the port asks for no password: look at {_PROTOCOL}, which is {protocol}"
    else:
        hint = _about_tls(options, str(failure), failure) or _silent(protocol)
    return f"{failure}; {hint}"


def _silent(protocol: str) -> str:
    """Return the hint where the cluster ended the connection without a word."""
    said = f"is it a Kafka broker, and does it speak as {_PROTOCOL} says ({protocol})?"
    if protocol.startswith("SASL"):
        return f"{said} Are {_SASL}USERNAME and {_SASL}PASSWORD right?"
    return said


def _about_tls(options: dict[str, Any], said: str, failure: BaseException) -> str:
    protocol = options["security_protocol"]
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return (
            "QUINTET_KAFKA_CA_FILE must hold the CA that signed its certificate, and the"
            " certificate the name of its host"
        )
    if "Handshake failed" in said:
        return f"the port seems not to speak TLS: look at {_PROTOCOL}, which is {protocol}"
    if isinstance(failure, FileNotFoundError | PermissionError | IsADirectoryError | ssl.SSLError):
        return "look at QUINTET_KAFKA_CA_FILE"
    if "PLAINTEXT" in protocol and any(map(_speaks_tls, options["bootstrap_servers"])):
        return f"the port seems to demand TLS: look at {_PROTOCOL}, which is {protocol}"
    return ""


def _speaks_tls(server: str) -> bool:
    """Return whether a port answers a TLS greeting; nothing is said to it but that."""
    host, _, port = server.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except (OSError, ValueError):
        return False
