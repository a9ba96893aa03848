"""How results show themselves in a notebook."""

from __future__ import annotations

import html

import pandas as pd


def titled(title: str, frame: pd.DataFrame) -> str:
    """Write a table with a title, escaped, for ``_repr_html_``."""
    return f"<p>{html.escape(title)}</p>{frame.to_html(index=False, max_rows=40)}"
