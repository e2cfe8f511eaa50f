"""What an owner's words may do to others: documents, names, paths, leaks, prices."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from market.payments.identifiers import find_identifier
from market.resale.api_client import ApiAnswer
from market.resale.api_shelf import SoldConnection
from market.resale.call_paths import split_path
from market.resale.call_prices import CallPrice, QuotaPrice, find_price
from market.resale.call_wishes import parse_wish
from market.resale.candidates import Candidate
from market.resale.connection_terms import ConnectionTerms, parse_terms
from market.resale.counted_units import read_units
from market.resale.leaks import LeakSearch
from market.resale.operations import TermsRefused, find_operation, parse_operations
from market.resale.owning import write_terms
from market.resale.quotas import Period, Quota
from market.resale.selling_names import check_connection_name
from market.resale.sold_apis import build_extensions, build_openapi, describe_discovery
from serving.http.repeat_keys import WholeAnswer, derive_repeat_key
from serving.http.strict_json import parse_exact_json

DAY_S = 86_400
NOW_S = int(datetime(2026, 12, 10, 12, tzinfo=UTC).timestamp())


def state(**changes: Any) -> dict[str, Any]:
    """Return an owner's words; pass whatever differs."""
    return {
        "name": "stats",
        "base_url": "https://api.example.com",
        "credential": "bearer",
        "operations": ["GET /users/{id}"],
        "monthly_quota": 100,
        **changes,
    }


def document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, **more}


def sell(terms: ConnectionTerms) -> Candidate:
    connection = SoldConnection(
        "c1", "0x1", "stats", "https://a", "0x1", 0, False, NOW_S, NOW_S, True, terms
    )
    operation = terms.operations[0]
    return Candidate(connection, operation, {}, CallPrice(1, True, 1, None))


# --------------------------------------------------------------------------- schemas and documents


@pytest.mark.parametrize(
    "field",
    [
        {"input_schema": {"parameters": None}},
        {"input_schema": {"parameters": 1}},
        {"input_schema": {"parameters": "abc"}},
        {"input_schema": {"parameters": [None]}},
        {"input_schema": {"parameters": [{"name": 1, "in": "query"}]}},
        {"input_schema": {"parameters": [{"name": "a", "in": ["query"]}]}},
        {"input_schema": {"parameters": [{"name": "a", "in": "query", "schema": 3}]}},
        {"input_schema": {"body": []}},
        {"input_schema": []},
        {"input_schema": {"a": "x" * 20_000}},
        {"output_example": "x" * 20_000},
        {"output_example": 2**80},
        {"output_example": "\ud800"},
        {"summary": {"a": 1}},
        {"summary": "\ud800"},
        {"batch": "no"},
        {"batch": 1},
        {"count_on": ["3xx"]},
        {"count_on": ["401"]},
        {"count_on": ["2xx", "403"]},
        {"count_on": ["429"]},
        {"count_on": ["500"]},
        {"count_on": ["5xx"]},
    ],
)
def test_operation__of_a_wrong_kind__is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(TermsRefused):
        parse_operations([{"method": "GET", "path": "/a", **field}], methods=("GET",))


@pytest.mark.parametrize(
    "field", [{"failures_count": "yes"}, {"failures_count": 1}, {"log_values": True}]
)
def test_terms__of_a_wrong_kind_or_without_effect__are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(TermsRefused):
        parse_terms(state(**field))


def test_document__long_text_referred_to_often__is_refused() -> None:
    long = {"description": "x" * 100_000}
    body = {"properties": {f"p{i}": {"$ref": "#/components/x"} for i in range(5_000)}}
    paths = {"/a": {"get": {"requestBody": body}}}

    with pytest.raises(TermsRefused, match="too large"):
        parse_terms(state(openapi=document(paths, components={"x": long}), operations=None))


def test_document__long_schema__is_shown_without_its_words_or_not_at_all() -> None:
    def describe(schema: dict[str, Any]) -> str:
        content = {"application/json": {"schema": schema}}
        paths = {"/a": {"post": {"requestBody": {"content": content}}}}
        terms = parse_terms(state(openapi=document(paths), operations=None))
        shown = build_openapi("stats", "https://m", [sell(terms)])
        return orjson.dumps([shown, describe_discovery(terms.operations[0])]).decode()

    wordy = {"type": "object", "title": "kept", "description": "w" * 20_000}
    wide = {"properties": {f"a-long-name-of-a-field-{i}": {"type": "string"} for i in range(900)}}

    assert "www" not in describe(wordy)
    assert '"type":"object"' in describe(wordy)
    assert len(describe(wide)) < 3_000


def test_402__schema_of_many_fields__fits_into_a_header() -> None:
    fields = [{"name": f"field-{i}", "in": "query", "schema": {}} for i in range(150)]
    wide = {"method": "GET", "path": "/a", "input_schema": {"parameters": fields}}
    terms = parse_terms(state(operations=[{**wide, "output_example": "x" * 9_000}]))

    extensions = build_extensions(sell(terms))

    assert len(orjson.dumps(extensions)) < 4_000
    assert extensions["bazaar"]["info"]["input"]["method"] == "GET"


def test_document__header_parameters__are_passed_on_but_for_what_never_is() -> None:
    named = [{"name": name, "in": "header"} for name in ("X-Chain", "Cookie", "Authorization")]
    paths = {"/a": {"get": {"parameters": named}}}

    terms = parse_terms(state(openapi=document(paths), operations=None))

    assert terms.operations[0].headers == frozenset({"x-chain"})


def test_document__reference_into_a_list__is_followed() -> None:
    first = {"name": "a", "in": "query"}
    paths = {
        "/{x}": {"get": {"parameters": [first]}},
        "/b": {"get": {"parameters": [{"$ref": "#/paths/~1%7Bx%7D/get/parameters/0"}]}},
    }

    terms = parse_terms(state(openapi=document(paths), operations=["GET /b"]))

    assert terms.operations[0].query == frozenset({"a"})
    paths["/b"] = {"get": {"parameters": [{"$ref": "#/paths/~1%7Bx%7D/get/parameters/1"}]}}
    with pytest.raises(TermsRefused, match="nowhere"):
        parse_terms(state(openapi=document(paths), operations=["GET /b"]))


def test_terms__decimals_in_examples__stay_numbers_and_amounts_stay_exact() -> None:
    body = parse_exact_json(
        b'{"operations":[{"method":"GET","path":"/a","price_usd":0.1,"output_example":{"a":[1.5]}}]'
        b',"openapi":{"x":2.5},"markup":3.5}'
    )

    stored = orjson.loads(write_terms(body))

    assert stored["operations"][0]["output_example"] == {"a": [1.5]}
    assert stored["openapi"] == {"x": 2.5}
    assert (stored["operations"][0]["price_usd"], stored["markup"]) == ("0.1", "3.5")


# -------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("path", "is_sold"),
    [
        ("/users/7", True),
        ("/users/mei", True),
        ("/users/me", False),
        ("/users/ME", False),
        ("/users/%6De", False),
        ("/users/me.json", False),
        ("/users/u1:ban", False),
        ("/users/export-2020", False),
    ],
)
def test_path__another_operation_of_the_document__is_not_sold(path: str, is_sold: bool) -> None:
    paths: dict[str, Any] = {
        "/users/{id}": {"get": {}},
        "/users/me": {"delete": {}},
        "/users/{id}:ban": {"post": {}},
        "/users/export-{year}": {"get": {}},
    }
    terms = parse_terms(state(openapi=document(paths)))

    found = find_operation(terms.operations, "GET", split_path(path))

    assert (found is not None) == is_sold


def test_path__both_listed__each_is_sold() -> None:
    paths: dict[str, Any] = {"/users/{id}": {"get": {}}, "/users/me": {"get": {}}}
    terms = parse_terms(state(openapi=document(paths), operations=None))

    found = [find_operation(terms.operations, "GET", ("users", name)) for name in ("me", "7")]

    assert [one[0].template.text for one in found if one] == ["/users/me", "/users/{id}"]


@pytest.mark.parametrize("mark", ["~", "%7E", "%7e"])
def test_path__owner_s_mark_in_either_spelling__is_one_api(mark: str) -> None:
    owner = "0x" + "ab" * 20

    wish = parse_wish("GET", f"/x402/{mark}{owner}/stats/a", "")

    assert (wish.sold_under, wish.segments) == (f"~{owner}/stats", ("a",))


# -------------------------------------------------------------------------------------------- leaks

KEY = "user:pa?>ss~~word??12"
BASIC = b64encode(KEY.encode()).decode()


@pytest.mark.parametrize(
    "spelling",
    [
        BASIC.replace("/", "\\/"),
        BASIC.replace("/", "%2F").replace("+", "%2B"),
        BASIC.replace("/", "%252f").replace("+", "%252b"),
        BASIC.replace("+", "\\u002b").replace("/", "\\u002F"),
        BASIC.replace("+", "&#43;").replace("/", "&#x2f;"),
        "\r\n".join((BASIC[:11], BASIC[11:])),
        "\n ".join((BASIC[:11], BASIC[11:])),
        "\\n".join((BASIC[:11], BASIC[11:])),
        "\\r\\n".join((BASIC[:11], BASIC[11:])),
        "=\r\n".join((BASIC[:11], BASIC[11:])),
        KEY.encode().hex(" "),
        "\n".join((KEY[:9], KEY[9:])),
        KEY,
        KEY.replace("?", "%3F").replace(">", "%3E"),
    ],
)
def test_leak__escaped_or_wrapped__is_found(spelling: str) -> None:
    answer = f'{{"debug":"Basic {spelling}"}}'.encode()

    assert LeakSearch(KEY).is_in(answer)


def test_leak__key_with_a_backslash_as_json_writes_it__is_found() -> None:
    key = "a\\ntoken\\rest"

    assert LeakSearch(key).is_in(orjson.dumps({"key": key}))


def test_leak__other_text__is_none() -> None:
    answer = orjson.dumps(
        {"text": "user: pass word 12\r\n" * 50, "b64": b64encode(b"x" * 99).decode()}
    )

    assert not LeakSearch(KEY).is_in(answer)


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "nansenapi", "thenansen", "nansens", "arkham2", "nannsen", "nanse", "nasnen", "nansem",
        "my-kaito-api", "kaitopro", "ark-ham", "arkharn-x", "nan-sen-data",
    ],
)  # fmt: skip
def test_name__known_one_with_an_addition_or_a_slip__is_refused(name: str) -> None:
    with pytest.raises(TermsRefused, match="looks like"):
        check_connection_name(name, ())


@pytest.mark.parametrize("name", ["nansen", "arkham", "glassnode", "messari", "market", "kafka"])
def test_name__known_or_another__is_taken(name: str) -> None:
    check_connection_name(name, ("api-1", "data"))


# -------------------------------------------------------------------------------- prices and quotas


def price_of(terms: ConnectionTerms, *, now_s: int, listed_at_s: int) -> int:
    one = sell(terms)
    connection = one.connection
    listed = SoldConnection(
        "c1", "0x1", "stats", "https://a", "0x1", 0, False, listed_at_s, listed_at_s, True, terms
    )
    assert connection.terms is terms
    return listed.find_price(one.operation, now_s).usdc


def test_price__quota_that_is_had_once__falls_from_its_listing_to_its_end() -> None:
    terms = parse_terms(
        state(
            monthly_quota=None, quota=100, quota_period="once", quota_resets_at=NOW_S + 30 * DAY_S,
            price_usd="0.15", floor_price_usd="0.05",
        )
    )  # fmt: skip

    prices = [
        price_of(terms, now_s=NOW_S + days * DAY_S, listed_at_s=NOW_S) for days in (0, 15, 30)
    ]

    assert prices[:2] == [150_000, 100_000]


def test_quota__had_once_and_over__has_nothing_for_sale() -> None:
    quota = Quota(100, 0, period=Period.ONCE, resets_at_s=NOW_S - DAY_S)

    assert quota.find_period(NOW_S).base_units == 0
    assert quota.find_period(NOW_S - 2 * DAY_S).base_units == 98


def test_quota__instant_of_a_reset__says_the_day_and_the_time() -> None:
    resets_at_s = NOW_S + 5 * DAY_S
    terms = parse_terms(state(quota_resets_at=resets_at_s))

    period = terms.quota.find_period(NOW_S)

    assert (period.starts_at_s, period.ends_at_s) == (NOW_S - 25 * DAY_S, resets_at_s)
    daily = Quota(100, 0, period=Period.DAY, resets_at_s=NOW_S - 6 * 3_600).find_period(NOW_S)
    assert (daily.starts_at_s, daily.ends_at_s) == (NOW_S - 6 * 3_600, NOW_S + 18 * 3_600)
    with pytest.raises(TermsRefused):
        parse_terms(state(quota_resets_at=resets_at_s, reset_day=3))


def test_price__of_a_call_of_many_units__does_not_fall_below_their_floor() -> None:
    (operation,) = parse_operations(
        [{"method": "GET", "path": "/a", "units": 100, "price_usd": "8"}], methods=("GET",)
    )

    price = find_price(
        operation,
        QuotaPrice(150_000, 50_000),
        starts_at_s=0,
        ends_at_s=30 * DAY_S,
        now_s=30 * DAY_S,
    )

    assert price.usdc == 5_000_000


@pytest.mark.parametrize(
    ("stated", "units"), [(b"4.0", 4), (b"4.2", 5), (b"4", 4), (b"true", 1), (b"-1.0", 1)]
)
def test_units__stated_with_a_point__are_counted_up(stated: bytes, units: int) -> None:
    (operation,) = parse_operations(
        [{"method": "GET", "path": "/a", "units_from": "json: used", "units_max": 10}],
        methods=("GET",),
    )

    assert read_units(operation, ApiAnswer(200, {}, b'{"used":%b}' % stated, 1, None, {})) == units


# ------------------------------------------------------------------------------------ repetitions


def test_kept_answer__of_another_status__keeps_it() -> None:
    key = derive_repeat_key("Bearer a-key", idempotency_key="k" * 16, body=b"")

    assert key.open(key.seal(WholeAnswer(False, {}, b"{}", 404))).status == 404


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"extensions": {"payment-identifier": {"info": {"id": "a" * 16}}}}, "a" * 16),
        ({"extensions": {"payment-identifier": {"info": {"id": "a" * 15}}}}, None),
        ({"extensions": {"payment-identifier": {"info": {"id": "a" * 15 + "é"}}}}, None),
        ({"extensions": {"payment-identifier": {"info": {"id": 7}}}}, None),
        ({"extensions": [1]}, None),
        ([], None),
    ],
)
def test_identifier__of_a_payment__is_read_where_it_can_be_one(
    stated: Any, found: str | None
) -> None:
    assert find_identifier(b64encode(orjson.dumps(stated)).decode()) == found
    assert find_identifier("not base64") is None
