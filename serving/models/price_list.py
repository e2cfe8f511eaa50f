"""What an upstream says of its prices at ``/v1/prices``. Pure.

``{"data": [{"id": …, "input_usdc_per_mtok": …, "output_usdc_per_mtok": …}]}``, with
``cached_input_usdc_per_mtok``, ``per_request_usdc``, ``tiers``, ``context_tokens``,
``image_tokens``, ``updated_at`` (ISO 8601), ``valid_until`` (Unix seconds) and ``reference`` where
it likes. ``tiers`` are the prices of longer prompts, each with ``above_prompt_tokens``;
``reference`` is what the model costs at its own provider, with the same fields. A price with
``valid_until`` counts for so long as it had left at ``updated_at``, whatever the clocks say. An
entry that makes no sense is left out.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from contracts.units import USDC_ONE
from serving.models.prices import USD_PER_REQUEST_MAX, USDC_PER_MTOK_MAX, Price
from serving.models.terms import Terms

TIERS_MAX: Final = 16
_PRICES: Final = (
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
)
_TOKENS_MAX: Final = 2**31
_TIME_MAX: Final = 2**40
LASTS_S_MIN: Final = 1
"""So long any price counts, or a list would be asked for again and again."""


def read_entry(entry: Mapping[str, Any], *, now_s: int) -> Terms | None:
    """Return upstream's terms for one model, or None where they make no sense."""
    tiers = _read_tiers(entry)
    stated_at_s: int | None = now_s
    if entry.get("updated_at") is not None:
        stated_at_s = _read_time(entry["updated_at"])
    if tiers is None or stated_at_s is None:
        return None
    return Terms(
        tiers,
        "upstream",
        _read_integer(entry, "context_tokens", _TOKENS_MAX),
        _read_integer(entry, "image_tokens", _TOKENS_MAX),
        stated_at_s,
        valid_until_s=_read_end(entry, stated_at_s, now_s),
    )


def read_reference(entry: Mapping[str, Any]) -> Terms | None:
    """Return what upstream says that the model costs at its own provider, None without a word."""
    reference = entry.get("reference")
    if not isinstance(reference, Mapping):
        return None
    tiers = _read_tiers(reference)
    return None if tiers is None else Terms(tiers, "upstream")


def _read_tiers(entry: Mapping[str, Any]) -> tuple[tuple[int, Price], ...] | None:
    price, longer = _read_price(entry), entry.get("tiers")
    if price is None:
        return None
    if longer is None:
        return ((0, price),)
    if not isinstance(longer, list) or len(longer) > TIERS_MAX:
        return None
    tiers = [(0, price)]
    for tier in longer:
        found = _read_price(tier) if isinstance(tier, Mapping) else None
        above = None if found is None else _read_integer(tier, "above_prompt_tokens", _TOKENS_MAX)
        if found is None or above is None or above <= tiers[-1][0]:
            return None
        tiers.append((above, found))
    return tuple(tiers)


def _read_price(entry: Mapping[str, Any]) -> Price | None:
    input_price, output_price, cached_price = (
        _read_integer(entry, name, USDC_PER_MTOK_MAX) for name in _PRICES
    )
    if input_price is None or output_price is None:
        return None
    fee_usdc: int | None = 0
    if entry.get("per_request_usdc") is not None:
        fee_usdc = _read_integer(entry, "per_request_usdc", USD_PER_REQUEST_MAX * USDC_ONE)
    if fee_usdc is None:
        return None
    return Price(
        input_price,
        output_price,
        None if cached_price is None else min(cached_price, input_price),
        fee_usdc,
    )


def _read_end(entry: Mapping[str, Any], stated_at_s: int, now_s: int) -> int | None:
    """Return until when a price counts by our clock, None where that is not said."""
    until_s = _read_integer(entry, "valid_until", _TIME_MAX)
    return None if until_s is None else now_s + max(LASTS_S_MIN, until_s - stated_at_s)


def _read_integer(entry: Mapping[str, Any], name: str, most: int) -> int | None:
    value = entry.get(name)
    return value if type(value) is int and 0 <= value <= most else None


def _read_time(value: Any) -> int | None:
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
