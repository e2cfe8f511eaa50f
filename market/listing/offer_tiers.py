"""The prices of longer prompts in what a seller writes of an offer. Pure.

``tiers`` is a list, ascending by ``above_prompt_tokens``: all tokens of a request whose
prompt has more tokens than that, and no more than the next tier's, cost the tier's prices.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from market.pricing.amounts import parse_millionths
from market.pricing.offer_prices import StoredTier
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields
from serving.models.price_list import TIERS_MAX
from serving.models.prices import USD_PER_MTOK_MAX

TIERS: Final = "tiers"
TIERS_COLUMN: Final = "price_tiers"
ABOVE: Final = "above_prompt_tokens"
ABOVE_MAX: Final = 100_000_000
DEARER_MAX: Final = 20
"""How many times as much as a short prompt's a longer prompt's prices may be. Sellers are ordered
by the length that is estimated, and it is their word that says the real one: a price without bounds
just above the estimate would be a trap."""
_INPUT, _OUTPUT, _CACHED = "price_input_per_1m", "price_output_per_1m", "price_cached_input_per_1m"
_KNOWN: Final = frozenset({ABOVE, _INPUT, _OUTPUT, _CACHED})


def parse_tiers(value: Any) -> list[StoredTier]:
    """Read the prices of longer prompts. Raises ``RequestRejected`` (400), naming the field."""
    if not isinstance(value, list) or not 1 <= len(value) <= TIERS_MAX:
        raise wrong_type(TIERS, f"a list of 1 to {TIERS_MAX} prices of longer prompts")
    tiers: list[StoredTier] = []
    for place, tier in enumerate(value):
        name = f"{TIERS}[{place}]"
        if not isinstance(tier, Mapping):
            raise wrong_type(name, "an object")
        check_fields(tier, _KNOWN, where=f"{name}.")
        least = tiers[-1][0] + 1 if tiers else 1
        above = tier.get(ABOVE)
        if type(above) is not int or not least <= above <= ABOVE_MAX:
            raise wrong_type(f"{name}.{ABOVE}", f"an integer from {least} to {ABOVE_MAX}")
        input_price, output_price = (_read_price(tier, name, one) for one in (_INPUT, _OUTPUT))
        cached_price = None if tier.get(_CACHED) is None else _read_price(tier, name, _CACHED)
        if cached_price is not None and cached_price > input_price:
            message = f"'{name}.{_CACHED}' is above '{name}.{_INPUT}'."
            raise bad_request("invalid_price", message, param=f"{name}.{_CACHED}")
        tiers.append((above, input_price, output_price, cached_price))
    return tiers


def check_tiers(tiers: Sequence[StoredTier], *, input_price: int, output_price: int) -> None:
    """Refuse prices of longer prompts that are far above those of short ones. Raises 400."""
    for place, (_, tier_input, tier_output, _) in enumerate(tiers):
        for field, one, short in (
            (_INPUT, tier_input, input_price),
            (_OUTPUT, tier_output, output_price),
        ):
            if one > DEARER_MAX * short:
                name = f"{TIERS}[{place}].{field}"
                message = f"{name!r} is more than {DEARER_MAX} times {field!r}."
                raise bad_request("invalid_price", message, param=name)


def _read_price(tier: Mapping[str, Any], name: str, field: str) -> int:
    """Return a price in 1e-6 USDC per 1e6 tokens."""
    if tier.get(field) is None:
        raise wrong_type(f"{name}.{field}", "given")
    try:
        return parse_millionths(tier[field], maximum=USD_PER_MTOK_MAX)
    except ValueError as error:
        field = f"{name}.{field}"
        raise bad_request("invalid_amount", f"'{field}' {error}.", param=field) from None
