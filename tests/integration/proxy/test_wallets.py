"""Keys for real smart-contract wallets, over HTTP, against a real chain.

::

    POST /keys, by the plain text and by EIP-4361
    ├── a Safe of three, two sign: each version that people use
    │   ├── not deployed yet: with its factory's call (ERC-6492), and stays undeployed
    │   ├── too few, others', over another text, without the wrapping: refused
    │   └── deployed: by ERC-1271, and still by ERC-6492
    └── an EOA that is delegated (EIP-7702)
        ├── its own signature counts, before, while and after
        └── the delegate's answer counts while it is delegated, and not a block longer
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from eth_account import Account
from eth_account.messages import (
    encode_defunct,
)
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine

from bench.peers import Peers, load_peers
from bench.report import BenchError
from ledger.database.engine import write
from proxy.keys.key_message import build_key_message
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.deploy import World, deploy
from tests.support.ledgers import DEPLOYMENT, make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_settings, now_s, run_proxy, write_prices
from tests.support.safes import (
    MEMBERS,
    SAFES,
    ZERO,
    Safe,
    create,
    plan_safe,
    prepare_setup,
    send,
    sign_all,
)

KEYS: Final = "/api/current/keys"
OUTSIDER: Final = Account.from_key("0x" + "22" * 32)

Sign = Any
"""``sign(text)`` returns the signature that is sent for a text."""


# ------------------------------------------------------------------------------------------ wallets


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Anvil() as anvil:
        yield deploy(anvil)


@pytest.fixture(scope="module")
def peers() -> Peers:
    try:
        return load_peers()
    except BenchError as error:
        pytest.skip(f"the wallets are not installed, and could not be: {error}")


@pytest.fixture(scope="module")
def multicall3(world: World, peers: Peers) -> str:
    """Return the real one: the mock takes less calldata than a Safe's creation needs."""
    return str(create(world, peers, "Multicall3", "Multicall3").address)


def delegate(world: World, account: LocalAccount, to: str, *, data: str = "0x") -> None:
    """Delegate an account to a contract's code, or to none; then call it (a type 4 transaction).

    The account signs the authorization, a stranger sends it and pays.
    """
    nonce = world.anvil.web3.eth.get_transaction_count(account.address)
    authorization = account.sign_authorization({"chainId": CHAIN_ID, "address": to, "nonce": nonce})
    to_call = world.accounts["admin"].address if data == "0x" else account.address
    call = {"to": to_call, "data": data, "type": 4, "authorizationList": [authorization]}
    assert send(world, call)["type"] == 4


# ------------------------------------------------------------------------------------------- buyers


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_ledger(tmp_path / "ledger.sqlite3")


def own(engine: Engine, owner: str) -> None:
    """Say that position 0 belongs to ``owner``."""
    with write(engine) as connection:
        put_positions(connection, replace(make_state(now_s=now_s()), owner=owner.lower()))
        put_cursor(connection, now_s=now_s())


@asynccontextmanager
async def serve(
    world: World, multicall3: str, engine: Engine, folder: Path
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(
        rpc_url=world.anvil.url, prices_file=write_prices(folder), address_keys_per_minute_max=0
    )
    deployment = replace(DEPLOYMENT, multicall3=multicall3.lower())
    async with run_proxy(settings, engine, deployment=deployment) as proxy:
        yield proxy


async def ask_by_text(proxy: RunningProxy, _: str, sign: Sign) -> httpx.Response:
    timestamp = time.time_ns() // 1_000_000
    signature = sign(build_key_message(token_id=0, timestamp_ms=timestamp))
    wish = {"tokenId": "0", "timestamp": timestamp, "signature": "0x" + signature.hex()}
    return await proxy.client.post(KEYS, json=wish)


async def ask_by_sign_in(proxy: RunningProxy, owner: str, sign: Sign) -> httpx.Response:
    said = (await proxy.client.get(f"{KEYS}/nonce", params={"tokenId": "0"})).json()
    at = datetime.now(UTC).isoformat()
    message = said["template"].replace("<address>", owner).replace("<time>", at)
    wish = {"message": message, "signature": "0x" + sign(message).hex()}
    return await proxy.client.post(KEYS, json=wish)


async def get_key(proxy: RunningProxy, owner: str, sign: Sign) -> None:
    """Ask in both ways; each gives a key that works."""
    for ask in (ask_by_text, ask_by_sign_in):
        answer = await ask(proxy, owner, sign)
        assert answer.status_code == 200, answer.text
        headers = {"authorization": f"Bearer {answer.json()['apiKey']}"}
        shown = await proxy.client.get(f"{KEYS}/self", headers=headers)
        assert (shown.status_code, shown.json()["kind"]) == (200, "root")


async def get_none(proxy: RunningProxy, owner: str, sign: Sign) -> None:
    """Ask in both ways; each says that it is not the owner's signature."""
    for ask in (ask_by_text, ask_by_sign_in):
        answer = await ask(proxy, owner, sign)
        assert answer.status_code == 401, answer.text
        assert answer.json()["error"]["code"] == "invalid_signature"


def sign_as(account: LocalAccount) -> Sign:
    return lambda text: bytes(account.sign_message(encode_defunct(text=text)).signature)


@pytest.mark.parametrize("version", SAFES)
@pytest.mark.sampled(3)
async def test_safe__before_and_after_deployment__two_members_get_a_key(
    engine: Engine, tmp_path: Path, world: World, peers: Peers, multicall3: str, version: str
) -> None:
    safe = plan_safe(world, peers, version)
    own(engine, safe.address)
    strangers = [MEMBERS[0], OUTSIDER]
    async with serve(world, multicall3, engine, tmp_path) as proxy:
        await get_key(proxy, safe.address, safe.sign_ahead)
        await get_none(proxy, safe.address, safe.sign)  # nobody is there to ask
        await get_none(proxy, safe.address, lambda text: safe.sign_ahead(text, MEMBERS[:1]))
        await get_none(proxy, safe.address, lambda text: safe.sign_ahead(text, strangers))
        await get_none(proxy, safe.address, lambda text: safe.sign_ahead(f"{text} "))
        assert world.anvil.reader.fetch_code_size(safe.address) == 0  # asked, never executed

        safe.deploy()

        await get_key(proxy, safe.address, safe.sign)
        await get_key(proxy, safe.address, lambda text: safe.sign(text, MEMBERS[1:]))
        await get_key(proxy, safe.address, safe.sign_ahead)
        await get_none(proxy, safe.address, lambda text: safe.sign(text, MEMBERS[:1]))
        await get_none(proxy, safe.address, lambda text: safe.sign(text, strangers))
        await get_none(proxy, safe.address, sign_as(MEMBERS[0]))
        await get_none(
            proxy, safe.address, lambda text: sign_all(encode_defunct(text=text), MEMBERS[:2])
        )


async def test_safe__anothers_factory_call__is_not_its_own(
    engine: Engine, tmp_path: Path, world: World, peers: Peers, multicall3: str
) -> None:
    safe, other = (plan_safe(world, peers, SAFES[-1]) for _ in range(2))
    own(engine, other.address)
    async with serve(world, multicall3, engine, tmp_path) as proxy:
        await get_none(proxy, other.address, safe.sign_ahead)


async def test_delegated_eoa__itself_or_its_delegate__while_it_is_delegated(
    engine: Engine, tmp_path: Path, world: World, peers: Peers, multicall3: str
) -> None:
    eoa = Account.create()
    own(engine, eoa.address)
    singleton, setup = prepare_setup(world, peers, SAFES[-1])
    wallet = Safe(world, eoa.address, singleton, None)
    async with serve(world, multicall3, engine, tmp_path) as proxy:
        await get_key(proxy, eoa.address, sign_as(eoa))
        await get_none(proxy, eoa.address, wallet.sign)

        delegate(world, eoa, singleton.address, data=setup)

        assert world.anvil.reader.fetch_code_size(eoa.address) == 23  # 0xef0100 and the address
        await get_key(proxy, eoa.address, sign_as(eoa))
        await get_key(proxy, eoa.address, wallet.sign)
        await get_none(proxy, eoa.address, lambda text: wallet.sign(text, MEMBERS[:1]))
        await get_none(proxy, eoa.address, sign_as(OUTSIDER))

        delegate(world, eoa, ZERO)

        assert world.anvil.reader.fetch_code_size(eoa.address) == 0
        await get_none(proxy, eoa.address, wallet.sign)
        await get_key(proxy, eoa.address, sign_as(eoa))


async def test_delegated_eoa__delegate_without_answer__itself_only(
    engine: Engine, tmp_path: Path, world: World, multicall3: str
) -> None:
    eoa = Account.create()
    own(engine, eoa.address)
    async with serve(world, multicall3, engine, tmp_path) as proxy:
        # A token knows nothing of signatures; another account's code is none.
        for target in (world.deployment.usdc, world.accounts["admin"].address):
            delegate(world, eoa, target)
            await get_key(proxy, eoa.address, sign_as(eoa))
            await get_none(proxy, eoa.address, sign_as(OUTSIDER))
