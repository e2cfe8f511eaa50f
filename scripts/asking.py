"""Asking a proxy or a market over HTTP, for the commands that show what it answers."""

from typing import Any, Final

import httpx

from contracts.errors import Fatal, Rejected, Retryable
from contracts.reader import mask_url

TIMEOUT_S: Final = 10.0
WORDS_MAX: Final = 500


class ProxySilent(Retryable):
    """The proxy did not answer."""


class Refused(Rejected):
    """The proxy answered, but not with what was asked for; the message has its own words."""


class UrlInvalid(Fatal):
    """What was given is no URL of a proxy."""


def get_json(url: str, *, api_key: str | None = None) -> Any:
    """Return what a proxy answers to GET. Raises ``ProxySilent``, ``Refused``, ``UrlInvalid``."""
    return _read(url, "GET", api_key=api_key)


def post_json(url: str, body: object, *, api_key: str | None = None) -> Any:
    """Return what a proxy answers to POST. Raises ``ProxySilent``, ``Refused``, ``UrlInvalid``."""
    return _read(url, "POST", body=body, api_key=api_key)


def delete(url: str, *, api_key: str) -> None:
    """Have a proxy delete something. Raises as the others do."""
    _read(url, "DELETE", api_key=api_key)


def answers_well(url: str) -> bool:
    """Tell whether a server answers GET with 200 within two seconds."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _read(url: str, method: str, *, body: object = None, api_key: str | None = None) -> Any:
    shown = mask_url(url)
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        answer = httpx.request(method, url, json=body, headers=headers, timeout=TIMEOUT_S)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        # Neither the error's text nor the error as a cause: both may quote a password.
        raise UrlInvalid(f"{shown} is not an http or https URL of a proxy") from None
    except httpx.HTTPError as error:
        raise ProxySilent(f"{shown} did not answer: {type(error).__name__}") from error
    if answer.is_error:
        raise Refused(f"{shown} answered {answer.status_code}: {_find_words(answer)}")
    if answer.status_code == httpx.codes.NO_CONTENT:
        return None
    try:
        return answer.json()
    except (ValueError, RecursionError) as error:
        raise Refused(f"{shown} answered with no JSON: {answer.text[:WORDS_MAX]}") from error


def _find_words(answer: httpx.Response) -> str:
    """Return an error's message, or the body where it has none."""
    try:
        words = answer.json()["error"]["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        words = answer.text
    return str(words)[:WORDS_MAX]
