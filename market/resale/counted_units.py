"""What a call took of the quota, as the answer of its API says."""

import math
from typing import Any

import orjson

from market.resale.api_client import ApiAnswer
from market.resale.operations import Operation


def read_units(operation: Operation, answer: ApiAnswer) -> int:
    """Return what a call took of the quota, within the operation's bound."""
    stated: Any = None
    kind, _, where = (operation.units_from or "").partition(": ")
    if kind == "header":
        text = answer.stated.get(where.lower(), "").strip()
        stated = int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None
    elif kind == "json":
        try:
            stated = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            stated = None
        for part in where.split("."):
            stated = stated.get(part) if isinstance(stated, dict) else None
    if isinstance(stated, float) and math.isfinite(stated):
        stated = math.ceil(stated)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 0:
        stated = operation.units
    return int(min(stated, operation.units_max))


def list_reads(operation: Operation) -> tuple[str, ...]:
    """Return the headers of an answer that say what a call took of the quota."""
    kind, _, where = (operation.units_from or "").partition(": ")
    return (where.lower(),) if kind == "header" else ()
