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


@pytest.mark.parametrize("later_s", [300, 10_000, -301])
def test_check__not_for_now__refused(later_s: float) -> None:
    with pytest.raises(SiweInvalid):
        check(make(), later_s=later_s)
