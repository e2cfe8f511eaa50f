"""All contracts on a test's chain, with one funded account for each role.

The sources are compiled once and kept in ``.cache/``, by their content.
"""

import fcntl
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from contracts.bindings import Contracts, bind_contracts, load_abi
from contracts.deployment import Deployment
from scripts.stack.anvil_path import ROOT
from tests.support.anvil import CHAIN_ID, Anvil
from tests.support.waiting import LIMIT_S

SOURCES: Final = (
    "mocks/MockUSDC.vy",
    "mocks/MockVault.vy",
    "mocks/HostileVault.vy",
    "mocks/ContractWallet.vy",
    "mocks/Multicall3.vy",
    "Payouts.vy",
    "YieldFundedPosition.vy",
    "LendingYieldAdapter.vy",
)
ROLES: Final = ("admin", "keeper", "owner", "second_owner", "outsider")
USDC: Final = 1_000_000
GAS_LIMIT: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class World:
    """One deployment on one anvil, and the people around it, by role."""

    anvil: Anvil
    deployment: Deployment
    contracts: Contracts
    vault: Contract
    accounts: Mapping[str, LocalAccount] = field(repr=False)

    def send(self, role: str, call: ContractFunction) -> TxReceipt:
        """Send a call as the account of ``role`` and return its receipt; a revert fails the test.

        Needs a chain that mines by itself.
        """
        return _send(self.anvil, self.accounts[role], call.build_transaction(_NO_LOOKUPS))

    def fund_usdc(self, to: str, amount_usdc: int) -> None:
        """Mint USDC."""
        self.send("admin", self.contracts.usdc.functions.faucet(to, amount_usdc))

    def open_position(
        self,
        deposit_usdc: int = 1_000 * USDC,
        *,
        role: str = "owner",
        daily_smoothing_bps: int = 10_000,
        interval_minutes: int = 30,
    ) -> int:
        """Open a position with a deposit and return its token id."""
        owner = self.accounts[role].address
        adapter, usdc = self.contracts.adapter, self.contracts.usdc
        token_id = int(self.contracts.position.functions.totalSupply().call())
        self.fund_usdc(owner, deposit_usdc)
        self.send(role, usdc.functions.approve(adapter.address, deposit_usdc))
        opened = (1, daily_smoothing_bps, self.vault.address, interval_minutes, deposit_usdc, 0)
        self.send(role, adapter.functions.open(*opened))
        return token_id

    def earn(self, amount_usdc: int) -> None:
        """Let the vault earn: everybody's shares in it are worth more."""
        self.send("admin", self.vault.functions.push(amount_usdc))


_NO_LOOKUPS: Final[Any] = {"gas": GAS_LIMIT, "gasPrice": 0, "nonce": 0, "chainId": CHAIN_ID}


@cache
def compile_contracts() -> dict[str, str]:
    """Return the creation bytecode (0x hex) of every contract, by name."""
    sources = sorted((ROOT / "contracts").rglob("*.vy*"))
    digest = hashlib.sha256(repr(SOURCES).encode())
    for source in sources:
        digest.update(source.relative_to(ROOT).as_posix().encode() + source.read_bytes())
    cached = ROOT / ".cache" / f"bytecode-{digest.hexdigest()[:24]}.json"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        # Test processes run side by side: one compiles, for half a minute, the others wait.
        with cached.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not cached.exists():
                # Whole or not at all.
                draft = cached.with_suffix(".draft")
                draft.write_text(json.dumps(_compile()))
                draft.replace(cached)
    compiled: dict[str, str] = json.loads(cached.read_text())
    return compiled


def _compile() -> dict[str, str]:
    # Imported here: the compiler takes a second to load, the cache is nearly always there.
    from vyper.cli.vyper_compile import compile_files
    from vyper.compiler.settings import Settings

    compiled = compile_files(
        [str(ROOT / "contracts" / source) for source in SOURCES],
        output_formats=("bytecode",),
        paths=[str(ROOT)],
        settings=Settings(evm_version="cancun"),
    )
    return {Path(source).stem: output["bytecode"] for source, output in compiled.items()}


def make_accounts(anvil: Anvil) -> dict[str, LocalAccount]:
    """Return one account for each role, with ether. The same on every chain."""
    accounts: dict[str, LocalAccount] = {}
    for role in ROLES:
        accounts[role] = Account.from_key(keccak(text=f"current test {role}"))
        anvil.fund(accounts[role].address)
    return accounts


def deploy(anvil: Anvil) -> World:
    """Deploy and wire everything in the order of the deploy script; the keeper may settle."""
    accounts = make_accounts(anvil)
    admin = accounts["admin"]
    usdc = _deploy(anvil, admin, "MockUSDC")
    vault = _deploy(anvil, admin, "MockVault", usdc)
    multicall3 = _deploy(anvil, admin, "Multicall3")
    nonce = anvil.web3.eth.get_transaction_count(admin.address)
    position_address, adapter_address = _address_of(admin, nonce + 1), _address_of(admin, nonce + 2)
    ours = (usdc, position_address, adapter_address)
    payouts = _deploy(anvil, admin, "Payouts", *ours, admin.address)
    first = anvil.head()
    arguments = (usdc, adapter_address, payouts, admin.address)
    position = _deploy(anvil, admin, "YieldFundedPosition", *arguments)
    adapter = _deploy(anvil, admin, "LendingYieldAdapter", usdc, position)
    assert (position, adapter) == (position_address, adapter_address)
    deployment = Deployment(
        chain_id=CHAIN_ID,
        block_number=first.number,
        block_hash=first.block_hash,
        position=position.lower(),
        adapter=adapter.lower(),
        payouts=payouts.lower(),
        usdc=usdc.lower(),
        multicall3=multicall3.lower(),
        vault=vault.lower(),
    )
    world = World(
        anvil=anvil,
        deployment=deployment,
        contracts=bind_contracts(anvil.web3, deployment),
        vault=anvil.web3.eth.contract(address=vault, abi=load_abi("MockVault")),
        accounts=accounts,
    )
    allow = world.contracts.position.functions.setSettler(accounts["keeper"].address, True)
    world.send("admin", allow)
    return world


def _deploy(anvil: Anvil, sender: LocalAccount, name: str, *arguments: Any) -> ChecksumAddress:
    contract = anvil.web3.eth.contract(abi=load_abi(name), bytecode=compile_contracts()[name])
    built = contract.constructor(*arguments).build_transaction(_NO_LOOKUPS)
    address = _send(anvil, sender, built)["contractAddress"]
    assert address is not None
    return address


def _send(anvil: Anvil, sender: LocalAccount, built: Any) -> TxReceipt:
    transaction = {
        **built,
        "nonce": anvil.web3.eth.get_transaction_count(sender.address),
        # Not ``eth_gasPrice``: anvil derives it from what was paid before, so it would double.
        "gasPrice": 2 * anvil.web3.eth.get_block("latest")["baseFeePerGas"] + 1,
    }
    signed = sender.sign_transaction(transaction)
    tx_hash = anvil.web3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = anvil.web3.eth.wait_for_transaction_receipt(
        tx_hash, timeout=LIMIT_S, poll_latency=0.01
    )
    assert receipt["status"] == 1, f"reverted: {_find_reason(anvil, sender, transaction, receipt)}"
    return receipt


def _find_reason(
    anvil: Anvil, sender: LocalAccount, transaction: Mapping[str, Any], receipt: TxReceipt
) -> str:
    call: Any = {"from": sender.address, "to": transaction["to"], "data": transaction["data"]}
    try:
        anvil.web3.eth.call(call, receipt["blockNumber"] - 1)
    except Exception as error:
        return str(error)
    return "only in its own block"


def _address_of(sender: LocalAccount, nonce: int) -> ChecksumAddress:
    """Return where a sender's contract will be (CREATE); for the small nonces of a test only."""
    assert 0 < nonce < 128
    encoded = b"\xd6\x94" + bytes.fromhex(sender.address[2:]) + bytes([nonce])
    return to_checksum_address(keccak(encoded)[12:])
