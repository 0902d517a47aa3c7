"""The secret of this installation: given, or made once and kept in the data directory."""

import os
import secrets
from pathlib import Path

from cli.errors import BadUsage

SECRET_BYTES = 32


def installation_secret(given: str | None, data_dir: Path) -> bytes:
    """Return the key of pseudonyms and tokens.

    Without a given one, the first process that asks makes it (readable by its owner alone); the
    others find it. Losing it makes every pseudonym in the log a stranger.

    Raises:
        BadUsage: the kept secret is not what this function wrote.
    """
    if given is not None:
        return given.encode()
    path = data_dir / "secret"
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = data_dir / f".secret.{secrets.token_hex(8)}"
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)  # fails when another process was faster: theirs stands
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    kept = path.read_bytes()
    if len(kept) != 2 * SECRET_BYTES:
        raise BadUsage(f"{path} is damaged: restore it, or set QUINTET_SECRET")
    return kept
