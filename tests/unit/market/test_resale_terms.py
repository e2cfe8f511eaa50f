"""Connections as owners state them: the reference's file, presets, periods, prices, economics."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from market.resale.call_prices import QuotaPrice, find_price, mark_up
from market.resale.call_wishes import parse_query, parse_wish
from market.resale.connection_files import ConnectionFileInvalid, parse_connection_file
from market.resale.connection_terms import parse_terms
from market.resale.economics import Economics, list_warnings, split_call
from market.resale.openapi_import import import_openapi
from market.resale.operations import TermsRefused, find_operation, parse_operations
from market.resale.passed_headers import HeaderRefused, choose_incoming, choose_outgoing
from market.resale.presets import fill_in
from market.resale.quotas import Period, Quota
from market.resale.selling_names import check_connection_name
from scripts.marketplace import format_status
from serving.http.errors import RequestRejected

REFERENCE = """
api_connections:
  - name: nansen
    api_key: "your-nansen-key"
    monthly_quota: 10000
    reserved: 3000  # Keep for yourself

  - name: kaito
    api_key: "your-kaito-key"
    monthly_quota: 5000
    reserved: 1500
"""
TERMS: dict[str, Any] = {
    "name": "chainstats",
    "base_url": "https://api.example.com",
    "credential": "header: x-api-key",
    "operations": ["GET /v1/blocks/{number}"],
    "monthly_quota": 10_000,
}


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


# ----------------------------------------------------------------------------- the reference's file


def test_reference_file__as_it_stands__nansen_is_whole_and_kaito_is_asked_for() -> None:
    nansen, kaito = parse_connection_file(REFERENCE)

    terms = parse_terms(fill_in(nansen))
    assert (terms.quota.units, terms.quota.reserved, terms.credential.name) == (
        10_000,
        3_000,
        "apikey",
    )
    assert terms.price.usdc == 150_000
    with pytest.raises(TermsRefused, match="has to be said") as asked:
        parse_terms(fill_in(kaito))
    assert asked.value.param == "base_url"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "api_connections: {}",
        "api_connections: []",
        "api_connections: [a]",
        "a: &x [1]\nb: *x",
        "api_connections:\n - &a {name: x}\n - *a",
        "api_connections:\n - {name: x, name: y}",
        "api_connections:\n - {name: x, surprise: 1}",
        "api_connections:\n - !!python/object/apply:os.system [ls]",
        "other: 1\napi_connections:\n - {name: x}",
        "api_connections: [" + "[" * 5_000,
        "api_connections: [{name: x, description: '" + "y" * 300_000 + "'}]",
    ],
)
def test_file__not_plain_connections__is_refused_without_quoting_a_key(text: str) -> None:
    with pytest.raises(ConnectionFileInvalid):
        parse_connection_file(text)


# -------------------------------------------------------------------------------------------- money


def test_economics__of_the_reference__come_out_to_the_unit() -> None:
    split = split_call(mark_up(50_000, Decimal(3)))
    calls = 5_000
    figures = Economics(
        quota_units=10_000,
        reserved_units=3_000,
        buffer_units=0,
        for_sale_units=7_000,
        sold_units=calls,
        own_units=3_000,
        left_units=2_000,
        days_to_reset=3,
        revenue_usdc=calls * split.cost_usdc,
        earning_usdc=calls * split.earning_usdc,
        fee_usdc=calls * split.fee_usdc,
        subscription_usdc=500_000_000,
    )

    assert figures.revenue_usdc == 750_000_000
    assert figures.earning_usdc == 675_000_000
    assert figures.fee_usdc == 75_000_000
    assert figures.net_usdc == 175_000_000


def test_status__of_the_reference__is_shown_as_it_has_it() -> None:
    figures = {
        "unit": "calls", "quota": 10_000, "reserved": 3_000, "buffer": 0, "own_use": 3_000,
        "sold": 5_000, "left": 2_000, "days_to_reset": 3, "revenue_usdc": 750_000_000,
        "your_share_usdc": 675_000_000, "fee_usdc": 75_000_000, "subscription_usdc": 500_000_000,
        "net_usdc": 175_000_000, "warnings": ["Look."],
    }  # fmt: skip
    one = {"status": "enabled", "suspended_for": None, "url": "https://m/x402/nansen"}

    shown = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in
             format_status("nansen", one, figures).splitlines()}  # fmt: skip

    assert (shown["Revenue"], shown["Your share (90%)"]) == ("750", "675")
    assert (shown["Subscription cost"], shown["Net"]) == ("-500", "+175")


@pytest.mark.parametrize(
    ("price", "earning", "fee"),
    [(1, 0, 1), (9, 8, 1), (10, 9, 1), (19, 17, 2), (150_000, 135_000, 15_000)],
)  # fmt: skip
def test_split__owner_down_platform_up(price: int, earning: int, fee: int) -> None:
    split = split_call(price)

    assert (split.earning_usdc, split.fee_usdc) == (earning, fee)


def test_split__paid_by_x402__the_transaction_is_the_platforms() -> None:
    split = split_call(150_000, transaction_fee_usdc=1_000)

    assert (split.cost_usdc, split.earning_usdc, split.fee_usdc) == (151_000, 135_000, 16_000)


@pytest.mark.parametrize(
    ("base", "markup", "price"), [(50_000, "2", 100_000), (50_000, "4", 200_000), (1, "1.5", 2)]
)
def test_markup__of_the_reference__is_the_price(base: int, markup: str, price: int) -> None:
    assert mark_up(base, Decimal(markup)) == price


def test_price__falls_in_steps__never_below_the_floor_and_says_until_when() -> None:
    (operation,) = parse_operations(["GET /a"], methods=("GET",))
    price = QuotaPrice(150_000, 30_000)
    day = 86_400

    found = [
        find_price(operation, price, starts_at_s=0, ends_at_s=10 * day, now_s=now)
        for now in (0, 5 * day, 10 * day - 1)
    ]

    assert [one.usdc for one in found] == [150_000, 90_000, 30_500]
    assert [one.valid_until_s for one in found] == [3_600, 5 * day + 3_600, 10 * day]
    still = find_price(operation, QuotaPrice(7), starts_at_s=0, ends_at_s=1, now_s=0)
    assert (still.usdc, still.valid_until_s) == (7, None)


def test_warnings__all_for_sale_key_fails_and_unsold__are_said() -> None:
    figures = Economics(10, 0, 0, 10, 0, 0, 10, 1, 0, 0, 0, 0)

    said = list_warnings(figures, now_s=0, ends_at_s=86_400, key_fails=True, elapsed_pct=90)

    assert [word in text for word, text in zip(("All", "refuses", "expire"), said, strict=True)]
    assert len(said) == 3


# ------------------------------------------------------------------------------------------ periods


@pytest.mark.parametrize(
    ("quota", "now", "starts", "ends"),
    [
        (Quota(1, 0), at("2026-03-15"), at("2026-03-01"), at("2026-04-01")),
        (Quota(1, 0, reset_day=31), at("2026-02-28"), at("2026-02-28"), at("2026-03-31")),
        (Quota(1, 0, reset_day=31), at("2026-02-27"), at("2026-01-31"), at("2026-02-28")),
        (Quota(1, 0, reset_day=20), at("2026-01-05"), at("2025-12-20"), at("2026-01-20")),
        (
            Quota(1, 0, period=Period.DAY, zone=ZoneInfo("Europe/Berlin")),
            at("2026-03-29T12:00", "Europe/Berlin"),
            at("2026-03-29T00:00", "Europe/Berlin"),
            at("2026-03-30T00:00", "Europe/Berlin"),
        ),
        (Quota(1, 0, period=Period.DAYS, days=7, resets_at_s=100), 99, 100 - 7 * 86_400, 100),
        (Quota(1, 0, period=Period.ONCE), 5, 0, 2**40),
    ],
)
def test_period__each_kind__has_its_bounds(quota: Quota, now: int, starts: int, ends: int) -> None:
    period = quota.find_period(now)

    assert (period.starts_at_s, period.ends_at_s) == (starts, ends)


def test_quota__reserve_and_buffer__are_never_for_sale() -> None:
    assert Quota(10_000, 3_000).base_units == 6_800
    assert Quota(10_000, 3_000, buffer_pct=0).base_units == 7_000
    assert Quota(10, 10).base_units == 0
    assert parse_terms(TERMS).quota.zone is UTC


# ------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("credential", "cookie"),
        ("credential", "header: a\r\nb"),
        ("operations", []),
        ("operations", ["DELETE /a"]),
        ("operations", ["GET /a", "GET /a"]),
        ("operations", ["GET /{a}", "GET /{b}"]),
        ("operations", [{"method": "GET", "path": "/a", "headers": ["Cookie"]}]),
        ("operations", [{"method": "GET", "path": "/a", "units_from": "header: x"}]),
        ("monthly_quota", 0),
        ("monthly_quota", True),
        ("reserved", 10_001),
        ("reset_day", 32),
        ("time_zone", "../../etc/passwd"),
        ("markup", "NaN"),
        ("markup", 0),
        ("price_usd", "0.0000001"),
        ("floor_price_usd", "9"),
        ("quota_resets_at", "tomorrow"),
        ("description", "<script>"),
        ("surprise", 1),
    ],
)
def test_terms__that_cannot_be__are_refused(field: str, value: Any) -> None:
    with pytest.raises(TermsRefused):
        parse_terms({**TERMS, field: value})


@pytest.mark.parametrize(
    "name", ["nansen-official", "nansen-pro", "kait0", "arkharn", "my-arkham", "nan-sen"]
)
def test_name__looks_like_a_known_one__is_refused(name: str) -> None:
    with pytest.raises(TermsRefused):
        check_connection_name(name, ())


@pytest.mark.parametrize("name", ["nansen", "chainstats", "glassnode", "kaito"])
def test_name__known_or_distinct__is_taken(name: str) -> None:
    check_connection_name(name, ("glassnode",))


def test_operation__literal_segment__wins_over_a_parameter() -> None:
    operations = parse_operations(["GET /a/{b}", "GET /a/latest"], methods=("GET",))

    found = find_operation(operations, "GET", ("a", "latest"))

    assert found is not None
    assert found[0].template.text == "/a/latest"
    assert find_operation(operations, "POST", ("a", "latest")) is None


# ------------------------------------------------------------------------------------------ OpenAPI


def make_document(**changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/S"}}}
    operation = {
        "summary": "One block",
        "security": [{"key": []}],
        "callbacks": {"x": {"$ref": "https://evil.test/x"}},
        "parameters": [{"$ref": "#/components/parameters/P"}],
        "responses": {"200": {"content": {"application/json": {"example": {"number": 1}}}}},
    }
    post = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://evil.test"}],
        "paths": {
            "/blocks/{number}": {"get": operation, "delete": {}},
            "/search": {"post": post},
            "/files/{name}.json": {"get": {}},
        },
        "components": {
            "parameters": {"P": {"name": "full", "in": "query", "schema": {"type": "boolean"}}},
            "schemas": {"S": schema},
        },
        **changes,
    }


def test_openapi__document__gives_whole_segment_operations_and_no_server() -> None:
    found = import_openapi(make_document(), methods=("GET", "POST"))

    assert [(one["method"], one["path"]) for one in found] == [
        ("GET", "/blocks/{number}"),
        ("POST", "/search"),
    ]
    assert found[0]["query"] == ["full"]
    assert found[0]["output_example"] == {"number": 1}
    assert "evil" not in str(found)
    queries = {one.name: one.query for one in parse_operations(found, methods=("GET", "POST"))}
    assert queries == {"GET /blocks/{number}": frozenset({"full"}), "POST /search": frozenset()}


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"properties": found}
    return found


@pytest.mark.parametrize(
    "document",
    [
        {"openapi": "2.0", "paths": {}},
        {"openapi": "3.0.0"},
        {"openapi": "3.0.0", "paths": {"/a": {"$ref": "https://evil.test/a.json"}}},
        {"openapi": "3.0.0", "paths": {"/a": {"$ref": "other.json#/a"}}},
        {"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/nowhere"}}},
        {"openapi": "3.0.0", "paths": {"/a": {"get": deep(100)}}},
        {"openapi": "3.0.0", "paths": {f"/a{n}": {"get": {}} for n in range(600)}},
    ],
)
def test_openapi__out_of_bounds__is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(TermsRefused):
        import_openapi(document, methods=("GET", "POST"))


def test_openapi__references_that_multiply__are_refused() -> None:
    schemas: dict[str, Any] = {"S0": {"type": "string"}}
    for level in range(1, 20):
        ref = {"$ref": f"#/components/schemas/S{level - 1}"}
        schemas[f"S{level}"] = {"allOf": [ref] * 10}
    document = {
        "openapi": "3.0.0",
        "paths": {"/a": {"get": {"x": {"$ref": "#/components/schemas/S19"}}}},
        "components": {"schemas": schemas},
    }

    with pytest.raises(TermsRefused, match="too large"):
        import_openapi(document, methods=("GET",))


# ------------------------------------------------------------------------------------------ headers


def test_headers__outgoing__by_list_and_never_the_credentials_name() -> None:
    sent = {"accept": "a/b", "cookie": "c", "x-api-key": "mine", "x-chain": "base"}

    found = choose_outgoing(sent.get, ("x-chain", "x-api-key"), credential="X-Api-Key")

    assert found == {"accept": "a/b", "x-chain": "base"}


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "\x00", "caf\u00e9"])
def test_headers__with_line_ends__are_refused_and_never_passed_back(value: str) -> None:
    with pytest.raises(HeaderRefused):
        choose_outgoing({"accept": value}.get, (), credential=None)
    assert choose_incoming({"content-type": value}.get) == {}


def test_wish__owner_in_any_case__is_one_name() -> None:
    wish = parse_wish("GET", "/x402/~0x" + "AB" * 20 + "/stats/a/b", "x=1&y=%20")

    assert wish.sold_under == "~0x" + "ab" * 20 + "/stats"
    assert (wish.segments, wish.query) == (("a", "b"), (("x", "1"), ("y", " ")))


@pytest.mark.parametrize(
    "query", ["a=%0d%0aX", "a=%ff", "&".join(["a=1"] * 101), "a=" + "b" * 4_000]
)
def test_query__control_characters_or_too_much__is_refused(query: str) -> None:
    with pytest.raises(RequestRejected):
        parse_query(query)
