"""The pages and what they are made of: files written by hand, and plotly's own script.

Nothing is loaded from another host: the script for charts is the one inside the installed Python
package `plotly`, and the content security policy forbids the rest.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi.responses import FileResponse, Response

from console.problems import problem

_PAGES: Final = Path(__file__).parent / "pages"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PLOTLY: Final = "plotly.min.js"


def plotly_script() -> Path | None:
    """Return plotly's script inside the installed package; None when it is not installed."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    script = Path(found.submodule_search_locations[0]) / "package_data" / _PLOTLY
    return script if script.is_file() else None


def security_headers(service_url: str) -> Mapping[str, str]:
    """Return the headers of every answer; pages may talk to the console and the service alone."""
    parts = urlsplit(service_url)
    service = f"{parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {service}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


class Assets:
    """Every file that may be asked for, found once."""

    def __init__(self) -> None:
        self._files = {path.name: path for path in _PAGES.iterdir() if path.suffix in _TYPES}
        script = plotly_script()
        if script is not None:
            self._files[_PLOTLY] = script

    def page(self, name: str) -> Response:
        """Return a page by its file name."""
        return FileResponse(
            self._files[name], media_type=_TYPES[".html"], headers={"Cache-Control": "no-cache"}
        )

    def asset(self, name: str) -> Response:
        """Return a script or a style sheet by its file name; 404 for anything else."""
        path = self._files.get(name)
        if path is None or path.suffix == ".html":
            return problem(404)
        caching = "max-age=86400" if name == _PLOTLY else "no-cache"
        return FileResponse(
            path, media_type=_TYPES[path.suffix], headers={"Cache-Control": caching}
        )
