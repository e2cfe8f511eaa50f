"""A wallet that is signed in in a browser: the key is a cookie, good from our own pages only.

::

    a session: the key is in the cookie and nowhere else; it reads, and writes from our pages
    a buyer's: the same, and it buys nothing
    another site, two cookies, another type: refused
    another site signs a visitor in: refused, no cookie; a key for programs: given
"""

from typing import Final

from tests.support.market import BUYER, PUBLIC_URL, SELLER, RunningMarket

OWN: Final = {"origin": PUBLIC_URL, "sec-fetch-site": "same-origin"}
COOKIE: Final = "__Host-current_seller"


async def test_session__a_sellers_key_as_a_cookie__counts_from_our_pages_only(
    market: RunningMarket,
) -> None:
    issued = await market.issue_key(SELLER, session=True)
    assert issued.status_code == 201, issued.text
    cookie = issued.headers["set-cookie"]
    assert issued.json()["api_key"] == ""
    assert issued.json()["expires_at"] is not None
    assert cookie.startswith(f"{COOKIE}=si_seller_")
    assert cookie.endswith("; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Strict")
    market.client.cookies.clear()
    mine = {"cookie": cookie.split(";")[0]}

    account = await market.client.get("/v1/seller/account", headers=mine)
    assert account.json()["address"] == SELLER.address.lower()
    path = f"/v1/seller/auth/keys/{issued.json()['key_id']}"
    for headers in ({}, {**OWN, "origin": "null"}, {**OWN, "sec-fetch-site": "cross-site"}):
        refused = await market.client.delete(path, headers={**mine, **headers})
        assert refused.json()["error"]["code"] == "wrong_origin", headers
    twice = {"cookie": f"{mine['cookie']}; {COOKIE}=si_seller_{'A' * 43}"}
    assert (await market.client.get("/v1/seller/account", headers=twice)).status_code == 401

    other = await market.issue_key(SELLER)
    listed = (await market.client.get("/v1/seller/auth/keys", headers=mine)).json()["keys"]
    assert [one["is_current"] for one in listed] == [True, False]
    there = f"/v1/seller/auth/keys/{other.json()['key_id']}"
    dropped = await market.client.delete(there, headers={**mine, **OWN})
    assert "set-cookie" not in dropped.headers
    ended = await market.client.delete(path, headers={**mine, **OWN})
    assert ended.status_code == 200
    assert ended.headers["set-cookie"].startswith(f"{COOKIE}=; Path=/; Max-Age=0;")
    assert (await market.client.get("/v1/seller/account", headers=mine)).status_code == 401


async def test_session__of_a_buyer__shows_the_account_and_buys_nothing(
    market: RunningMarket,
) -> None:
    issued = await market.issue_key(BUYER, "buyer", session=True)
    cookie = issued.headers["set-cookie"]
    market.client.cookies.clear()
    mine = {"cookie": cookie.split(";")[0], **OWN}

    assert issued.json()["api_key"] == ""
    assert cookie.startswith("__Host-current_buyer=inf_")
    assert (await market.client.get("/v1/buyer/account", headers=mine)).status_code == 200
    assert (await market.client.get("/v1/seller/account", headers=mine)).status_code == 401
    ask = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    bought = await market.client.post("/v1/chat/completions", json=ask, headers=mine)
    assert bought.status_code in (401, 402), bought.text
    path = f"/v1/buyer/auth/keys/{issued.json()['key_id']}"
    foreign = await market.client.delete(path, headers={**mine, "origin": "http://evil.example"})
    assert foreign.json()["error"]["code"] == "wrong_origin"
    ended = await market.client.delete(path, headers=mine)
    assert ended.headers["set-cookie"].startswith("__Host-current_buyer=; Path=/; Max-Age=0;")
    assert (await market.client.get("/v1/buyer/account", headers=mine)).status_code == 401


async def test_session__of_another_type__is_refused(market: RunningMarket) -> None:
    refused = await market.issue_key(SELLER, session="yes")
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == "session"


async def test_sign_in__from_another_sites_page__gives_no_cookie(market: RunningMarket) -> None:
    for said in (
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "null"},
        {**OWN, "sec-fetch-site": "same-site"},
    ):
        refused = await market.issue_key(SELLER, headers=said, session=True)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_origin")
        assert "set-cookie" not in refused.headers
    # A key that is no cookie is the page's own, whose ever it is.
    key = await market.issue_key(SELLER, headers={"origin": "http://app.example"})
    assert key.status_code == 201, key.text
    assert (await market.issue_key(SELLER, headers=OWN, session=True)).status_code == 201
