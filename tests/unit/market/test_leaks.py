"""The credential in answers: found in the spellings in which servers echo it."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest

from market.resale.api_client import OutgoingCall, add_credential, list_secrets, read_failure
from market.resale.connection_terms import Credential
from market.resale.leaks import LeakSearch
from serving.models.failures import Cause

KEY = "ak-7Qx/42+secret=key"
RAW = KEY.encode()


@pytest.mark.parametrize(
    "answer",
    [
        RAW,
        b"<html>" + RAW + b"</html>",
        quote(KEY, safe="").encode(),
        quote(KEY, safe="").lower().replace("ak-7qx", "ak-7Qx").encode(),
        quote(quote(KEY, safe=""), safe="").encode(),
        json.dumps({"k": KEY.replace("/", "\\/")}).encode(),
        KEY.replace("/", "\\u002f").encode(),
        KEY.replace("+", "&#43;").encode(),
        b64encode(RAW),
        b64encode(b"user:" + RAW),
        b64encode(b"ab" + RAW + b"!"),
        urlsafe_b64encode(b"x" + RAW),
        RAW.hex().encode(),
        KEY.encode("utf-16-le"),
    ],
)
def test_leak__each_spelling__is_found(answer: bytes) -> None:
    assert LeakSearch(KEY).is_in(answer)


def test_leak__other_text__is_not_found() -> None:
    search = LeakSearch(KEY)

    assert not search.is_in(b'{"hash":"0x' + b"ab" * 32 + b'","note":"ak-7Qx"}')
    assert KEY not in repr(search)


@pytest.mark.parametrize(
    ("credential", "query", "header"),
    [
        (Credential("header", "X-Key"), "a=1", ("X-Key", KEY)),
        (Credential("bearer"), "a=1", ("authorization", f"Bearer {KEY}")),
        (Credential("basic"), "a=1", ("authorization", "Basic " + b64encode(RAW).decode())),
        (Credential("query", "key"), "a=1&key=ak-7Qx%2F42%2Bsecret%3Dkey", None),
    ],
)
def test_credential__each_way__stands_where_it_belongs(
    credential: Credential, query: str, header: tuple[str, str] | None
) -> None:
    sent = add_credential(KEY, credential, OutgoingCall("GET", "/a", "a=1", {}, b""))

    assert sent == (query, {} if header is None else dict([header]))


def test_credential__basic__its_password_is_searched_for_too() -> None:
    assert list_secrets("user:password123", Credential("basic")) == (
        "user:password123",
        "password123",
    )


@pytest.mark.parametrize(
    ("status", "cause"),
    [(200, None), (404, None), (422, None), (401, Cause.AUTH), (402, Cause.FUNDS),
     (403, Cause.AUTH), (429, Cause.RATE), (500, Cause.SERVER), (503, Cause.SERVER)],
)  # fmt: skip
def test_status__of_an_api__says_whose_fault_it_is(status: int, cause: Cause | None) -> None:
    failure = read_failure(status, None)

    assert (None if failure is None else failure.cause) == cause
