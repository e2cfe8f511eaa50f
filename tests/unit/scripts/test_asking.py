"""What the commands say of a proxy that does not answer, without the secrets of its URL."""

import httpx
import pytest

from contracts.errors import CurrentError
from scripts.asking import ProxySilent, Refused, UrlInvalid, get_json

PASSWORD = "pass-word"


def fail_with(url: str, kind: type[CurrentError]) -> str:
    with pytest.raises(kind) as caught:
        get_json(url)
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@h:abc/positions/1",
        f"http://user:{PASSWORD}@[::1",
        f"http://user:{PASSWORD}/more@h",
        f"user:{PASSWORD}@h",
        f"ftp://user:{PASSWORD}@h",
    ],
)
def test_get_json__no_url_of_a_proxy__said_without_its_password(url: str) -> None:
    said = fail_with(url, UrlInvalid)

    assert "is not an http or https URL of a proxy" in said
    assert "pass" not in said


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (None, ProxySilent, "http://h:81 did not answer: ConnectError"),
        (httpx.Response(404, text="unknown"), Refused, "http://h:81 answered 404: unknown"),
        (
            httpx.Response(409, json={"error": {"code": "too_small", "message": "Too little."}}),
            Refused,
            "http://h:81 answered 409: Too little.",
        ),
        (httpx.Response(200, text="page"), Refused, "http://h:81 answered with no JSON: page"),
        (httpx.Response(200, text="[" * 100_000), Refused, "http://h:81 answered with no JSON: ["),
    ],
)
def test_get_json__no_use_of_the_answer__said_without_the_urls_password(
    answer: httpx.Response | None,
    kind: type[CurrentError],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def request(*_arguments: object, **_named: object) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("refused")
        return answer

    monkeypatch.setattr(httpx, "request", request)

    said = fail_with(f"http://user:{PASSWORD}@h:81/positions/1?token={PASSWORD}", kind)

    assert said.startswith(words)
    assert PASSWORD not in said


def test_get_json__port_out_of_range__shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def request(*_arguments: object, **_named: object) -> httpx.Response:
        raise httpx.ConnectError("no such host")

    monkeypatch.setattr(httpx, "request", request)

    assert PASSWORD not in fail_with(f"http://user:{PASSWORD}@h:99999", ProxySilent)
