"""What a list of requests may be asked for, and its lines."""

import pytest

from proxy.keys.tokens import KeyClaims
from proxy.usage import TIME_MAX_S, build_cursor, parse_query
from serving.http.errors import RequestRejected

ENTRY = {
    "request_id": "01a1-b2",
    "reserved_at_s": 1_800_000_000,
    "state": "posted",
    "key_id": "00",
    "model": "=cmd()",
    "prompt_tokens": 1,
    "cached_tokens": 0,
    "completion_tokens": 2,
    "input_usdc_per_mtok": 3,
    "output_usdc_per_mtok": 4,
    "ceiling_usdc": 5,
    "cost_usdc": None,
    "batch_id": None,
}


def test_parse__nothing_asked__everything() -> None:
    query = parse_query(KeyClaims(7, 0, "00" * 8), {})
    assert (query.token_id, query.from_s, query.to_s) == (7, 0, TIME_MAX_S)
    assert (query.before, query.limit) == (None, 100)


@pytest.mark.parametrize(
    "text",
    [
        "1800000000",
        "2027-01-15T08:00:00Z",
        "2027-01-15T09:00:00 01:00",
        "2027-01-15T09:00:00+01:00",
        "2027-01-15T08:00:00",
    ],
)
def test_parse__time__in_any_of_its_spellings(text: str) -> None:
    assert parse_query(KeyClaims(0, 0, "00" * 8), {"from": text}).from_s == 1_800_000_000


def test_parse__date__its_midnight_in_utc() -> None:
    assert (
        parse_query(KeyClaims(0, 0, "00" * 8), {"to": "2027-01-15"}).to_s
        == 1_800_000_000 - 8 * 3_600
    )


def test_cursor__there_and_back() -> None:
    assert parse_query(KeyClaims(0, 0, "00" * 8), {"cursor": build_cursor(ENTRY)}).before == (
        1_800_000_000,
        "01a1-b2",
    )


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "-1"}, "from"),
        ({"to": "2027-13-01"}, "to"),
        ({"to": ""}, "to"),
        ({"from": "2", "to": "1"}, "from"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "????"}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "MSAn"}, "cursor"),
        ({"cursor": "ü"}, "cursor"),
    ],
)
def test_parse__nonsense__names_the_field(parameters: dict[str, str], param: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        parse_query(KeyClaims(0, 0, "00" * 8), parameters)
    assert caught.value.param == param
