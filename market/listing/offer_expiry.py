"""Quotas that expire, in what a seller writes of an offer. Pure.

``quota_resets_at`` is the instant at which what is not sold expires; with ``floor_pct`` the
offer's prices fall until then to so much of them (``market.pricing.falling``).
"""

from collections.abc import Mapping
from typing import Any, Final

from market.pricing.falling import parse_instant
from serving.http.errors import bad_request, wrong_type

RESETS_AT: Final = "quota_resets_at"
FLOOR: Final = "floor_pct"
EXPIRY: Final = (RESETS_AT, FLOOR)
LEFT_S_MIN: Final = 60
LEFT_S_MAX: Final = 366 * 86_400


def parse_expiry(
    body: Mapping[str, Any], stored: Mapping[Any, Any] | None, *, now_s: int
) -> dict[str, Any]:
    """Return the columns that a new offer (``stored`` None) or a change of one sets.

    A fall begins when it is stated. Raises ``RequestRejected`` (400), naming the field.
    """
    if not any(name in body for name in EXPIRY):
        return {}
    before = {RESETS_AT: None, FLOOR: None} if stored is None else _read_stored(stored)
    resets_at, floor_pct = (body.get(name, before[name]) for name in EXPIRY)
    if resets_at is None:
        if floor_pct is not None:
            raise wrong_type(RESETS_AT, "given where prices fall to a floor")
        return {"quota_resets_at_s": None, "falls_from_s": None, "floor_pct": None}
    try:
        resets_at_s = parse_instant(resets_at)
    except ValueError as error:
        raise bad_request("invalid_type", f"{RESETS_AT!r} {error}.", param=RESETS_AT) from None
    if not LEFT_S_MIN <= resets_at_s - now_s <= LEFT_S_MAX:
        raise wrong_type(RESETS_AT, "from a minute to a year from now")
    if floor_pct is not None and (type(floor_pct) is not int or not 1 <= floor_pct <= 99):
        raise wrong_type(FLOOR, "a whole number from 1 to 99: per cent of the price")
    return {"quota_resets_at_s": resets_at_s, "falls_from_s": now_s, "floor_pct": floor_pct}


def _read_stored(row: Mapping[Any, Any]) -> dict[str, int | None]:
    return {RESETS_AT: row["quota_resets_at_s"], FLOOR: row["floor_pct"]}
