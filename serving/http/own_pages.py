"""What tells our own pages from another site: where a request comes from, its cookie. Pure."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from serving.http.errors import NO_RETRY, RequestRejected

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing: they need no proof of the page."""


def read_cookie(scope: Mapping[str, Any], name: str) -> str | None:
    """Return a cookie's value; None without one, or with two of the name."""
    found = [
        value
        for header_name, header in scope["headers"]
        if header_name == b"cookie"
        for part in header.decode("latin-1").split(";")
        for key, _, value in [part.strip().partition("=")]
        if key == name
    ]
    return found[0] if len(found) == 1 else None


def write_cookie(name: str, value: str, *, lifetime_s: int) -> str:
    """Return the ``Set-Cookie`` of a session that no script reads and no other site sends.

    An empty value takes the cookie away.
    """
    age_s = lifetime_s if value else 0
    return f"{name}={value}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Strict"


def find_origin(url: str) -> str:
    """Return the scheme, host and port of a URL, as browsers write an origin."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def check_no_other_page(scope: Mapping[str, Any], own: str) -> None:
    """Raise 403 where a browser says that a page of another site than ``own`` asks.

    For what needs no cookie but gives one, or checks a token beside it: programs, which say nothing
    of pages, may ask. Without this, another site could sign a visitor in as somebody else.
    """
    headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
    origin = headers.get(b"origin")
    is_foreign = origin is not None and origin.decode("latin-1").lower() != own.lower()
    if is_foreign or headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        message = f"Only pages of {own} may ask this of a browser."
        raise RequestRejected(403, "wrong_origin", message, headers=NO_RETRY)


def check_own_page(scope: Mapping[str, Any], own: str) -> None:
    """Raise 403 unless a request comes from a page of ``own``: scheme, host and port."""
    headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
    origin = headers.get(b"origin", b"").decode("latin-1")
    site = headers.get(b"sec-fetch-site", b"same-origin")
    if origin.lower() != own.lower() or site != b"same-origin":
        message = f"A session's cookie counts only from pages of {own}; send a key instead."
        raise RequestRejected(403, "wrong_origin", message, headers=NO_RETRY)
