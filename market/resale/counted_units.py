"""What an answer of an API says in numbers: what a call took of the quota, what is left of it."""

import math
from typing import Any

import orjson

from market.resale.api_client import ApiAnswer
from market.resale.operations import Operation


def read_units(operation: Operation, answer: ApiAnswer) -> int:
    """Return what a call took of the quota, within the operation's bound."""
    stated = None
    if operation.units_from is not None:
        stated = read_stated(operation.units_from, answer)
    return min(operation.units if stated is None else stated, operation.units_max)


def read_stated(source: str, answer: ApiAnswer) -> int | None:
    """Return a number of an answer, rounded up, by ``header: NAME`` or ``json: a.b``; None where
    it says none."""
    kind, _, where = source.partition(": ")
    stated: Any = None
    if kind == "header":
        text = answer.stated.get(where.lower(), "").strip()
        stated = int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None
    else:
        try:
            stated = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            stated = None
        for part in where.split("."):
            stated = stated.get(part) if isinstance(stated, dict) else None
    if isinstance(stated, float) and math.isfinite(stated):
        stated = math.ceil(stated)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 0:
        return None
    return stated


def list_headers(source: str | None) -> tuple[str, ...]:
    """Return the headers of an answer that a source is about."""
    kind, _, where = (source or "").partition(": ")
    return (where.lower(),) if kind == "header" else ()


def list_reads(operation: Operation) -> tuple[str, ...]:
    """Return the headers of an answer that say what a call took of the quota."""
    return list_headers(operation.units_from)
