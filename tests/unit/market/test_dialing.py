"""Base URLs of strangers: what is refused by its text, and what by where it leads."""

from collections.abc import Sequence
from typing import Any

import pytest

from serving.models.dialing import (
    Dialer,
    DialRules,
    UrlRefused,
    check_address,
    parse_base_url,
    read_origin,
)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.venice.ai/api/v1", "api.venice.ai", 443),
        ("https://API.Venice.AI/api/v1/", "api.venice.ai", 443),
        ("https://example.com:8443/v1", "example.com", 8443),
        ("https://8.8.8.8/v1", "8.8.8.8", 443),
        ("https://[2606:4700::1111]/v1", "2606:4700::1111", 443),
    ],
)
def test_parse_base_url__public_https__is_taken(url: str, host: str, port: int) -> None:
    target = parse_base_url(url, allow_loopback=False)

    assert (target.host, target.port) == (host, port)
    assert not target.url.endswith("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.venice.ai/v1",
        "http://api.venice.ai/v1",
        "ftp://api.venice.ai/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user@example.com/v1",
        "https://api.xn--a/v1",
        "https://user:pass@example.com/v1",
        "https://example.com@10.0.0.1/v1",
        "https://example.com/v1?x=1",
        "https://example.com/v1?",
        "https://example.com/v1#f",
        "https://example.com/v1 ",
        "https://exam\nple.com/v1",
        "https://example.com\\@10.0.0.1/v1",
        "https://exämple.com/v1",
        "https://example.com:0/v1",
        "https://example.com:99999/v1",
        "https://2130706433/v1",
        "https://0x7f000001/v1",
        "https://0177.0.0.1/v1",
        "https://127.1/v1",
        "https://08.8.8.8/v1",
        "https://[::1/v1",
        "https://-example.com/v1",
        "https://" + "a" * 300 + ".com/v1",
        "https://example.com/" + "a" * 3_000,
    ],
)
def test_parse_base_url__anything_else__is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_base_url(url, allow_loopback=False)


def test_parse_base_url__http__is_for_loopback_only_where_that_is_allowed() -> None:
    assert parse_base_url("http://127.0.0.1:9/v1", allow_loopback=True).port == 9
    assert parse_base_url("http://localhost:9/v1", allow_loopback=True).host == "localhost"
    with pytest.raises(UrlRefused):
        parse_base_url("http://127.0.0.1:9/v1", allow_loopback=False)
    with pytest.raises(UrlRefused):
        parse_base_url("http://example.com/v1", allow_loopback=True)


PRIVATE = (
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "2001:0:1::1",
    "2001:db8::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_check_address__not_public__is_refused(address: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_address(address, allow_loopback=False)

    assert address not in str(refused.value)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_check_address__public__is_taken(address: str) -> None:
    check_address(address, allow_loopback=False)


def test_check_address__allowed_loopback__opens_nothing_else() -> None:
    check_address("127.0.0.1", allow_loopback=True)
    check_address("::1", allow_loopback=True)
    for address in PRIVATE:
        if address in ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"):
            continue
        with pytest.raises(UrlRefused):
            check_address(address, allow_loopback=True)


def make_dialer(*answers: Sequence[str], allow_loopback: bool = False) -> tuple[Dialer, list[str]]:
    """Return a dialer whose resolver gives these answers in turn, and the names it was asked."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return Dialer(DialRules(allow_loopback=allow_loopback), resolve=resolve), asked


async def test_dial__one_private_among_public_addresses__is_refused() -> None:
    dialer, _ = make_dialer(["8.8.8.8", "10.0.0.1"])

    with pytest.raises(UrlRefused):
        await dialer.dial("https://example.com/v1")


async def test_dial__unknown_host__is_refused_but_passes_the_check_of_a_listing() -> None:
    dialer, _ = make_dialer([])

    await dialer.check("https://example.com/v1")
    with pytest.raises(UrlRefused):
        await dialer.dial("https://example.com/v1")


async def test_dial__again__asks_no_resolver_and_keeps_the_client() -> None:
    dialer, asked = make_dialer(["8.8.8.8"], ["10.0.0.1"])

    first, url = await dialer.dial("https://example.com/v1/")
    second, _ = await dialer.dial("https://example.com/v1")
    await dialer.close()

    assert first is second
    assert url == "https://example.com/v1"
    assert asked == ["example.com"]


@pytest.mark.parametrize(
    ("url", "rules", "is_called"),
    [
        ("https://s.example/v1", {}, True),
        ("https://s.example:443/v1", {}, True),
        ("https://s.example:22/v1", {}, False),
        ("https://s.example:8443/v1", {}, False),
        ("https://s.example:8443/v1", {"ports": None}, True),
        ("https://market.example/v1", {}, False),
        ("https://MARKET.example:443/min5/v1", {}, False),
        ("https://proxy.market.example/v1", {}, True),
    ],
)
async def test_dial__ports_and_the_markets_own_address__are_refused(
    url: str, rules: dict[str, Any], is_called: bool
) -> None:
    own = frozenset({read_origin("https://market.example")})
    given = {"ports": frozenset({80, 443}), "own": own, **rules}

    async def resolve(_: str, __: int) -> Sequence[str]:
        return ["93.184.216.34"]

    dialer = Dialer(DialRules(**given), resolve=resolve)
    for call in (dialer.dial, dialer.check):
        if is_called:
            await call(url)
        else:
            with pytest.raises(UrlRefused):
                await call(url)
    await dialer.close()
