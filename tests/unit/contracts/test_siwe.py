"""EIP-4361: what is parsed, and every way in which a message is not for us."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from contracts.siwe import SiweInvalid, build_siwe, parse_siwe

NOW: Final = datetime(2033, 5, 18, 12, tzinfo=UTC)
ADDRESS: Final = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B"


def make(**changes: Any) -> str:
    given: dict[str, Any] = {
        "domain": "pay.example",
        "address": ADDRESS,
        "statement": "Issue a key.",
        "uri": "https://pay.example/keys",
        "chain_id": 8453,
        "nonce": "abcdEFGH1234",
        "issued_at": NOW,
        "resources": ["eip155:8453:0x11/0"],
    }
    return build_siwe(**{**given, **changes})


def check(text: str, *, later_s: float = 0) -> None:
    parse_siwe(text).check(domain="pay.example", chain_id=8453, now_s=NOW.timestamp() + later_s)


def test_parse__what_was_built__the_same() -> None:
    message = parse_siwe(make())
    assert message.domain == "pay.example"
    assert message.address == ADDRESS.lower()
    assert message.statement == "Issue a key."
    assert (message.chain_id, message.nonce) == (8453, "abcdEFGH1234")
    assert message.issued_at_s == NOW.timestamp()
    assert message.resources == ("eip155:8453:0x11/0",)
    check(make())


def test_parse__optional_lines__read() -> None:
    text = make().replace(
        "\nResources:",
        "\nExpiration Time: 2033-05-18T12:10:00Z\nNot Before: 2033-05-18T12:01:00+00:00"
        "\nRequest ID: 7\nResources:",
    )
    message = parse_siwe(text)
    assert message.expires_at_s == NOW.timestamp() + 600
    assert message.not_before_s == NOW.timestamp() + 60
    check(text, later_s=599)
    for later_s in (0, 600):
        with pytest.raises(SiweInvalid):
            check(text, later_s=later_s)


def test_parse__no_statement_and_scheme__read() -> None:
    text = "https://" + make().replace("Issue a key.\n\n", "\n")
    assert parse_siwe(text).statement is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wants you", "would like you"),
        (ADDRESS, ADDRESS[:-1]),
        ("Version: 1", "Version: 2"),
        ("Version: 1\n", ""),
        ("Chain ID: 8453", "Chain ID: 08453"),
        ("Chain ID: 8453", "Chain ID: x"),
        ("Nonce: abcdEFGH1234", "Nonce: short"),
        ("Nonce: abcdEFGH1234", "Nonce: with-a-dash-in-it"),
        ("Version: 1\nChain ID: 8453", "Chain ID: 8453\nVersion: 1"),
        ("Version: 1", "Version: 1\nVersion: 1"),
        ("Issued At: 2033-05-18T12:00:00.000Z", "Issued At: yesterday"),
        ("Issued At: 2033-05-18T12:00:00.000Z", "Issued At: 2033-05-18T12:00:00"),
        ("Resources:", "Resource:"),
        ("- eip155", "eip155"),
        ("Issue a key.", "Issue\na key."),
    ],
)
def test_parse__not_by_the_standard__refused(old: str, new: str) -> None:
    assert old in make()
    with pytest.raises(SiweInvalid):
        parse_siwe(make().replace(old, new))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "evil.example"},
        {"domain": "evil.example", "uri": "https://evil.example/"},
        {"uri": "https://evil.example/"},
        {"uri": "https://pay.example@evil.example/"},
        {"chain_id": 1},
    ],
)
def test_check__for_somebody_else__refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SiweInvalid):
        check(make(**changes))


@pytest.mark.parametrize(
    "uri", ["http://[", "http://]", "https://[pay.example", "https://[::1", "https://[pay]/", "a:b"]
)
def test_check__uri_without_a_host__refused(uri: str) -> None:
    with pytest.raises(SiweInvalid, match="URI"):
        check(make(uri=uri))


@pytest.mark.parametrize("later_s", [300, 10_000, -301])
def test_check__not_for_now__refused(later_s: float) -> None:
    with pytest.raises(SiweInvalid):
        check(make(), later_s=later_s)


@pytest.mark.parametrize(
    "time",
    [
        "2033-05-18t12:00:00z",
        "2033-05-18T12:00:00Z",
        "2033-05-18T14:00:00.000000000+02:00",
        "2033-05-18T12:00:00.1-00:00",
    ],
)
def test_time__by_rfc_3339__is_read(time: str) -> None:
    check(make().replace(NOW.isoformat(timespec="milliseconds").replace("+00:00", "Z"), time))


@pytest.mark.parametrize(
    "time",
    [
        "2033-W20-3T12:00:00Z",
        "20330518T120000Z",
        "2033-05-18 12:00:00Z",
        "2033-05-18T12:00Z",
        "2033-05-18T12:00:00",
        "2033-05-18T12:00:00,5Z",
        "2033-05-18T12:00:00+0200",
        "2033-05-18T12:00:00+02",
        "2033-05-18T24:00:00Z",
        "2033-02-30T12:00:00Z",
        "2033-05-18T12:00:60Z",
        "\u0662033-05-18T12:00:00Z",
    ],
)
def test_time__by_another_standard__is_refused(time: str) -> None:
    with pytest.raises(SiweInvalid, match="is not a time"):
        check(make().replace(NOW.isoformat(timespec="milliseconds").replace("+00:00", "Z"), time))


@pytest.mark.parametrize(
    "changes",
    [
        {"statement": "Issue\ra key."},
        {"statement": "Issue a key.\r"},
        {"statement": "Issue \u0430 key."},
        {"statement": 'Issue "a" key.'},
        {"uri": "https://pay.example/a b"},
        {"uri": "//pay.example/keys"},
        {"uri": "https://pay.example/%zz"},
        {"nonce": "abcdEFGH1234\r"},
        {"resources": ["eip155:8453:0x11/0\r"]},
        {"resources": ["no scheme"]},
        {"domain": "user@pay.example"},
        {"domain": "pay.ex\u0430mple"},
    ],
)
def test_parse__characters_outside_the_abnf__are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SiweInvalid):
        parse_siwe(make(**changes))


@pytest.mark.parametrize(
    "statement", ["https://a.example/?b=[c]&d='e'#f!", "100 $ (a*b+c), ok; ~-_."]
)
def test_parse__all_characters_of_a_statement__are_read(statement: str) -> None:
    assert parse_siwe(make(statement=statement)).statement == statement


@pytest.mark.parametrize(
    ("request_id", "is_one"), [("a:b@c%20d", True), ("", True), ("a b", False)]
)
def test_request_id__path_characters__only(request_id: str, is_one: bool) -> None:
    text = make().replace("\nResources:", f"\nRequest ID: {request_id}\nResources:")
    if is_one:
        check(text)
        return
    with pytest.raises(SiweInvalid, match="request id"):
        parse_siwe(text)


def test_check__longer_lifetime__is_good_for_as_long() -> None:
    message = parse_siwe(make())
    now_s = NOW.timestamp() + 3_599
    message.check(domain="pay.example", chain_id=8453, now_s=now_s, lifetime_s=3_600)
    with pytest.raises(SiweInvalid, match="expired"):
        message.check(domain="pay.example", chain_id=8453, now_s=now_s + 1, lifetime_s=3_600)
