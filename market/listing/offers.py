"""Offers as sellers write and read them.

Amounts in a request are US dollars as JSON numbers or decimal strings; a dollar is a USDC. They are
read exactly, and what has more than six decimals is refused, so nothing is rounded. A multiplier
has six decimals too; the price that it makes of the reference price is rounded down to 1e-6 USDC
per million tokens, in the buyer's favour. Media are priced by a ``unit`` of theirs, with a price
for one of it or a multiplier.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from eth_utils.address import is_checksum_address

from market.endpoints.places import is_same_place
from market.identity.keys import is_address
from market.listing.offer_expiry import EXPIRY
from market.listing.offer_tiers import TIERS, TIERS_COLUMN, check_tiers, parse_tiers
from market.pricing.amounts import parse_millionths
from market.pricing.media_units import UNITS, USD_PER_UNIT_MAX
from market.pricing.offer_prices import read_stored_tiers, write_tiers
from serving.dialects.serving_facts import parse_declared, write_declared
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields
from serving.models.dialing import UrlRefused, parse_base_url
from serving.models.names import NAME_RULE, is_model_name
from serving.models.prices import USD_PER_MTOK_MAX, USD_PER_REQUEST_MAX

USD_MAX: Final = 1_000_000_000
MULTIPLIER_MAX: Final = 100
RPM_MAX: Final = 1_000_000
KEY_MAX: Final = 4_096

_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY: Final = re.compile(rf"[!-~]{{1,{KEY_MAX}}}")
_PRICES: Final = ("price_input_per_1m", "price_output_per_1m")
_CACHED_PRICE: Final = "price_cached_input_per_1m"
_REQUEST_PRICE: Final = "price_per_request"
_BESIDE: Final = (_CACHED_PRICE, _REQUEST_PRICE, TIERS)
"""Prices that an offer of tokens may have beside those of input and output."""
_UNIT_PRICE: Final = "price_per_unit"
_AMOUNTS: Final = {
    # field: (column, maximum in whole units)
    "price_input_per_1m": ("price_input_usdc_per_mtok", USD_PER_MTOK_MAX),
    "price_output_per_1m": ("price_output_usdc_per_mtok", USD_PER_MTOK_MAX),
    "price_cached_input_per_1m": ("price_cached_input_usdc_per_mtok", USD_PER_MTOK_MAX),
    "price_per_request": ("price_per_request_usdc", USD_PER_REQUEST_MAX),
    "cost_multiplier": ("cost_multiplier_ppm", MULTIPLIER_MAX),
    "cap_daily_usd": ("cap_daily_usdc", USD_MAX),
    "quota_total_usd": ("quota_total_usdc", USD_MAX),
}
_COLUMNS: Final = {**{name: column for name, (column, _) in _AMOUNTS.items()}, TIERS: TIERS_COLUMN}
_TEXT_COLUMNS: Final = {"provider": "label"}
"""By the name that the reference has: what a seller calls its provider is a label here."""
DECLARES: Final = "declares"
_CLEARABLE: Final = frozenset(
    {*_BESIDE, "cap_daily_usd", "quota_total_usd", "rate_limit_rpm", DECLARES}
)
_FIELDS: Final = frozenset(
    {
        *_AMOUNTS,
        "model",
        "upstream_model",
        "api_key",
        "seller_base_url",
        "provider",
        "label",
        "payout_address",
        "rate_limit_rpm",
        "unit",
        _UNIT_PRICE,
        TIERS,
        DECLARES,
        *EXPIRY,
    }
)


@dataclass(frozen=True, slots=True)
class OfferWish:
    """What a seller asked for: columns to set, and the provider key where one was given."""

    columns: Mapping[str, Any]
    api_key: str | None

    def __repr__(self) -> str:
        return f"OfferWish({sorted(self.columns)})"


def parse_new_offer(body: Mapping[str, Any], *, seller: str, allow_loopback: bool) -> OfferWish:
    """Read the body of a new offer. Raises ``RequestRejected`` (400), naming the field."""
    wish = _parse(body, _FIELDS, allow_loopback=allow_loopback)
    for name in ("model", "api_key", "seller_base_url"):
        if body.get(name) is None:
            raise wrong_type(name, "given")
    columns = dict(wish.columns)
    _check_priced_one_way(body, is_medium=columns.get("unit") is not None)
    _set_unit_price(body, columns, columns.setdefault("unit", None))
    columns.setdefault("upstream_model", columns["model"])
    columns.setdefault("label", "")
    columns.setdefault("payout_address", seller)
    for column in (
        *(column for column, _ in _AMOUNTS.values()),
        "rate_limit_rpm",
        TIERS_COLUMN,
        DECLARES,
    ):
        columns.setdefault(column, None)
    _check_other_prices(columns)
    return OfferWish(columns, wish.api_key)


def parse_change(
    body: Mapping[str, Any], stored: Mapping[Any, Any], *, allow_loopback: bool
) -> OfferWish:
    """Read a change of a stored offer: only what is named changes. Raises ``RequestRejected``.

    A multiplier takes the place of prices and prices that of a multiplier; then both are needed.
    """
    # The base that is counted stays: sales before and after a change must compare.
    known = (_FIELDS - {"model", "unit"}) | {"status"}
    wish = _parse(body, known, allow_loopback=allow_loopback)
    if not body:
        raise bad_request("invalid_request", "The body names nothing to change.")
    columns = dict(wish.columns)
    if wish.api_key is None:
        keep_place(columns, "seller_base_url", stored["seller_base_url"])
    is_medium = stored["unit"] is not None
    if "cost_multiplier_ppm" in columns:
        _check_priced_one_way(body, is_medium=is_medium)
        columns |= {
            "price_input_usdc_per_mtok": None,
            "price_output_usdc_per_mtok": None,
            "price_cached_input_usdc_per_mtok": None,
            "price_per_request_usdc": None,
            TIERS_COLUMN: None,
        }
    elif any(name in body for name in (*_PRICES, *_BESIDE, _UNIT_PRICE)):
        if is_medium or _UNIT_PRICE in body or stored["cost_multiplier_ppm"] is not None:
            _check_priced_one_way(body, is_medium=is_medium)
        columns["cost_multiplier_ppm"] = None
        _set_unit_price(body, columns, stored["unit"])
        _check_other_prices({**stored, **columns})
    return OfferWish(columns, wish.api_key)


def keep_place(columns: dict[str, Any], name: str, stored_url: str) -> None:
    """Refuse a base URL that is another place than the stored one: 400, its key is needed again.

    Without a key no base URL is ever written: ``name`` is taken out of ``columns``.
    """
    wanted_url = columns.pop(name, None)
    if wanted_url is not None and not is_same_place(stored_url, wanted_url):
        raise wrong_type("api_key", f"given again with a new {name}")


def _set_unit_price(body: Mapping[str, Any], columns: dict[str, Any], unit: str | None) -> None:
    if unit is None or body.get(_UNIT_PRICE) is None:
        return
    price = UNITS[unit].to_price(_read_amount(_UNIT_PRICE, body[_UNIT_PRICE], USD_PER_UNIT_MAX))
    columns |= {
        "price_input_usdc_per_mtok": price.input_usdc_per_mtok,
        "price_output_usdc_per_mtok": price.output_usdc_per_mtok,
    }


def _check_priced_one_way(body: Mapping[str, Any], *, is_medium: bool) -> None:
    has_unit_price = body.get(_UNIT_PRICE) is not None
    if is_medium:
        is_right = has_unit_price != (body.get("cost_multiplier") is not None)
        if not is_right or any(body.get(name) is not None for name in (*_PRICES, *_BESIDE)):
            message = "What has a unit is priced by price_per_unit or by cost_multiplier alone."
            raise bad_request("invalid_price", message, param=_UNIT_PRICE)
        return
    if has_unit_price:
        message = f"{_UNIT_PRICE!r} needs a unit."
        raise bad_request("invalid_price", message, param=_UNIT_PRICE)
    prices = [body.get(name) is not None for name in _PRICES]
    if all(prices) == (body.get("cost_multiplier") is not None) or any(prices) != all(prices):
        message = (
            "Give either price_input_per_1m and price_output_per_1m, or cost_multiplier alone."
        )
        raise bad_request("invalid_price", message, param=_PRICES[0])
    for name in _BESIDE:
        if body.get(name) is not None and not all(prices):
            message = f"{name!r} needs prices: a multiplier has the reference's."
            raise bad_request("invalid_price", message, param=name)


def _check_other_prices(columns: Mapping[Any, Any]) -> None:
    """Refuse a price of cached tokens that is above that of all other prompt tokens, and prices of
    longer prompts that are far above those of short ones."""
    if columns[TIERS_COLUMN] is not None:
        check_tiers(
            read_stored_tiers(columns[TIERS_COLUMN]),
            input_price=columns["price_input_usdc_per_mtok"],
            output_price=columns["price_output_usdc_per_mtok"],
        )
    cached = columns["price_cached_input_usdc_per_mtok"]
    if cached is not None and cached > columns["price_input_usdc_per_mtok"]:
        message = f"{_CACHED_PRICE!r} is above 'price_input_per_1m'."
        raise bad_request("invalid_price", message, param=_CACHED_PRICE)


def _parse(body: Mapping[str, Any], known: frozenset[str], *, allow_loopback: bool) -> OfferWish:
    check_fields(body, known)
    if "provider" in body and "label" in body:
        raise bad_request("invalid_request", "'provider' is a label: give one.", param="provider")
    columns: dict[str, Any] = {}
    for name, value in body.items():
        if name in EXPIRY:
            continue  # read by ``market.listing.offer_expiry``, which knows the time
        if value is None and name in _CLEARABLE:
            columns[_COLUMNS.get(name, name)] = None
        elif value is None:
            raise wrong_type(name, "given, or left out")
        elif name in _AMOUNTS:
            column, maximum = _AMOUNTS[name]
            columns[column] = _read_amount(name, value, maximum)
        elif name == TIERS:
            columns[TIERS_COLUMN] = write_tiers(parse_tiers(value))
        elif name == DECLARES:
            columns[name] = orjson.dumps(write_declared(parse_declared(value))).decode()
        elif name not in ("api_key", _UNIT_PRICE):
            columns[_TEXT_COLUMNS.get(name, name)] = _read_text_field(
                name, value, allow_loopback=allow_loopback
            )
    key = body.get("api_key")
    return OfferWish(columns, None if key is None else read_api_key(key))


def _read_amount(name: str, value: Any, maximum: int) -> int:
    try:
        return parse_millionths(value, maximum=maximum)
    except ValueError as error:
        raise bad_request("invalid_amount", f"'{name}' {error}.", param=name) from None


def _read_text_field(name: str, value: Any, *, allow_loopback: bool) -> Any:
    if name == "rate_limit_rpm":
        if type(value) is not int or not 1 <= value <= RPM_MAX:
            raise wrong_type(name, f"an integer from 1 to {RPM_MAX}")
        return value
    if not isinstance(value, str):
        raise wrong_type(name, "a string")
    match name:
        case "model" | "upstream_model":
            if not is_model_name(value):
                raise wrong_type(name, NAME_RULE)
            return value
        case "provider" | "label":
            if _LABEL.fullmatch(value) is None:
                raise wrong_type(name, "a label of letters, digits, dots and dashes")
            return value
        case "unit":
            if value not in UNITS:
                raise wrong_type(name, f"one of {', '.join(UNITS)}")
            return value
        case "status":
            if value not in ("active", "paused"):
                raise wrong_type(name, "'active' or 'paused'")
            return value
        case "payout_address":
            return read_payout_address(value)
    return read_base_url(value, allow_loopback=allow_loopback)


def read_base_url(value: Any, *, allow_loopback: bool) -> str:
    """Return a base URL that may be called as far as its text tells. Raises ``RequestRejected``."""
    if not isinstance(value, str):
        raise wrong_type("seller_base_url", "a string")
    try:
        return parse_base_url(value, allow_loopback=allow_loopback).url
    except UrlRefused as error:
        raise refused_url(error) from None


def refused_url(error: UrlRefused) -> Exception:
    """400: a base URL that must not be called."""
    message = f"The base URL cannot be used: {error}."
    return bad_request("base_url_refused", message, param="seller_base_url")


def read_api_key(value: Any) -> str:
    """Return a provider key that fits into a header. Raises ``RequestRejected``; shows nothing."""
    if not isinstance(value, str) or _KEY.fullmatch(value) is None:
        raise wrong_type("api_key", "a key of printable characters")
    return value


def read_payout_address(value: str) -> str:
    """Return an address in lower case. Mixed case must be by EIP-55: a slip of a letter shows."""
    digits = value[2:]
    is_mixed = digits != digits.lower() and digits != digits.upper()
    if not is_address(value) or (is_mixed and not is_checksum_address(value)):
        raise wrong_type("payout_address", "an Ethereum address with a right checksum")
    if int(value, 16) == 0:
        raise wrong_type("payout_address", "an address that a private key or a contract controls")
    return value.lower()


def check_payable(payout_address: str, unpayable: Collection[str]) -> None:
    """Refuse a payout address that is one of the operator's contracts. Raises ``RequestRejected``.

    USDC and the treasury refuse to be paid, position and adapter could never pay out again.
    """
    if payout_address in unpayable:
        raise wrong_type("payout_address", "a wallet, not one of the contracts that pay it")
