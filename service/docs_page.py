"""`/docs`: the OpenAPI document as one page of plain HTML, without scripts and other hosts."""

import json
from html import escape
from typing import Any, Final

Json = dict[str, Any]
_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;padding:.75rem;border:1px solid #8886;border-radius:.4rem}"
    "h2 code{font-size:1.1rem}dt{font-weight:600}dd{margin:0 0 .25rem 1rem}"
)


def page(document: Json) -> str:
    """Return the page of an OpenAPI document."""
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f"<details id='schema-{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        f"{_pre(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    )
    info = document["info"]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('summary', ''))} "
        "For machines: <a href='openapi.json'>openapi.json</a>.</p>"
        f"{operations}<h2>Schemas</h2>{schemas}</body></html>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    examples = "".join(
        f"<p>Body, {escape(media)}:</p>{_pre(described['example'])}"
        for media, described in list(body.items())[:1]
        if "example" in described
    )
    answers = "".join(
        f"<dt>{escape(str(code))}</dt><dd>{escape(answer['description'])}</dd>{_example(answer)}"
        for code, answer in operation["responses"].items()
    )
    return (
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('summary', ''))}</p>{examples}<dl>{answers}</dl></section>"
    )


def _example(answer: Json) -> str:
    described = answer.get("content", {}).get("application/json", {})
    return f"<dd>{_pre(described['example'])}</dd>" if "example" in described else ""


def _pre(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
