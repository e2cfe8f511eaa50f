"""The deployed contracts as web3 objects, from the exported ABI."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract

from contracts.deployment import Deployment

ABI_DIRECTORY: Final = Path(__file__).parent / "abi"


@cache
def load_abi(name: str) -> list[dict[str, Any]]:
    """Return the ABI of the contract ``name``, e.g. ``YieldFundedPosition``. Do not mutate it."""
    abi: list[dict[str, Any]] = json.loads((ABI_DIRECTORY / f"{name}.json").read_text("utf-8"))
    return abi


@dataclass(frozen=True, slots=True)
class Contracts:
    """One deployment's contracts, bound to one client."""

    position: Contract
    adapter: Contract
    payouts: Contract
    usdc: Contract
    multicall3: Contract


def bind_contracts(web3: Web3, deployment: Deployment) -> Contracts:
    """Bind the deployment's addresses to their ABI. Reads nothing from the chain."""
    return Contracts(
        position=bind(web3, "YieldFundedPosition", deployment.position),
        adapter=bind(web3, "LendingYieldAdapter", deployment.adapter),
        payouts=bind(web3, "Payouts", deployment.payouts),
        usdc=bind(web3, "MockUSDC", deployment.usdc),
        multicall3=bind(web3, "Multicall3", deployment.multicall3),
    )


def bind(web3: Web3, name: str, address: str) -> Contract:
    """Bind one contract by the name of its exported ABI."""
    return web3.eth.contract(address=to_checksum_address(address), abi=load_abi(name))


@dataclass(frozen=True, slots=True)
class CodeDigest:
    """What tells a contract's code, without the immutables that a deployment appends."""

    bytes_: int
    keccak: str

    def is_of(self, code: bytes) -> bool:
        """Tell whether deployed ``code`` begins with this version's."""
        return len(code) >= self.bytes_ and "0x" + keccak(code[: self.bytes_]).hex() == self.keccak


@cache
def load_code_digests() -> dict[str, CodeDigest]:
    """Return the digest of each of our own contracts' code, by name."""
    found = json.loads((ABI_DIRECTORY / "code.json").read_text("utf-8"))
    return {name: CodeDigest(told["bytes"], told["keccak"]) for name, told in found.items()}
