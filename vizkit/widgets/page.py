"""One page that works without a kernel: the widget's own script, and its traits inside."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import anywidget

from vizkit.errors import InputError
from vizkit.files import replacing

_TEMPLATE = Path(__file__).parent / "page.html"
_EXPORT = "export default { render };"
# what may not stand in a script element, as JSON writes it otherwise
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def write_page(path: Path, widget: anywidget.AnyWidget, title: str) -> Path:
    """Write a widget with its data as one file.

    Parameters
    ----------
    path : Path
        Replaced in one step; its folder must exist.
    widget : AnyWidget
        With all it needs in its traits.
    title : str
        Of the page; plain text.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    target = path.expanduser()
    if not target.parent.is_dir():
        raise InputError(f"no such folder: {target.parent}")
    with replacing(target) as partial:
        partial.write_text(_page(widget, title), encoding="utf-8")
    return target


def _page(widget: anywidget.AnyWidget, title: str) -> str:
    ours = {
        "styles": str(widget._css),  # noqa: SLF001  (anywidget's own names)
        "script": str(widget._esm).replace(_EXPORT, "const widget = { render };"),  # noqa: SLF001
    }
    page = _filled(_TEMPLATE.read_text(encoding="utf-8"), ours)
    # the browser runs these alone, whatever else should look like a script
    hashes = {
        "style_hash": _hash_inside(page, "<style>", "</style>"),
        "script_hash": _hash_inside(page, '<script type="module">', "</script>"),
    }
    return _filled(page, {"title": html.escape(title), "state": _state(widget), **hashes})


def _filled(page: str, parts: dict[str, str]) -> str:
    """Put parts in their places, in one pass, so that what is put in is not searched again."""
    places = "|".join(parts)
    return re.sub(rf"\{{\{{({places})\}}\}}", lambda found: parts[found[1]], page)


def _hash_inside(page: str, start: str, end: str) -> str:
    text = page.partition(start)[2].partition(end)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _state(widget: anywidget.AnyWidget) -> str:
    """Return a widget's own traits as JSON."""
    own = widget.trait_defaults().keys() - anywidget.AnyWidget().trait_names()
    values: dict[str, Any] = {
        name: getattr(widget, name) for name in sorted(own) if not name.startswith("_")
    }
    # what is going on, and what went wrong, is over when the page is read
    values |= {name: "" for name in ("busy", "message") if name in values}
    binary = {name: value for name, value in values.items() if isinstance(value, bytes)}
    state = {
        "state": {name: value for name, value in values.items() if name not in binary},
        "bytes": {name: base64.b64encode(value).decode() for name, value in binary.items()},
    }
    text = json.dumps(state, allow_nan=False)
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return text
