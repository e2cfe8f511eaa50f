"""Notices of NOWPayments: whose they are, and which of them are news."""

import hashlib
import hmac

import pytest

from market.suppliers.nowpayments_ipn import (
    NoticeInvalid,
    is_news,
    is_signed,
    parse_notice,
    read_state,
    sign,
    write_sorted,
)

SECRET = "ipn-secret"


def test_write_sorted__keys_at_every_depth__and_numbers_as_they_are() -> None:
    raw = b'{"b":{"z":1.0,"a":[{"d":1e3,"c":-0}]},"a":0.10000000,"B":"\xc3\xa9/<"}'

    assert write_sorted(parse_notice(raw)) == (
        '{"B":"é/<","a":0.10000000,"b":{"a":[{"c":-0,"d":1e3}],"z":1.0}}'
    )


def test_is_signed__by_hmac_sha512_of_the_sorted_text() -> None:
    raw = b'{ "status": "FINISHED", "id": "5000000713", "amount": 1.50 }'
    text = b'{"amount":1.50,"id":"5000000713","status":"FINISHED"}'
    signature = hmac.new(SECRET.encode(), text, hashlib.sha512).hexdigest()

    assert is_signed(raw, signature, SECRET)
    assert is_signed(raw, signature.upper(), SECRET)


@pytest.mark.parametrize(
    ("raw", "secret"),
    [
        (b'{"id":"1","status":"FINISHED"}', SECRET),
        (b'{"id":"1","status":"failed "}', SECRET),
        (b'{"id":"1","status":"failed"}', "another"),
        (b'{"id":"1","status":"failed"}', ""),
    ],
)
def test_is_signed__another_body_or_secret__is_refused(raw: bytes, secret: str) -> None:
    signature = sign(b'{"id":"1","status":"failed"}', SECRET)

    assert not is_signed(raw, signature, secret)


@pytest.mark.parametrize("signature", [None, "", "00", "zz" * 64, "é" * 128])
def test_is_signed__no_signature__is_refused(signature: str | None) -> None:
    assert not is_signed(b'{"id":"1"}', signature, SECRET)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":"\\ud800"}',
        b"\xff",
        b"[" * 60_000,
        b'{"a":"' + b"x" * 70_000 + b'"}',
    ],
)
def test_parse_notice__of_what_is_none__is_refused(raw: bytes) -> None:
    with pytest.raises(NoticeInvalid):
        parse_notice(raw)
    assert not is_signed(raw, "0" * 128, SECRET)


@pytest.mark.parametrize(
    ("known", "state", "expected"),
    [
        (None, "creating", True),
        ("sending", "waiting", False),
        ("sending", "sending", False),
        ("sending", "finished", True),
        ("failed", "finished", True),
        ("finished", "failed", False),
        ("failed", "rejected", False),
        ("finished", "rejected", False),
    ],
)
def test_is_news__by_rank(known: str | None, state: str, expected: bool) -> None:
    assert is_news(known, state) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("FINISHED", "finished"), ("Sending", "sending"), ("done", None), (None, None), (5, None)],
)
def test_read_state__in_either_case(value: object, expected: str | None) -> None:
    assert read_state(value) == expected
