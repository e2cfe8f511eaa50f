"""Safes as they are deployed, for tests over a chain of their own: three members, two must sign."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import SignableMessage, defunct_hash_message, encode_typed_data
from eth_account.signers.local import LocalAccount
from web3.contract import Contract
from web3.types import TxReceipt

from bench.peers import Peers
from contracts.signatures import ERC6492_SUFFIX
from tests.support.anvil import CHAIN_ID
from tests.support.deploy import World
from tests.support.waiting import LIMIT_S

SAFES: Final = ("Safe 1.3.0", "Safe 1.4.1", "Safe 1.5.0")
ZERO: Final = "0x" + "00" * 20
GAS_LIMIT: Final = 10_000_000
MEMBERS: Final = [Account.from_key(bytes([number]) * 32) for number in (0x31, 0x32, 0x33)]


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
