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
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import (
    SignableMessage,
    defunct_hash_message,
    encode_defunct,
    encode_typed_data,
)
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine
from web3.contract import Contract
from web3.types import TxReceipt

from bench.peers import Peers, load_peers
from bench.report import BenchError
from contracts.signatures import ERC6492_SUFFIX
from ledger.database.engine import write
from proxy.keys.key_message import build_key_message
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.deploy import World, deploy
from tests.support.ledgers import DEPLOYMENT, make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_settings, now_s, run_proxy, write_prices
from tests.support.waiting import LIMIT_S

KEYS: Final = "/api/current/keys"
SAFES: Final = ("Safe 1.3.0", "Safe 1.4.1", "Safe 1.5.0")
ZERO: Final = "0x" + "00" * 20
GAS_LIMIT: Final = 10_000_000
MEMBERS: Final = [Account.from_key(bytes([number]) * 32) for number in (0x31, 0x32, 0x33)]
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


@dataclass(frozen=True)
class Safe:
    """A Safe of all members where two must sign, whether it is deployed or not."""

    world: World
    address: str
    factory: Contract
    creation: Any

    def deploy(self) -> None:
        """Deploy it, paid by a stranger."""
        self.world.send("outsider", self.creation)

    def sign(self, text: str, members: Sequence[LocalAccount] = MEMBERS[:2]) -> bytes:
        """Return members' signatures over a text, as a Safe wants them: wrapped, in order."""
        digest = bytes(defunct_hash_message(text=text))
        message = encode_typed_data(
            domain_data={"chainId": CHAIN_ID, "verifyingContract": self.address},
            message_types={"SafeMessage": [{"name": "message", "type": "bytes"}]},
            message_data={"message": digest},
        )
        return sign_all(message, members)

    def sign_ahead(self, text: str, members: Sequence[LocalAccount] = MEMBERS[:2]) -> bytes:
        """Return the same with the call that deploys the Safe (ERC-6492)."""
        unsent = {"gas": 0, "gasPrice": 0, "nonce": 0}
        data = bytes.fromhex(self.creation.build_transaction(unsent)["data"][2:])
        parts = [self.factory.address, data, self.sign(text, members)]
        return encode(["address", "bytes", "bytes"], parts) + ERC6492_SUFFIX


def sign_all(message: SignableMessage, members: Sequence[LocalAccount]) -> bytes:
    in_order = sorted(members, key=lambda member: int(member.address, 16))
    return b"".join(bytes(member.sign_message(message).signature) for member in in_order)


def send(world: World, call: dict[str, Any]) -> TxReceipt:
    """Send a transaction as a stranger; a revert fails the test."""
    web3, sender = world.anvil.web3, world.accounts["outsider"]
    signed = sender.sign_transaction(
        {
            **call,
            "chainId": CHAIN_ID,
            "value": 0,
            "gas": GAS_LIMIT,
            "nonce": web3.eth.get_transaction_count(sender.address),
            "maxFeePerGas": 2 * web3.eth.get_block("latest")["baseFeePerGas"] + 1,
            "maxPriorityFeePerGas": 0,
        }
    )
    tx_hash = web3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = web3.eth.wait_for_transaction_receipt(tx_hash, timeout=LIMIT_S, poll_latency=0.01)
    assert receipt["status"] == 1
    return receipt


def create(world: World, peers: Peers, version: str, name: str) -> Contract:
    """Deploy one contract of a peer."""
    code = peers.found[version].codes[name]
    receipt = send(world, {"to": "", "data": code.bytecode, "type": 2})
    contracts = world.anvil.web3.eth
    return cast("Contract", contracts.contract(address=receipt["contractAddress"], abi=code.abi))


def prepare_setup(world: World, peers: Peers, version: str) -> tuple[Contract, str]:
    """Deploy a version's singleton; return it, and the call that makes one a Safe of members."""
    singleton = create(world, peers, version, "Safe")
    handler = create(world, peers, version, "CompatibilityFallbackHandler")
    terms = [[member.address for member in MEMBERS], 2, ZERO, b"", handler.address, ZERO, 0, ZERO]
    return singleton, singleton.encode_abi("setup", terms)


def plan_safe(world: World, peers: Peers, version: str) -> Safe:
    """Return a Safe that is not deployed yet."""
    singleton, setup = prepare_setup(world, peers, version)
    factory = create(world, peers, version, "SafeProxyFactory")
    creation = factory.functions.createProxyWithNonce(singleton.address, setup, 7)
    return Safe(world, creation.call(), factory, creation)


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
