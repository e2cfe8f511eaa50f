"""Who may serve a request, and who is asked first: the ``provider`` object of OpenRouter's clients.
Pure.

::

    only, ignore          names of providers, sellers, offers
    order                 names to ask first, in this order; with allow_fallbacks false: only these
    allow_fallbacks       false without an order: only the first choice is asked
    zdr                   only who keeps nothing
    data_collection       "deny": only who does not collect
    regions, quantizations  only these; of quantizations "unknown" lets the undeclared through
    require_parameters    only who obeys every field of the request
    trusted_only          only whom the market's operator has approved
    minimum_grade         only of this provenance or a better one (``serving.models.grades``)
    sort                  "price" (the default), "throughput" or "latency"
    max_price             {"prompt", "completion"} in USD per million tokens, {"request"} in USD

A key may have a policy too, and its position. A request can only narrow them: all demands hold
together, the lowest price counts; order and sort are the request's where it has some. So one
policy that comes after another is written as a list of such objects.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from contracts.units import parse_usdc
from serving.dialects.serving_facts import PARAMETERS, QUANTIZATIONS, Facts, read_region
from serving.http.errors import bad_request, wrong_type
from serving.models.grades import Grade, get_stricter, read_grade
from serving.models.prices import USD_PER_MTOK_MAX, USD_PER_REQUEST_MAX, Price

POLICY_FIELD: Final = "provider"
NAMES_MAX: Final = 100
POLICIES_MAX: Final = 8
"""Objects in a list of policies: each server on the way adds those of a position and of a key."""

_NAME: Final = re.compile(r"(?:(?:offer|seller|provider):)?[a-z0-9][a-z0-9._-]{0,252}")
_FLAGS: Final = ("zdr", "allow_fallbacks", "require_parameters", "trusted_only")
_LISTS: Final = ("only", "ignore", "order")
_PRICES: Final = {
    "prompt": USD_PER_MTOK_MAX,
    "completion": USD_PER_MTOK_MAX,
    "request": USD_PER_REQUEST_MAX,
}
_KNOWN: Final = frozenset(
    {
        *_FLAGS,
        *_LISTS,
        "data_collection",
        "regions",
        "quantizations",
        "minimum_grade",
        "sort",
        "max_price",
    }
)


class Sort(StrEnum):
    """What the first choice is the best in."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may serve, and who is asked first. Prices in 1e-6 USDC, per 1e6 tokens."""

    only: tuple[frozenset[str], ...] = ()
    """A name of every one of these sets must be theirs."""
    ignore: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    is_single: bool = False
    """Whether only the first choice is asked."""
    keeps_nothing: bool = False
    denies_collection: bool = False
    regions: frozenset[str] | None = None
    quantizations: frozenset[str] | None = None
    requires_parameters: bool = False
    trusted_only: bool = False
    minimum_grade: Grade | None = None
    sort: Sort = Sort.PRICE
    input_usdc_per_mtok_max: int | None = None
    output_usdc_per_mtok_max: int | None = None
    per_request_usdc_max: int | None = None

    @property
    def chooses(self) -> bool:
        """Whether it says who comes first, by anything but the price."""
        return bool(self.order) or self.sort is not Sort.PRICE


ANYBODY: Final = Policy()


def parse_policy(value: Any) -> Policy:
    """Read one object, or a list of them that hold together. Raises ``RequestRejected`` (400)."""
    if value is None:
        return ANYBODY
    if isinstance(value, dict):
        return _parse_one(value, POLICY_FIELD)
    if not isinstance(value, list) or len(value) > POLICIES_MAX:
        raise wrong_type(POLICY_FIELD, f"an object, or a list of at most {POLICIES_MAX}")
    joined = ANYBODY
    for index, one in enumerate(value):
        at = f"{POLICY_FIELD}[{index}]"
        if not isinstance(one, dict):
            raise wrong_type(at, "an object")
        joined = narrow(joined, _parse_one(one, at))
    return joined


def narrow(outer: Policy, inner: Policy) -> Policy:
    """Return the policy under which both hold; what comes first is the inner one's to say."""
    if outer == ANYBODY:
        return inner
    if inner == ANYBODY:
        return outer
    return Policy(
        only=(*outer.only, *inner.only),
        ignore=outer.ignore | inner.ignore,
        order=inner.order or outer.order,
        is_single=outer.is_single or inner.is_single,
        keeps_nothing=outer.keeps_nothing or inner.keeps_nothing,
        denies_collection=outer.denies_collection or inner.denies_collection,
        regions=_meet(outer.regions, inner.regions),
        quantizations=_meet(outer.quantizations, inner.quantizations),
        requires_parameters=outer.requires_parameters or inner.requires_parameters,
        trusted_only=outer.trusted_only or inner.trusted_only,
        minimum_grade=get_stricter(outer.minimum_grade, inner.minimum_grade),
        sort=inner.sort if inner.chooses else outer.sort,
        input_usdc_per_mtok_max=least(outer.input_usdc_per_mtok_max, inner.input_usdc_per_mtok_max),
        output_usdc_per_mtok_max=least(
            outer.output_usdc_per_mtok_max, inner.output_usdc_per_mtok_max
        ),
        per_request_usdc_max=least(outer.per_request_usdc_max, inner.per_request_usdc_max),
    )


def find_needed(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields of a request that not everybody who serves it obeys."""
    return frozenset(name for name in PARAMETERS & body.keys() if body[name] not in (None, [], {}))


def is_named(policy: Policy, names: Collection[str]) -> bool:
    """Tell whether a policy takes whoever has these names (``provider:…``, ``seller:…``)."""
    known = frozenset(names)
    return known.isdisjoint(policy.ignore) and not any(
        known.isdisjoint(wanted) for wanted in policy.only
    )


def find_unmet(policy: Policy, facts: Facts, needed: frozenset[str]) -> str | None:
    """Return the first demand that whoever serves does not meet, by its field; None if all are.

    ``needed`` are the fields of the request that must be obeyed: see ``find_needed``.
    """
    if policy.keeps_nothing and not facts.keeps_nothing:
        return "zdr"
    if policy.denies_collection and facts.may_collect:
        return "data_collection"
    if policy.regions is not None and facts.region not in policy.regions:
        return "regions"
    if policy.quantizations is not None:
        weights = "unknown" if facts.quantization is None else facts.quantization
        if weights not in policy.quantizations:
            return "quantizations"
    if policy.requires_parameters and not needed <= (facts.parameters or frozenset()):
        return "require_parameters"
    return None


def is_too_dear(policy: Policy, price: Price) -> bool:
    """Tell whether a price is above what the policy allows."""
    limits = (
        (policy.input_usdc_per_mtok_max, price.input_usdc_per_mtok),
        (policy.output_usdc_per_mtok_max, price.output_usdc_per_mtok),
        (policy.per_request_usdc_max, price.per_request_usdc),
    )
    return any(most is not None and value > most for most, value in limits)


def get_place(policy: Policy, names: Collection[str]) -> int:
    """Return the place in ``order`` of whoever has these names; after all of it without one."""
    places = (place for place, name in enumerate(policy.order) if name in names)
    return next(places, len(policy.order))


def least(one: int | None, other: int | None) -> int | None:
    """Return the lower of two limits; None is no limit."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _meet(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _parse_one(value: Mapping[str, Any], at: str) -> Policy:
    unknown = sorted(value.keys() - _KNOWN)
    if unknown:
        param = f"{at}.{unknown[0][:40]}"
        raise bad_request("unsupported_parameter", f"'{param}' is not known.", param=param)
    flags = {name: _read_flag(value, name, at) for name in _FLAGS}
    names = {name: _read_names(value, name, at) for name in _LISTS}
    collecting = value.get("data_collection")
    if collecting not in (None, "allow", "deny"):
        raise wrong_type(f"{at}.data_collection", "'allow' or 'deny'")
    order, falls_back = names["order"], flags["allow_fallbacks"] is not False
    only = [frozenset(names["only"])] if names["only"] else []
    if order and not falls_back:
        only.append(frozenset(order))
    prices = _read_prices(value.get("max_price"), f"{at}.max_price")
    return Policy(
        only=tuple(only),
        ignore=frozenset(names["ignore"]),
        order=order,
        is_single=not order and not falls_back,
        keeps_nothing=bool(flags["zdr"]),
        denies_collection=collecting == "deny",
        regions=_read_regions(value.get("regions"), f"{at}.regions"),
        quantizations=_read_quantizations(value.get("quantizations"), f"{at}.quantizations"),
        requires_parameters=bool(flags["require_parameters"]),
        trusted_only=bool(flags["trusted_only"]),
        minimum_grade=_read_grade(value.get("minimum_grade"), f"{at}.minimum_grade"),
        sort=_read_sort(value.get("sort"), f"{at}.sort"),
        input_usdc_per_mtok_max=prices.get("prompt"),
        output_usdc_per_mtok_max=prices.get("completion"),
        per_request_usdc_max=prices.get("request"),
    )


def _read_grade(value: Any, at: str) -> Grade | None:
    grade = read_grade(value) if isinstance(value, str) else None
    if value is not None and grade is None:
        raise wrong_type(at, "A, B, C or D")
    return grade


def _read_flag(value: Mapping[str, Any], name: str, at: str) -> bool | None:
    flag = value.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise wrong_type(f"{at}.{name}", "true or false")
    return flag


def _read_strings(value: Any, at: str) -> list[str]:
    is_list = isinstance(value, list) and len(value) <= NAMES_MAX
    if not is_list or not all(isinstance(one, str) for one in value):
        raise wrong_type(at, f"a list of at most {NAMES_MAX} strings")
    return list(value)


def _read_names(value: Mapping[str, Any], name: str, at: str) -> tuple[str, ...]:
    listed = value.get(name)
    if listed is None:
        return ()
    field = f"{at}.{name}"
    names = [one.lower() for one in _read_strings(listed, field)]
    if not all(one.isascii() and _NAME.fullmatch(one) for one in names):
        raise wrong_type(field, "a list of providers, offer:<id> or seller:<address>")
    return tuple(dict.fromkeys(_add_kind(one) for one in names))


def _add_kind(name: str) -> str:
    """Return a name with its kind: a bare word is a provider's, as OpenRouter's clients have it."""
    return name if ":" in name else f"{POLICY_FIELD}:{name}"


def _read_regions(value: Any, at: str) -> frozenset[str] | None:
    if value is None:
        return None
    regions = frozenset(read_region(one, at) for one in _read_strings(value, at))
    return frozenset(region for region in regions if region is not None)


def _read_quantizations(value: Any, at: str) -> frozenset[str] | None:
    if value is None:
        return None
    names = frozenset(_read_strings(value, at))
    if not names <= frozenset(QUANTIZATIONS):
        raise wrong_type(at, f"a list of {', '.join(QUANTIZATIONS)}")
    return names


def _read_sort(value: Any, at: str) -> Sort:
    if isinstance(value, dict):
        if value.keys() - {"by", "partition"} or value.get("partition") not in (None, "model"):
            raise wrong_type(at, "price, throughput or latency, by model")
        value = value.get("by")
    if value is None:
        return Sort.PRICE
    if not isinstance(value, str) or value not in tuple(Sort):
        raise wrong_type(at, "price, throughput or latency")
    return Sort(value)


def _read_prices(value: Any, at: str) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(at, "an object")
    unknown = sorted(value.keys() - _PRICES.keys())
    if unknown:
        param = f"{at}.{unknown[0][:40]}"
        raise bad_request("unsupported_parameter", f"'{param}' is not known.", param=param)
    found = {}
    for name, price in value.items():
        if price is not None:
            found[name] = _read_price(price, _PRICES[name], f"{at}.{name}")
    return found


def _read_price(value: Any, most: int, at: str) -> int:
    # The shortest decimal that means a float is what its sender wrote.
    text = str(Decimal(repr(value))) if type(value) is float else value
    try:
        if type(text) is int:
            text = str(text)
        if not isinstance(text, str):
            raise ValueError("not a number")
        units = parse_usdc(text)
    except (ValueError, ArithmeticError):
        raise wrong_type(at, "a price in USD with at most six decimals") from None
    if units > most * 1_000_000:
        raise wrong_type(at, f"at most {most}")
    return units


def join_policies(policies: Sequence[Mapping[str, Any]]) -> Any:
    """Return the field that says several policies at once, as ``parse_policy`` reads it."""
    return policies[0] if len(policies) == 1 else list(policies)
