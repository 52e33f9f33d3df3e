"""The page as text, and on disk.

The record of `payload` travels as JSON inside the page, with every `<`, `>` and `&` written as an escape, so no name of
a product can end the script element or start another. The page forbids itself every request by its own content policy.
"""

import html
import json
import os
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from shelfcast.errors import StoreError
from shelfcast.report.inputs import ReportInputs
from shelfcast.report.payload import payload

_SCRIPTS = ("base.js", "charts.js", "sections.js", "savings.js", "products.js")
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render(inputs: ReportInputs) -> str:
    """The whole page; the same inputs give the same text."""
    made = payload(inputs)
    parts = {
        "TITLE": html.escape(inputs.title),
        "SUMMARY": html.escape(made["header"]["summary"]),
        "ATTRIBUTION": "".join(f"<p>{html.escape(text)}</p>" for text in inputs.attribution),
        "STYLE": _asset("page.css"),
        "PAYLOAD": as_json(made),
        "SCRIPT": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    page = _asset("page.html")
    pieces = page.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def as_json(record: dict[str, Any]) -> str:
    """Compact JSON that is safe inside a script element."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")


def write_report(inputs: ReportInputs, path: Path | str) -> Path:
    """Write the page to `path`, whole or not at all; raises StoreError where it cannot be written."""
    target = Path(path)
    text = render(inputs)
    staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(text, encoding="utf-8", newline="\n")
        staging.replace(target)
    except OSError as error:
        with suppress(OSError):
            staging.unlink()
        raise StoreError(f"cannot write the report to {target}: {error}. Choose a writable folder.") from error
    return target


def _asset(name: str) -> str:
    """A file of the page's own design, kept beside this module."""
    return files("shelfcast.report").joinpath("assets", name).read_text(encoding="utf-8")
