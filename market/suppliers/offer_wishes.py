"""A supplier's offer as its supplier writes it.

Money is a decimal string in US dollars for 1e6 tokens, of at most six decimals, read exactly. A
``provider_type`` that names a provider only fills in the base URL that was left out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from market.listing.offers import RPM_MAX, read_api_key
from market.pricing.amounts import parse_millionths
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import check_fields
from serving.models.names import NAME_RULE, is_model_name
from serving.models.prices import USD_PER_MTOK_MAX

MODELS_MAX: Final = 50
QUOTA_MAX: Final = 10**15
LEGAL_BASIS_MAX: Final = 500
BID: Final = "bid_price_per_1m_usdt"

BASE_URLS: Final[Mapping[str, str | None]] = {
    "openai_compatible": None,
    "anthropic": "https://api.anthropic.com/v1",
    "openai": "https://api.openai.com/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "bedrock": None,
    "azure_openai": None,
    "mistral": "https://api.mistral.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "xai": "https://api.x.ai/v1",
}
"""The base URL that a type of provider stands for, None where the supplier must give it.
Anthropic's is the one that speaks OpenAI's API, as all do here."""

_CHANGEABLE: Final = frozenset(
    {"api_key", "base_url", BID, "rate_limit_rpm", "quota_total", "legal_basis", "status"}
)
_NEW: Final = (_CHANGEABLE - {"status"}) | {"provider_type", "model_list"}
_CLEARABLE: Final = frozenset({"rate_limit_rpm", "quota_total", "legal_basis"})
_COLUMNS: Final = {
    BID: "bid_usdc_per_mtok",
    "quota_total": "quota_tokens",
}


@dataclass(frozen=True, slots=True)
class SupplyWish:
    """What a body says. ``base_url`` is not checked yet. Shows no key in its repr."""

    columns: dict[str, Any]
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    base_url: str | None = None
    status: str | None = None
    """``active`` or ``paused``, where a change asks for it."""


def parse_new_supply_offer(body: Mapping[str, Any]) -> SupplyWish:
    """Read the body of a new offer. Raises ``RequestRejected`` (400), naming the field."""
    check_fields(body, _NEW)
    provider_type = body.get("provider_type")
    if not isinstance(provider_type, str) or provider_type not in BASE_URLS:
        raise wrong_type("provider_type", " or ".join(repr(one) for one in BASE_URLS))
    for name in ("api_key", BID):
        if body.get(name) is None:
            raise wrong_type(name, "given")
    models = _read_models(body.get("model_list"))
    base_url = body.get("base_url")
    base_url = BASE_URLS[provider_type] if base_url is None else base_url
    if base_url is None:
        raise wrong_type("base_url", "given")
    columns = {
        "provider_type": provider_type,
        "model_list": json.dumps(models),
        "models_digest": digest_models(models),
        "bid_usdc_per_mtok": _read_bid(body[BID]),
        "rate_limit_rpm": None,
        "quota_tokens": None,
        "legal_basis": None,
        **_read_terms(body),
    }
    return SupplyWish(columns, read_api_key(body["api_key"]), tuple(models), _text(base_url))


def parse_supply_change(body: Mapping[str, Any]) -> SupplyWish:
    """Read a change: only what is named changes. Raises ``RequestRejected`` (400)."""
    check_fields(body, _CHANGEABLE)
    if not body:
        raise bad_request("invalid_request", "The body names nothing to change.")
    for name, value in body.items():
        if value is None and name not in _CLEARABLE:
            raise wrong_type(name, "given, or left out")
    columns = _read_terms(body)
    if BID in body:
        columns["bid_usdc_per_mtok"] = _read_bid(body[BID])
    status = body.get("status")
    if "status" in body and status not in ("active", "paused"):
        raise wrong_type("status", "'active' or 'paused'")
    key = body.get("api_key")
    url = body.get("base_url")
    return SupplyWish(
        columns,
        None if key is None else read_api_key(key),
        base_url=None if url is None else _text(url),
        status=status,
    )


def digest_models(models: Sequence[str]) -> str:
    """Return what is the same for the same models in whatever order."""
    return hashlib.sha256(json.dumps(sorted(models)).encode()).hexdigest()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type("base_url", "a string")
    return value


def _read_models(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= MODELS_MAX:
        raise wrong_type("model_list", f"a list of 1 to {MODELS_MAX} names of models")
    for place, model in enumerate(value):
        if not isinstance(model, str) or not is_model_name(model):
            raise wrong_type(f"model_list[{place}]", NAME_RULE)
    if len(set(value)) != len(value):
        raise wrong_type("model_list", "a list without a model twice")
    return list(value)


def _read_bid(value: Any) -> int:
    if not isinstance(value, str):
        raise wrong_type(BID, "a decimal string, such as '0.15'")
    try:
        bid = parse_millionths(value, maximum=USD_PER_MTOK_MAX)
    except ValueError as error:
        raise bad_request("invalid_amount", f"'{BID}' {error}.", param=BID) from None
    if bid == 0:
        raise bad_request("invalid_amount", f"'{BID}' must be above 0.", param=BID)
    return bid


def _read_terms(body: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, maximum in (("rate_limit_rpm", RPM_MAX), ("quota_total", QUOTA_MAX)):
        if name in body:
            value = body[name]
            if value is not None and (type(value) is not int or not 1 <= value <= maximum):
                raise wrong_type(name, f"an integer from 1 to {maximum}")
            columns[_COLUMNS.get(name, name)] = value
    if "legal_basis" in body:
        value = body["legal_basis"]
        is_line = isinstance(value, str) and value.isprintable() and value.strip() != ""
        if value is not None and (not is_line or len(value) > LEGAL_BASIS_MAX):
            raise wrong_type("legal_basis", f"1 to {LEGAL_BASIS_MAX} printable characters")
        columns["legal_basis"] = value
    return columns
