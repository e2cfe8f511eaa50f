"""What an owner states of connections, checked and written; and the figures of a period."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy import Connection, RowMapping

from ledger.resale.call_records import PeriodTerms, PeriodUse
from ledger.resale.connections import (
    NewConnection,
    PeriodMoney,
    load_flags,
    load_period_money,
)
from ledger.resale.periods import load_periods
from market.resale.connection_terms import ConnectionTerms, parse_name, parse_terms, read_stored
from market.resale.economics import Economics, count_days, list_warnings
from market.resale.operations import TermsRefused
from market.resale.presets import fill_in
from market.resale.selling_names import check_connection_name
from serving.models.dialing import Dialer, parse_base_url
from serving.process.ids import new_id

KEY_MIN: Final = 8
"""A shorter credential would be found in any answer."""
KEY_MAX: Final = 512
"""A longer one would have its streams held back by tens of kilobytes."""
TERMS_MAX: Final = 512 * 1024
_SHOWN: Final = frozenset({"openapi", "operations"})
_NOT_STORED: Final = frozenset({"name", "api_key", "base_url", "payout_address"})


def read_key(value: Any) -> str:
    """Return a credential. Raises ``TermsRefused``."""
    is_text = isinstance(value, str) and value.isascii() and value.isprintable()
    if not is_text or not KEY_MIN <= len(value) <= KEY_MAX or value.strip() != value:
        raise TermsRefused(
            f"must be {KEY_MIN} to {KEY_MAX} printable ASCII characters without spaces around",
            "api_key",
        )
    return str(value)


def write_terms(body: Mapping[str, Any]) -> str:
    """Return terms as they are stored. Raises ``TermsRefused`` where they are too long."""
    kept = {
        name: _as_json(value) if name in _SHOWN else value
        for name, value in body.items()
        if name not in _NOT_STORED
    }
    try:
        written = orjson.dumps(kept, default=_write_other)
    except (TypeError, ValueError, RecursionError):
        raise TermsRefused("have something that JSON cannot hold", "operations") from None
    if len(written) > TERMS_MAX:
        raise TermsRefused(f"are longer than {TERMS_MAX} bytes", "operations")
    return written.decode()


def _as_json(value: Any) -> Any:
    """Return schemas and examples with numbers as numbers; amounts stay exact, as texts."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {
            name: inner if str(name).endswith("_usd") else _as_json(inner)
            for name, inner in value.items()
        }
    return [_as_json(inner) for inner in value] if isinstance(value, list) else value


def _write_other(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError


async def check_url(dialer: Dialer, value: Any) -> str:
    """Return a base URL that may be called. Raises ``TermsRefused``, ``UrlRefused``."""
    if not isinstance(value, str):
        raise TermsRefused("must be a URL", "base_url")
    target = parse_base_url(value, allow_loopback=dialer.rules.allow_loopback)
    await dialer.check(value)
    return target.url


async def build_connection(
    body: Mapping[str, Any], *, owner: str, dialer: Dialer, approved: set[str]
) -> tuple[NewConnection, str]:
    """Return a new connection and its credential. Raises ``TermsRefused``, ``UrlRefused``."""
    name = parse_name(body.get("name"))
    check_connection_name(name, approved)
    api_key = read_key(body.get("api_key"))
    filled = fill_in(body)
    parse_terms(filled)
    base_url = await check_url(dialer, filled["base_url"])
    payee = filled.get("payout_address") or owner
    terms = write_terms(filled)
    return NewConnection(new_id(), owner, name, base_url, terms, str(payee).lower()), api_key


async def build_changes(
    body: Mapping[str, Any], row: RowMapping, *, dialer: Dialer
) -> tuple[dict[str, Any], ConnectionTerms]:
    """Return the columns that a change sets, and the terms after it; a null takes a term away.

    A new address needs the credential again: a stolen key of the market's must not lead it
    elsewhere. Raises ``TermsRefused``, ``UrlRefused``.
    """
    if "name" in body or "payout_address" in body:
        field = "name" if "name" in body else "payout_address"
        raise TermsRefused("stays as it is: make another connection", field)
    merged = {**read_stored(row), **body}
    merged = {name: value for name, value in merged.items() if value is not None}
    merged.pop("api_key", None)
    terms = parse_terms(merged)
    changes: dict[str, Any] = {"terms": write_terms(merged)}
    if merged["base_url"] != row["base_url"]:
        if body.get("api_key") is None:
            raise TermsRefused("has to be given again for a new 'base_url'", "api_key")
        changes["base_url"] = await check_url(dialer, merged["base_url"])
    return changes, terms


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """One connection's present period, as its owner sees it."""

    period: PeriodTerms
    figures: Economics
    warnings: list[str]
    flags: list[RowMapping]


def load_status(
    connection: Connection,
    connection_id: str,
    terms: ConnectionTerms,
    *,
    key_fails: bool,
    now_s: int,
) -> PeriodStatus:
    """Return what a connection's present period comes to."""
    period = terms.quota.find_period(now_s)
    uses = {use.starts_at_s: use for use in load_periods(connection, connection_id, limit=4)}
    use = uses.get(
        period.starts_at_s,
        PeriodUse(connection_id, period.starts_at_s, period.base_units, 0, 0, 0, 0),
    )
    money: PeriodMoney = load_period_money(
        connection, connection_id, starts_at_s=period.starts_at_s
    )
    figures = Economics(
        quota_units=terms.quota.units,
        reserved_units=terms.quota.reserved,
        buffer_units=terms.quota.buffer_units,
        for_sale_units=use.for_sale_units,
        sold_units=use.sold_units,
        own_units=use.own_units,
        left_units=use.left_units,
        days_to_reset=count_days(now_s, period.ends_at_s),
        revenue_usdc=money.revenue_usdc,
        earning_usdc=money.earning_usdc,
        fee_usdc=money.fee_usdc,
        subscription_usdc=terms.subscription_usdc,
    )
    length_s = max(1, period.ends_at_s - period.starts_at_s)
    warnings = list_warnings(
        figures,
        now_s=now_s,
        ends_at_s=period.ends_at_s,
        key_fails=key_fails,
        elapsed_pct=100 * (now_s - period.starts_at_s) // length_s,
    )
    return PeriodStatus(period, figures, warnings, load_flags(connection, connection_id, limit=100))
