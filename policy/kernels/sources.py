"""A fingerprint of everything that is compiled, so that compiled code kept on disk is never stale.

numba's cache looks at the file of the function it compiled, not at the files of the functions and
constants that went into it: after a change elsewhere it would go on serving the old policy. So only
the functions called from outside are kept on disk, and each closes over this number, because what a
function closes over is part of the cache's key.
"""

import hashlib
from pathlib import Path
from typing import Final

from policy import architecture
from schemas import candidates, history, limits


def fingerprint() -> int:
    """Return 62 bits of a hash of the kernels' source and of the constants they are built with."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    sources += [
        Path(str(module.__file__)) for module in (architecture, candidates, history, limits)
    ]
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).digest()
    return int.from_bytes(digest[:8], "little") >> 2


FINGERPRINT: Final = fingerprint()
