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
_DRAWN: Final = "learning.html"
_PLOTLY: Final = "plotly.min.js"


def plotly_script() -> Path | None:
    """Return plotly's script inside the installed package; None when it is not installed."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    script = Path(found.submodule_search_locations[0]) / "package_data" / _PLOTLY
    return script if script.is_file() else None


def content_policy(service_url: str, *, inline_styles: bool = False) -> str:
    """Return the content security policy: pages talk to the console and the service alone.

    Args:
        service_url: where the storefront page finds the service.
        inline_styles: plotly puts style elements of its own into the page it draws on.
    """
    parts = urlsplit(service_url)
    styles = "style-src 'self' 'unsafe-inline'" if inline_styles else "style-src 'self'"
    return (
        f"default-src 'none'; script-src 'self'; {styles}; img-src 'self' data:; "
        f"connect-src 'self' {parts.scheme}://{parts.netloc}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def security_headers(service_url: str) -> Mapping[str, str]:
    """Return the headers of every answer that does not bring its own."""
    return {
        "Content-Security-Policy": content_policy(service_url),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


class Assets:
    """Every file that may be asked for, found once.

    Args:
        service_url: where the storefront page finds the service.
    """

    def __init__(self, service_url: str) -> None:
        self._drawing = content_policy(service_url, inline_styles=True)
        self._files = {path.name: path for path in _PAGES.iterdir() if path.suffix in _TYPES}
        script = plotly_script()
        if script is not None:
            self._files[_PLOTLY] = script

    def page(self, name: str) -> Response:
        """Return a page by its file name."""
        headers = {"Cache-Control": "no-cache"}
        if name == _DRAWN:
            headers["Content-Security-Policy"] = self._drawing
        return FileResponse(self._files[name], media_type=_TYPES[".html"], headers=headers)

    def asset(self, name: str) -> Response:
        """Return a script or a style sheet by its file name; 404 for anything else."""
        path = self._files.get(name)
        if path is None or path.suffix == ".html":
            return problem(404)
        caching = "max-age=86400" if name == _PLOTLY else "no-cache"
        return FileResponse(
            path, media_type=_TYPES[path.suffix], headers={"Cache-Control": caching}
        )
