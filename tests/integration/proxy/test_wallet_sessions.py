"""A wallet that is signed in in a browser: what its cookie may do, and what it may not.

::

    signed in: asks as the root key of its own positions, until it ends
    sign in from another site's page: refused, no cookie
    another's position, another site's page, two cookies, an old message: refused
    a message for a key gives no session, and the other way round
    the keys are revoked: what was signed in before is out
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from sqlalchemy import Engine

from ledger.database.engine import read, write
from ledger.spending.wallet_sessions import SESSIONS_MAX, SignedIn, list_sessions, open_session
from ledger.tables import WalletSession, table_of
from proxy.errors import format_time
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import CHAT, RunningProxy, make_body, now_s, run_proxy, settings_for

ROOT: Final = "/api/current"
OWNER: Final[LocalAccount] = Account.from_key("0x" + "11" * 32)
STRANGER: Final[LocalAccount] = Account.from_key("0x" + "22" * 32)
OWN: Final = {"origin": "http://127.0.0.1:8402", "sec-fetch-site": "same-origin"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a ledger with a position of the owner's and one of the stranger's."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    state = make_state(now_s=now_s(), hold_usdc=50_000)
    with write(engine) as connection:
        put_positions(connection, replace(state, owner=OWNER.address.lower()))
        put_positions(connection, replace(state, token_id=1, owner=STRANGER.address.lower()))
        put_cursor(connection, now_s=now_s())
    yield engine
    engine.dispose()


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    """Return a proxy that serves."""
    async with run_proxy(settings_for(provider, tmp_path), engine) as running:
        yield running


async def get_message(proxy: RunningProxy, wallet: LocalAccount = OWNER) -> str:
    answer = await proxy.client.get(f"{ROOT}/session/message?address={wallet.address}")
    message: str = answer.json()["message"]
    return message


async def post_session(
    proxy: RunningProxy,
    message: str,
    wallet: LocalAccount = OWNER,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    signed = wallet.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    wish = {"message": message, "signature": signed}
    answer = await proxy.client.post(f"{ROOT}/session", json=wish, headers=headers)
    # Each browser of a test sends its own.
    proxy.client.cookies.clear()
    return answer


async def sign_in(proxy: RunningProxy, wallet: LocalAccount = OWNER) -> dict[str, str]:
    """Return the headers of a browser in which a wallet is signed in, on a page of ours."""
    answer = await post_session(proxy, await get_message(proxy, wallet), wallet)
    assert answer.status_code == 200, answer.text
    return {"cookie": answer.headers["set-cookie"].split(";")[0], **OWN}


async def test_session__signed_in__asks_as_the_root_key(
    proxy: RunningProxy, engine: Engine
) -> None:
    answer = await post_session(proxy, await get_message(proxy))
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-current_session=")
    assert cookie.endswith("; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Strict")
    state = answer.json()
    assert state["address"] == OWNER.address.lower()
    assert [one["token_id"] for one in state["positions"]] == [0]

    headers = {"cookie": cookie.split(";")[0], **OWN, "x-current-position": "0"}
    chat = await proxy.client.post(CHAT, json=make_body(), headers=headers)
    assert chat.status_code == 200, chat.text
    made = await proxy.client.post(f"{ROOT}/keys/children", json={}, headers=headers)
    assert made.status_code == 201, made.text
    usage = await proxy.client.get(f"{ROOT}/usage", headers=headers)
    assert [one["key_id"] for one in usage.json()["data"]] == [state["session_id"]]

    with read(engine) as connection:
        rows = connection.execute(table_of(WalletSession).select()).mappings().all()
    assert cookie.split("=")[1].split(";")[0] not in str(rows)


REFUSED: Final[tuple[tuple[dict[str, str | None], int, str], ...]] = (
    ({"x-current-position": "1"}, 403, "not_owner"),
    ({"x-current-position": "7"}, 404, "position_not_found"),
    ({"x-current-position": "-1"}, 400, "invalid_token_id"),
    ({"x-current-position": "01"}, 400, "invalid_token_id"),
    ({"x-current-position": "9" * 19}, 400, "invalid_token_id"),
    ({"origin": "http://evil.example"}, 403, "wrong_origin"),
    ({"origin": "null"}, 403, "wrong_origin"),
    ({"origin": None}, 403, "wrong_origin"),
    ({"sec-fetch-site": "same-site"}, 403, "wrong_origin"),
    ({"cookie": "__Host-current_session=" + "A" * 43}, 401, "not_signed_in"),
    ({"cookie": "__Host-current_session=short"}, 401, "missing_api_key"),
    ({"cookie": "current_session=" + "A" * 43}, 401, "missing_api_key"),
    ({"authorization": "Bearer current_0_0_x"}, 401, "invalid_api_key"),
)


async def test_session__something_is_wrong__is_refused_before_anything_is_asked(
    proxy: RunningProxy,
) -> None:
    good = {**await sign_in(proxy), "x-current-position": "0"}

    for changed, status, code in REFUSED:
        named = {**good, **changed}
        headers = {name: value for name, value in named.items() if value is not None}
        answer = await proxy.client.post(CHAT, json=make_body(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), changed

    assert proxy.usage() == []


async def test_session__two_cookies_of_the_name__count_as_none(proxy: RunningProxy) -> None:
    headers = await sign_in(proxy)
    headers["cookie"] += f"; __Host-current_session={'A' * 43}"

    state = await proxy.client.get(f"{ROOT}/session", headers=headers)

    assert state.json()["address"] is None


async def test_message__used_twice_at_once__signs_in_once(proxy: RunningProxy) -> None:
    message = await get_message(proxy)

    answers = await asyncio.gather(*(post_session(proxy, message) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_message__for_a_key__gives_no_session_and_the_other_way_round(
    proxy: RunningProxy,
) -> None:
    nonce = (await proxy.client.get(f"{ROOT}/keys/nonce?tokenId=0")).json()
    for_key = (
        nonce["template"]
        .replace("<address>", to_checksum_address(OWNER.address))
        .replace("<time>", format_time(now_s()))
    )
    assert (await post_session(proxy, for_key)).json()["error"]["code"] == "invalid_message"

    for_session = await get_message(proxy)
    signed = OWNER.sign_message(encode_defunct(text=for_session)).signature.to_0x_hex()
    wish = {"message": for_session, "signature": signed}
    refused = await proxy.client.post(f"{ROOT}/keys", json=wish)
    assert refused.json()["error"]["code"] == "invalid_message"


@pytest.mark.parametrize(
    "said",
    [
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "null"},
        {**OWN, "sec-fetch-site": "same-site"},
    ],
)
async def test_sign_in__from_another_sites_page__is_refused_and_sets_no_cookie(
    proxy: RunningProxy, said: dict[str, str]
) -> None:
    message = await get_message(proxy)

    refused = await post_session(proxy, message, headers=said)

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_origin")
    assert "set-cookie" not in refused.headers
    # The message was not used up: the page that it is for still signs in by it.
    assert (await post_session(proxy, message, headers=OWN)).status_code == 200


async def test_message__signed_by_another__is_refused(proxy: RunningProxy) -> None:
    answer = await post_session(proxy, await get_message(proxy, OWNER), STRANGER)

    assert answer.status_code in (401, 503)
    assert "set-cookie" not in answer.headers


async def test_sign_out__this_or_another__ends_at_once(proxy: RunningProxy) -> None:
    here, there, other = [await sign_in(proxy) for _ in range(3)]
    stranger = await sign_in(proxy, STRANGER)
    state = (await proxy.client.get(f"{ROOT}/session", headers=there)).json()
    path = f"{ROOT}/session/{state['session_id']}"

    assert (await proxy.client.delete(path, headers=stranger)).status_code == 404
    assert (await proxy.client.delete(path, headers=here)).status_code == 200
    gone = await proxy.client.delete(f"{ROOT}/session/this", headers=here)

    assert gone.headers["set-cookie"].startswith("__Host-current_session=; Path=/; Max-Age=0")
    seen = [
        (await proxy.client.get(f"{ROOT}/session", headers=headers)).json()["address"]
        for headers in (here, there, other)
    ]
    assert seen == [None, None, OWNER.address.lower()]


async def test_sign_out__not_signed_in_or_from_another_site__is_refused(
    proxy: RunningProxy,
) -> None:
    headers = await sign_in(proxy)
    foreign = {**headers, "origin": "https://evil.example"}

    assert (await proxy.client.delete(f"{ROOT}/session/this")).status_code == 401
    refused = await proxy.client.delete(f"{ROOT}/session/this", headers=foreign)

    assert refused.json()["error"]["code"] == "wrong_origin"
    state = await proxy.client.get(f"{ROOT}/session", headers=headers)
    assert state.json()["address"] is not None


def test_open_session__more_than_a_wallet_may_have__ends_the_oldest(
    databases: Databases,
) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        for number in range(SESSIONS_MAX + 2):
            session = SignedIn(f"{number:016x}", "0xaa", "x" * 500, number, 1_000)
            open_session(connection, f"hash {number}", session)
        open_session(connection, "other", SignedIn("f" * 16, "0xbb", "", 0, 1_000))

        left = list_sessions(connection, "0xaa", now_s=999)
        assert [one.created_at_s for one in left] == list(range(SESSIONS_MAX + 1, 1, -1))
        assert len(left[0].user_agent) == 200
        assert list_sessions(connection, "0xaa", now_s=1_000) == []
        assert len(list_sessions(connection, "0xbb", now_s=999)) == 1


async def test_positions__of_a_wallet__are_its_own(proxy: RunningProxy) -> None:
    answer = await proxy.client.get(f"{ROOT}/positions?owner={STRANGER.address}")
    assert [one["token_id"] for one in answer.json()["positions"]] == [1]

    wrong = await proxy.client.get(f"{ROOT}/positions?owner=0x12")
    assert wrong.json()["error"]["code"] == "invalid_address"
