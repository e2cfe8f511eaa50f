"""Lists as CSV. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet would run. Models' names and the like are untrusted text."""


def write_csv(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, with_head: bool = True
) -> bytes:
    """Return rows as lines of CSV: an empty cell for None, no cell that begins as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if with_head:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_escape(row[name]) for name in columns])
    return text.getvalue().encode()


def _escape(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in _FORMULA:
        return "'" + value
    return "" if value is None else value
