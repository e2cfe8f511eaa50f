"""A connection as its owner states it, checked: the reference's fields and all others. Pure.

The same reading serves YAML, JSON and what is stored: the stored terms are what the owner said,
with the preset filled in, and are read again by ``parse_terms``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

import orjson

from market.pricing.falling import parse_instant
from market.resale.call_paths import PathRefused, find_shadows, parse_template
from market.resale.call_prices import QuotaPrice, mark_up
from market.resale.openapi_import import import_openapi, list_paths
from market.resale.operations import (
    OTHER_METHODS,
    USUAL_METHODS,
    Operation,
    TermsRefused,
    parse_operations,
    read_bool,
    read_integer,
    read_source,
    read_usd,
)
from market.resale.presets import BASE_COST_USD, MARKUP, NEEDED, find_missing
from market.resale.quotas import Period, Quota

QUOTA_MAX: Final = 10**12
MARKUP_MAX: Final = 1_000
NAME_RULE: Final = "2 to 40 of a-z, 0-9 and -, beginning with a letter and not ending with -"
_NAME: Final = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,39}")
_CREDENTIAL: Final = re.compile(
    r"(bearer|basic)|(header|query): ?([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100})"
)
FIELDS: Final = frozenset(
    {
        "name", "api_key", "base_url", "credential", "operations", "openapi", "allow_methods",
        "monthly_quota", "quota", "quota_period", "quota_days", "unit", "reserved", "buffer_pct",
        "reset_day", "time_zone", "quota_resets_at", "remaining_header", "base_cost_usd", "markup",
        "price_usd", "floor_price_usd", "source_price_usd", "subscription_usd", "per_second",
        "per_minute", "at_once", "consumer_per_minute", "failures_count", "log_values",
        "payout_address", "description", "usage_path", "usage_remaining", "usage_used",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credential:
    """How a key is sent: ``kind`` is bearer, basic, header or query, the last two with a name."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How often a connection is called by everybody together, and by one consumer; 0: no limit."""

    per_second: int = 0
    per_minute: int = 0
    at_once: int = 16
    consumer_per_minute: int = 60


@dataclass(frozen=True, slots=True)
class UsageEndpoint:
    """Where the API says what is left of the quota, or what is used of it."""

    path: str
    source: str
    """``header: NAME`` or ``json: a.b``."""
    is_used: bool


@dataclass(frozen=True, slots=True)
class ConnectionTerms:
    """What a connection sells, of what quota, at what price. Amounts in 1e-6 USDC."""

    credential: Credential
    operations: tuple[Operation, ...]
    quota: Quota
    price: QuotaPrice
    limits: CallLimits
    source_price_usdc: int | None
    """What the API itself charges by the call, where the owner states it."""
    subscription_usdc: int
    remaining_header: str | None
    """The header by which the API says what remains of the quota."""
    usage: UsageEndpoint | None
    failures_count: bool
    """Whether the API counts calls that fail."""
    description: str


class StoredRow(Protocol):
    """A row of a connection."""

    def __getitem__(self, key: str, /) -> Any: ...


def parse_unit(terms: str) -> Literal["calls", "credits"]:
    """Return what a stored connection's quota counts."""
    return "credits" if orjson.loads(terms).get("unit") == "credits" else "calls"


def read_stored(row: StoredRow) -> dict[str, Any]:
    """Return what an owner has said of a connection, but for the credential."""
    stored: dict[str, Any] = orjson.loads(row["terms"])
    return {"name": row["name"], "base_url": row["base_url"], **stored}


def parse_name(value: Any) -> str:
    """Return a connection's name. Raises ``TermsRefused``."""
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise TermsRefused(f"must be {NAME_RULE}", "name")
    return value


def parse_terms(body: Mapping[str, Any]) -> ConnectionTerms:
    """Return checked terms, presets filled in before. Raises ``TermsRefused``."""
    unknown = sorted(set(map(str, body)) - FIELDS)
    if unknown:
        raise TermsRefused(f"{unknown[0][:60]!r} is not a field here", unknown[0][:60])
    missing = find_missing(body)
    if missing:
        raise TermsRefused(f"is not known and has to be said: {NEEDED[missing[0]]}", missing[0])
    if read_bool(body, "log_values"):
        raise TermsRefused(
            "must be false: the values of parameters are never written", "log_values"
        )
    return ConnectionTerms(
        credential=_parse_credential(body["credential"]),
        operations=_parse_operations(body),
        quota=_parse_quota(body),
        price=_parse_price(body),
        limits=CallLimits(
            per_second=read_integer(body, "per_second", default=0, low=0, high=100_000),
            per_minute=read_integer(body, "per_minute", default=0, low=0, high=1_000_000),
            at_once=read_integer(body, "at_once", default=16, low=1, high=10_000),
            consumer_per_minute=read_integer(
                body, "consumer_per_minute", default=60, low=0, high=1_000_000
            ),
        ),
        source_price_usdc=read_usd(body, "source_price_usd"),
        subscription_usdc=read_usd(body, "subscription_usd") or 0,
        remaining_header=_read_header(body.get("remaining_header")),
        usage=_parse_usage(body),
        failures_count=read_bool(body, "failures_count"),
        description=_read_text(body, "description", 500),
    )


def _parse_credential(value: Any) -> Credential:
    match = _CREDENTIAL.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise TermsRefused(
            "must be 'header: NAME', 'bearer', 'basic' or 'query: NAME'", "credential"
        )
    return Credential(match[1]) if match[1] else Credential(match[2], match[3])


def _parse_operations(body: Mapping[str, Any]) -> tuple[Operation, ...]:
    more = body.get("allow_methods", [])
    if not isinstance(more, list) or not all(one in OTHER_METHODS for one in more):
        raise TermsRefused(f"must list some of {', '.join(OTHER_METHODS)}", "allow_methods")
    methods = (*USUAL_METHODS, *more)
    listed = body.get("operations")
    if "openapi" in body and body["openapi"] is not None:
        imported = import_openapi(body["openapi"], methods=methods)
        paths = list_paths(body["openapi"])
        if listed is None:
            return _shadow(parse_operations(imported, methods=methods), paths)
        # Only what is listed is sold; the document describes it.
        by_name = {f"{one['method']} {one['path']}": one for one in imported}
        named = [_describe(one, by_name) for one in listed] if isinstance(listed, list) else listed
        return _shadow(parse_operations(named, methods=methods), paths)
    return parse_operations(listed, methods=methods)


def _shadow(operations: tuple[Operation, ...], paths: list[str]) -> tuple[Operation, ...]:
    """Return operations that leave out the document's other paths, of whatever method."""
    sold = {(one.method, one.template.text) for one in operations}
    return tuple(
        replace(
            one,
            shadows=find_shadows(
                one.template, [text for text in paths if (one.method, text) not in sold]
            ),
        )
        for one in operations
    )


def _describe(item: Any, known: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(item, str):
        return known.get(" ".join(item.split()), item)
    if isinstance(item, Mapping):
        return {**known.get(f"{item.get('method')} {item.get('path')}", {}), **item}
    return item


def _parse_quota(body: Mapping[str, Any]) -> Quota:
    field = "quota" if body.get("monthly_quota") is None else "monthly_quota"
    if body.get(field) is None:
        raise TermsRefused("must say how much the subscription has", "monthly_quota")
    units = read_integer(body, field, default=0, low=1, high=QUOTA_MAX)
    reserved = read_integer(body, "reserved", default=0, low=0, high=QUOTA_MAX)
    if reserved > units:
        raise TermsRefused("must not be more than the quota", "reserved")
    try:
        period = Period(body.get("quota_period", Period.MONTH))
    except ValueError:
        raise TermsRefused(f"must be one of {', '.join(Period)}", "quota_period") from None
    if field == "monthly_quota" and period is not Period.MONTH:
        raise TermsRefused("says another period: name the amount 'quota'", "monthly_quota")
    resets_at_s = _read_time(body.get("quota_resets_at"))
    if period is Period.MONTH and resets_at_s is not None and body.get("reset_day") is not None:
        raise TermsRefused("says the day of the reset already: leave one out", "quota_resets_at")
    unit = body.get("unit", "calls")
    if unit not in ("calls", "credits"):
        raise TermsRefused("must be calls or credits", "unit")
    return Quota(
        units=units,
        reserved=reserved,
        buffer_pct=read_integer(body, "buffer_pct", default=2, low=0, high=50),
        unit=unit,
        period=period,
        reset_day=read_integer(body, "reset_day", default=1, low=1, high=31),
        days=read_integer(body, "quota_days", default=30, low=1, high=366),
        zone=_read_zone(body.get("time_zone")),
        resets_at_s=resets_at_s,
    )


def _parse_price(body: Mapping[str, Any]) -> QuotaPrice:
    floor_usdc = read_usd(body, "floor_price_usd")
    usdc = read_usd(body, "price_usd")
    if usdc is None:
        base_usdc = read_usd({"base_cost_usd": BASE_COST_USD, **body}, "base_cost_usd")
        usdc = mark_up(base_usdc or 0, _read_markup(body.get("markup", MARKUP)))
    if floor_usdc is not None and floor_usdc > usdc:
        raise TermsRefused("must not be above the price", "floor_price_usd")
    return QuotaPrice(usdc, floor_usdc)


def _read_markup(value: Any) -> Decimal:
    text = value[:-1] if isinstance(value, str) and value.endswith("x") else value
    try:
        markup = Decimal(repr(text) if isinstance(text, float) else text)
    except (InvalidOperation, TypeError, ValueError):
        markup = Decimal(0)
    is_number = not isinstance(value, bool) and markup.is_finite()
    if not is_number or not 0 < markup <= MARKUP_MAX:
        raise TermsRefused("must be a number above 0, such as 3 or '3x'", "markup")
    return markup


def _read_zone(value: Any) -> tzinfo:
    if value in (None, "UTC"):
        return UTC
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, TypeError, OSError):
        raise TermsRefused("must be a time zone such as Europe/Berlin", "time_zone") from None


def _read_time(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return parse_instant(value)
    except ValueError as error:
        raise TermsRefused(str(error), "quota_resets_at") from None


def _parse_usage(body: Mapping[str, Any]) -> UsageEndpoint | None:
    path = body.get("usage_path")
    sources = {name: body.get(name) for name in ("usage_remaining", "usage_used")}
    stated = [name for name, value in sources.items() if value is not None]
    if path is None:
        if stated:
            raise TermsRefused("must say where the API says it", "usage_path")
        return None
    try:
        template = parse_template(str(path))
    except PathRefused as error:
        raise TermsRefused(str(error), "usage_path") from None
    if template.parameters:
        raise TermsRefused("must be a path without parameters", "usage_path")
    if len(stated) != 1:
        raise TermsRefused("needs 'usage_remaining' or 'usage_used', one of them", "usage_path")
    source = read_source(sources[stated[0]], name=stated[0], param=stated[0])
    assert source is not None
    return UsageEndpoint(template.text, source, stated[0] == "usage_used")


def _read_header(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9-]{1,100}", value) is None:
        raise TermsRefused("must be a header's name", "remaining_header")
    return value.lower()


def _read_text(body: Mapping[str, Any], name: str, length_max: int) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > length_max or not value.isprintable():
        raise TermsRefused(f"must be printable text of at most {length_max} characters", name)
    if any(mark in value for mark in "<>&"):
        raise TermsRefused("must be text without < > &", name)
    return value
