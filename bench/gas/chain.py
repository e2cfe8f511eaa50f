"""The gas bench's chain: our contracts on an anvil without fees, over either USDC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import RPCEndpoint

from bench.peers import Code, Peer
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT
from tests.support.anvil import Anvil

COMPILED: Final = ROOT / ".build" / "__local__.json"
HARDFORK: Final = "cancun"
DAY_S: Final = 86_400
NOON_S: Final = 23_148 * DAY_S + DAY_S // 2  # no run meets a midnight
NO_SMOOTHING: Final = 10_000
BLOCK_TIME_S: Final = 2
GAS_LIMIT: Final = 10_000_000


@contextmanager
def run_anvil() -> Iterator[Web3]:
    """Run an anvil on a port of its own that takes a gas price of 0."""
    arguments = ["--hardfork", HARDFORK, "--block-base-fee-per-gas", "0", "--gas-price", "0"]
    with Anvil(timestamp_s=NOON_S, accounts=10, arguments=arguments) as anvil:
        yield anvil.web3


class Chain:
    """A fresh deployment of ours on the shared anvil, and the verbs of a measurement."""

    def __init__(self, web3: Web3, circle: Peer | None = None) -> None:
        self.web3 = web3
        # In one second, a time would be stored over the same time, which costs less.
        self.request("anvil_setBlockTimestampInterval", BLOCK_TIME_S)
        accounts = list(web3.eth.accounts)
        self.admin, self.settler, self.saver = accounts[0], accounts[1], accounts[2]
        self.owner, self.second_owner, self.outsider = accounts[3], accounts[4], accounts[5]
        self.proxy_admin = accounts[6]
        self._compiled = json.loads(COMPILED.read_text())["contractTypes"]
        self._is_mocked = circle is None
        usdc = self.deploy_ours("MockUSDC") if circle is None else self._deploy_circle(circle)
        # The addresses are known before: the contracts name each other.
        nonce = int(self.request("eth_getTransactionCount", self.admin, "latest"), 16)
        position_at = _created_address(self.admin, nonce + 1)
        adapter_at = _created_address(self.admin, nonce + 2)
        payouts = self.deploy_ours("Payouts", usdc.address, position_at, adapter_at, self.admin)
        wiring = (usdc.address, adapter_at, payouts.address, self.admin)
        self.position = self.deploy_ours("YieldFundedPosition", *wiring)
        self.adapter = self.deploy_ours("LendingYieldAdapter", usdc.address, self.position.address)
        self.usdc = usdc
        self.send(self.position.functions.setSettler(self.settler, True), self.admin)
        self._deployed = self.request("evm_snapshot")

    def _deploy_circle(self, peer: Peer) -> Contract:
        """Deploy FiatTokenV2_2 behind its proxy and initialise it step by step, as Circle did."""
        library = self.deploy(peer.codes["SignatureChecker"])
        code = peer.codes["FiatTokenV2_2"]
        linked = re.sub(r"__\$[0-9a-f]{34}\$__", library.address[2:].lower(), code.bytecode)
        implementation = self.deploy(Code(code.abi, linked))
        proxy = self.deploy(peer.codes["FiatTokenProxy"], implementation.address)
        # The proxy's admin can only upgrade; every other call of that address reverts.
        self.send(proxy.functions.changeAdmin(self.proxy_admin), self.admin)
        usdc: Contract = self.web3.eth.contract(address=proxy.address, abi=code.abi)
        roles = [self.admin] * 4  # master minter, pauser, blacklister, owner
        for step in (
            usdc.functions.initialize("USDC", "USDC", "USD", 6, *roles),
            usdc.functions.initializeV2("USD Coin"),
            usdc.functions.initializeV2_1(self.admin),
            usdc.functions.initializeV2_2([], "USDC"),
            usdc.functions.configureMinter(self.admin, 2**255),
        ):
            self.send(step, self.admin)
        return usdc

    def reset(self) -> None:
        """Put the chain back to where everything of ours was just deployed."""
        self.request("evm_revert", self._deployed)
        self._deployed = self.request("evm_snapshot")

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC request."""
        response = self.web3.provider.make_request(RPCEndpoint(method), list(params))
        if "error" in response:
            raise BenchError(f"{method}: {response['error']}")
        return response["result"]

    def deploy_ours(self, name: str, *arguments: Any) -> Contract:
        """Deploy a contract of this project."""
        found = self._compiled[name]
        return self.deploy(Code(found["abi"], found["deploymentBytecode"]["bytecode"]), *arguments)

    def deploy(self, code: Code, *arguments: Any) -> Contract:
        """Deploy a compiled contract."""
        factory = self.web3.eth.contract(abi=code.abi, bytecode=code.bytecode)
        tx_hash = factory.constructor(*arguments).transact(self._terms(self.admin))
        address = self._wait(tx_hash)["contractAddress"]
        contract: Contract = self.web3.eth.contract(address=address, abi=code.abi)
        return contract

    def send(self, call: ContractFunction, sender: str) -> int:
        """Send a call and return the gas that its whole transaction used."""
        return int(self._wait(call.transact(self._terms(sender)))["gasUsed"])

    def fund(self, to: str, amount_usdc: int) -> None:
        """Mint USDC."""
        mint = self.usdc.functions["faucet" if self._is_mocked else "mint"]
        self.send(mint(to, amount_usdc), self.admin)

    def now_s(self) -> int:
        """Return the newest block's time."""
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def next_token_id(self) -> int:
        """Return the id that the next position will have."""
        return int(self.position.functions.totalSupply().call())

    @staticmethod
    def _terms(sender: str) -> Any:
        return {"from": sender, "gas": GAS_LIMIT, "gasPrice": 0}

    def _wait(self, tx_hash: Any) -> Any:
        receipt = self.web3.eth.wait_for_transaction_receipt(
            tx_hash, timeout=30, poll_latency=0.002
        )
        if receipt["status"] != 1:
            raise BenchError(f"transaction {tx_hash.hex()} reverted")
        return receipt


def _created_address(sender: str, nonce: int) -> str:
    """Return where a sender's contract will be (CREATE)."""
    digest = keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))
    return to_checksum_address(digest[12:])


def mint_with_credit(chain: Chain, count: int, amount_usdc: int) -> None:
    """Give the owner new positions with ``amount_usdc`` of credit each, in the adapter's name."""
    adapter, position = chain.adapter.address, chain.position
    chain.fund(position.address, count * amount_usdc)
    chain.request("anvil_impersonateAccount", adapter)
    for _ in range(count):
        token_id = chain.next_token_id()
        chain.send(position.functions.mint(chain.owner, 1, NO_SMOOTHING), adapter)
        chain.send(position.functions.creditYield(token_id, amount_usdc), adapter)
