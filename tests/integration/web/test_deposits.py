"""Deposits through the proxy's pages by wallets of every kind, on a real chain, in a real browser.

::

    a deposit reaches the chain, and belongs to whoever it should
    ├── a plain wallet ................ one signature, one transaction (EIP-3009)
    ├── into a position that is there
    ├── without ether ................. signs; another wallet sends and owns nothing
    ├── no typed data ................. approves, then deposits
    ├── EIP-5792 ...................... one question; one that only says so is asked another way
    ├── a Safe, two of three .......... proposed, left, confirmed, twice; signs in by ERC-1271
    └── moved to another chain ........ asked to switch back
    nothing is deposited, and the page says why and lets go
    └── refuses, hangs, another chain's node, signs or sends something else, names no transaction
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from eth_account import Account
from web3.types import RPCEndpoint

from bench.peers import load_peers
from bench.report import BenchError
from ledger.database.engine import write
from scripts.stack.ports import free_port
from tests.support.anvil import Anvil
from tests.support.browser import need_pages, run_browser
from tests.support.deploy import USDC, World, deploy
from tests.support.ledgers import make_ledger, put_cursor
from tests.support.proxy import make_settings, now_s, run_proxy, write_prices
from tests.support.safes import MEMBERS, plan_safe

ETHER_WEI: Final = 10**19
SIGNED: Final = "eth_signTypedData_v4"
SENT: Final = "eth_sendTransaction"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Anvil() as anvil:
        yield deploy(anvil)


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy's pages over a chain, and wallets that have USDC there."""

    world: World
    origin: str

    def make_wallet(self, *, has_ether: bool = True) -> str:
        """Return the key of a wallet with 1,000 USDC."""
        wallet = Account.create()
        self.world.fund_usdc(wallet.address, 1_000 * USDC)
        if has_ether:
            self.give_ether(wallet.address)
        return str(wallet.key.to_0x_hex())

    def give_ether(self, address: str) -> None:
        provider = self.world.anvil.web3.provider
        provider.make_request(RPCEndpoint("anvil_setBalance"), [address, hex(ETHER_WEI)])

    def get_owner(self, token_id: int) -> str:
        return str(self.world.contracts.position.functions.ownerOf(token_id).call())

    def get_principal(self, token_id: int) -> int:
        return int(self.world.contracts.adapter.functions.positionOf(token_id).call()[1])

    def count_positions(self) -> int:
        return int(self.world.contracts.position.functions.totalSupply().call())

    async def visit(self, keys: dict[str, str], *visitors: str, **more: Any) -> dict[str, Any]:
        """Let visitors come one after the other; nothing on their pages may be wrong."""
        wish = {
            "origin": self.origin,
            "rpcUrl": self.world.anvil.url,
            "folder": None,
            "keys": keys,
            "visitors": list(visitors),
            **more,
        }
        report = await run_browser("deposits.mjs", wish)
        assert report["found"] == []
        outcomes: dict[str, Any] = report["outcomes"]
        return outcomes


@pytest.fixture
async def site(world: World, tmp_path: Path) -> AsyncIterator[Site]:
    need_pages("proxy")
    port = free_port()
    settings = make_settings(
        rpc_url=world.anvil.url, prices_file=write_prices(tmp_path), domain=f"127.0.0.1:{port}"
    )
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_cursor(connection, now_s=now_s())
    async with run_proxy(settings, engine, deployment=world.deployment, port=port):
        yield Site(world, f"http://127.0.0.1:{port}")
    engine.dispose()


def address_of(key: str) -> str:
    return str(Account.from_key(key).address)


async def test_plain_wallets__each_by_the_fewest_signatures__own_what_they_paid_for(
    site: Site,
) -> None:
    keys = {name: site.make_wallet() for name in ("plain", "payer", "approves", "switches")}
    keys["etherless"] = site.make_wallet(has_ether=False)

    kinds = ("plain", "entrusts", "approves", "switches")
    first = site.count_positions()
    outcomes = await site.visit(keys, *kinds, "adds", added=first)

    asked = {name: outcome["asked"] for name, outcome in outcomes.items()}
    assert asked == {
        "plain": [SIGNED, SENT],
        "entrusts": [SIGNED],
        "approves": [SIGNED, SENT, SENT],
        "switches": ["wallet_switchEthereumChain", SIGNED, SENT],
        "adds": [SIGNED, SENT],
    }
    assert outcomes["entrusts"]["paid"] == [SENT]
    owners = [address_of(keys[name]) for name in ("plain", "etherless", "approves", "switches")]
    tokens = [outcomes[name]["tokenId"] for name in kinds]
    assert [site.get_owner(token) for token in tokens] == owners
    assert outcomes["adds"]["tokenId"] == first == tokens[0]
    principals = [site.get_principal(token) for token in tokens]
    assert principals == [200 * USDC, 100 * USDC, 100 * USDC, 100 * USDC]


async def test_contract_wallets__batch_and_safe__own_what_they_paid_for(site: Site) -> None:
    try:
        peers = load_peers()
    except BenchError as error:
        pytest.skip(f"the wallets are not installed, and could not be: {error}")
    safe = plan_safe(site.world, peers, "Safe 1.3.0")
    safe.deploy()
    site.world.fund_usdc(safe.address, 1_000 * USDC)
    keys = {name: site.make_wallet() for name in ("batches", "boasts", "payer")}

    outcomes = await site.visit(
        keys,
        *("batches", "boasts", "safe"),
        safe=safe.address,
        members=[member.key.to_0x_hex() for member in MEMBERS[:2]],
        multicall3=site.world.deployment.multicall3,
    )

    assert outcomes["batches"]["asked"] == ["wallet_sendCalls"]
    assert outcomes["boasts"]["asked"] == ["wallet_sendCalls", SIGNED, SENT]
    assert outcomes["safe"]["asked"] == [SENT, SENT]
    owners = [address_of(keys["batches"]), address_of(keys["boasts"]), safe.address]
    tokens = [outcomes[name]["tokenId"] for name in ("batches", "boasts", "safe")]
    assert [site.get_owner(token) for token in tokens] == owners
    assert [site.get_principal(token) for token in tokens] == [100 * USDC] * 3


async def test_wallets_that_fail_or_lie__the_page_says_so__nothing_is_deposited(
    site: Site,
) -> None:
    keys = {name: site.make_wallet() for name in ("tries", "hangs")}
    before = site.count_positions()

    liars = ("refuses", "elsewhere", "signsOther", "sendsOther", "sendsNothing")
    outcomes = await site.visit(keys, *liars, "hangs")

    # Who hangs is the only one that got there, by two transactions.
    assert site.count_positions() == before + 1
    assert site.get_owner(before) == address_of(keys["hangs"])
    assert {name: outcomes[name]["asked"] for name in liars} == {
        "refuses": [SIGNED],
        "elsewhere": [],
        "signsOther": [SIGNED],
        "sendsOther": [SIGNED, SENT],
        "sendsNothing": [SIGNED, SENT],
    }
    usdc = site.world.contracts.usdc.functions
    assert usdc.balanceOf(address_of(keys["tries"])).call() == 1_000 * USDC
