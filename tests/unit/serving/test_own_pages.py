"""Whose page asks, by what a browser says of it.

::

    no other page   programs that say nothing; our own page; another site, its subdomain, a sandbox
    own page        the same, but who says nothing is refused too
"""

from typing import Any

import pytest

from serving.http.errors import RequestRejected
from serving.http.own_pages import check_no_other_page, check_own_page

OWN = "https://market.example"


def make_scope(origin: str | None, site: str | None) -> dict[str, Any]:
    headers = [(b"host", b"market.example")]
    headers += [] if origin is None else [(b"origin", origin.encode())]
    headers += [] if site is None else [(b"sec-fetch-site", site.encode())]
    return {"headers": headers}


@pytest.mark.parametrize(
    ("origin", "site", "may_sign_in", "may_use_cookie"),
    [
        (None, None, True, False),
        (None, "none", True, False),
        (OWN, None, True, True),
        (OWN, "same-origin", True, True),
        ("HTTPS://Market.example", "same-origin", True, True),
        (OWN, "same-site", False, False),
        (OWN, "cross-site", False, False),
        (None, "cross-site", False, False),
        (None, "same-site", False, False),
        ("null", "same-origin", False, False),
        ("http://market.example", None, False, False),
        ("https://market.example:8443", None, False, False),
        ("https://market.example.evil.example", None, False, False),
        ("https://evil.example", "same-origin", False, False),
    ],
)
def test_checks__of_what_a_browser_says__let_our_own_pages_in(
    origin: str | None, site: str | None, may_sign_in: bool, may_use_cookie: bool
) -> None:
    scope = make_scope(origin, site)
    allowed = []
    for check in (check_no_other_page, check_own_page):
        try:
            check(scope, OWN)
        except RequestRejected as error:
            assert (error.status, error.code) == (403, "wrong_origin")
            allowed.append(False)
        else:
            allowed.append(True)

    assert allowed == [may_sign_in, may_use_cookie]
