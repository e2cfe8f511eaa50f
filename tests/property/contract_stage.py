"""The contracts on a local EVM, made fast: a transaction and all views in about 2 ms.

A block for every transaction, one second apart; senders are impersonated, so nothing is signed; one
connection stays open; all views of a step are read by one Multicall3 call and unpacked by hand.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector
from eth_utils.crypto import keccak

from contracts.bindings import load_abi
from tests.property.contract_model import (
    ADAPTER,
    BLACK_HOLE,
    EVERYTHING,
    POSITION,
    TREASURY,
    Account,
    Model,
    Usdc,
    Vault,
)
from tests.support.anvil import Anvil, AnvilError
from tests.support.deploy import compile_contracts

START_S: Final = 23_148 * 86_400 + 43_200  # a noon of 2033
FUNDS: Final = 10**15
PEOPLE: Final = ("owner", "second_owner", "keeper", "payer", "admin", "outsider")
OWNERS: Final = ("owner", "second_owner")
# APY, entry fee, exit fee (bps)
VAULTS: Final = ((0, 0, 0), (500, 0, 50), (2_000, 10, 0))
CLOCK_CODE: Final = "0x66425f5260205ff35f5260076019f3"  # deploys `TIMESTAMP` as a contract
MAX_TOKENS: Final = 6

VAULT: Final = "vault"

ABI_OF: Final = {
    "usdc": "MockUSDC",
    VAULT: "MockVault",
    TREASURY: "Payouts",
    POSITION: "YieldFundedPosition",
    ADAPTER: "LendingYieldAdapter",
    "multicall3": "Multicall3",
}


@dataclass(frozen=True, slots=True)
class TokenView:
    """What the contracts say about one position."""

    owner: str
    account: Account
    remaining: int
    booked: tuple[str, int, int, int, int]
    pending_yield: int
    principal_value: int


@dataclass(frozen=True, slots=True)
class VaultView:
    """What a vault says about itself and the adapter."""

    supply: int
    adapter_shares: int
    total_assets: int


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is compared after a step."""

    now: int
    liabilities: int
    owed: int
    total_credited: int
    balances: dict[str, int]
    vaults: list[VaultView]
    tokens: list[TokenView]


class Stage:
    """One deployment on one anvil, and a way to speak to it by names."""

    def __init__(self, anvil: Anvil) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", anvil.port)
        self.steps = 0
        self.request("anvil_autoImpersonateAccount", True)
        self.request("anvil_setBlockTimestampInterval", 1)
        self.address = {name: f"0x{0xC0FFEE00 + i:040x}" for i, name in enumerate(PEOPLE)}
        self.address[BLACK_HOLE] = "0x000000000000000000000000000000000000dead"
        self._deploy_all()
        self.name_of = {address: name for name, address in self.address.items()}
        self.start = self._prepare()
        self._snapshot = self.request("evm_snapshot")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of a JSON-RPC request."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]

    def put_back(self) -> None:
        """Return to the chain as it was prepared."""
        assert self.request("evm_revert", self._snapshot)
        self._snapshot = self.request("evm_snapshot")

    # ------------------------------------------------------------------------------ transactions

    def send(self, sender: str, contract: str, function: str, *arguments: Any) -> tuple[bool, int]:
        """Return whether a transaction succeeded, and its block's time."""
        data = self.encode(contract, function, *arguments)
        receipt = self._transact(sender, data, self.address[contract])
        return receipt["status"] == "0x1", int(receipt["blockTimestamp"])

    def wait(self, seconds: int, now: int) -> None:
        """Mine a block ``seconds`` after ``now``, which is the newest block's time."""
        self.request("evm_setNextBlockTimestamp", now + seconds)
        self.request("evm_mine")

    def encode(self, contract: str, function: str, *arguments: Any) -> str:
        """Return a call's data; names of accounts and contracts stand for their addresses."""
        abi_name = ABI_OF[VAULT if contract.startswith(VAULT) else contract]
        selector, types = _signature(abi_name, function, len(arguments))
        named = [self._named(argument) for argument in arguments]
        return "0x" + (selector + encode(types, named)).hex()

    def _named(self, argument: Any) -> Any:
        if isinstance(argument, str):
            return self.address.get(argument, argument)
        if isinstance(argument, (list, tuple)):
            return [self._named(item) for item in argument]
        return argument

    def _transact(self, sender: str, data: str, to: str | None) -> Any:
        transaction = {
            "from": self.address[sender],
            "data": data,
            "gas": "0xf42400",
            "gasPrice": "0x0",
        }
        if to is not None:
            transaction["to"] = to
        return self.request("eth_sendTransactionSync", transaction)

    # -------------------------------------------------------------------------------- deployment

    def _create(self, name: str, code: str, types: Sequence[str] = (), *arguments: Any) -> None:
        data = code + encode(types, [self._named(argument) for argument in arguments]).hex()
        receipt = self._transact("admin", data, None)
        assert receipt["status"] == "0x1", name
        self.address[name] = receipt["contractAddress"]

    def _deploy_all(self) -> None:
        code = compile_contracts()
        self._create("clock", CLOCK_CODE)
        self._create("multicall3", code["Multicall3"])
        self._create("usdc", code["MockUSDC"])
        self._create(TREASURY, code["Payouts"], ("address", "address"), "usdc", "admin")
        for i in range(len(VAULTS)):
            self._create(f"vault{i}", code["MockVault"], ("address",), "usdc")
        nonce = int(self.request("eth_getTransactionCount", self.address["admin"], "latest"), 16)
        self.address[ADAPTER] = _created_address(self.address["admin"], nonce + 1)
        wiring = ("usdc", ADAPTER, TREASURY, "admin")
        self._create(POSITION, code["YieldFundedPosition"], ("address",) * 4, *wiring)
        expected = self.address[ADAPTER]
        self._create(ADAPTER, code["LendingYieldAdapter"], ("address",) * 2, "usdc", POSITION)
        assert self.address[ADAPTER] == expected

    def _prepare(self) -> Model:
        """Open four positions, two on a vault, that have earned; return them as a model."""
        calls: list[tuple[str, str, str, tuple[Any, ...]]] = [
            ("admin", POSITION, "setSettler", ("keeper", True)),
            ("admin", TREASURY, "setPayer", ("payer", True)),
        ]
        for name in OWNERS:
            calls.append(("admin", "usdc", "faucet", (name, FUNDS)))
            calls.append((name, "usdc", "approve", (ADAPTER, EVERYTHING)))
        for call in calls:
            assert self.send(call[0], call[1], call[2], *call[3])[0], call
        usdc = Usdc(dict.fromkeys(OWNERS, FUNDS))
        model = Model(START_S, usdc, [])
        for i, (apy, entry, leave) in enumerate(VAULTS):
            name = f"vault{i}"
            ok, _ = self.send("admin", name, "setFees", entry, leave)
            ok_too, at = self.send("admin", name, "setApyBps", apy)
            assert ok and ok_too
            model.vaults.append(Vault(name, usdc, apy, entry, leave, accrued_at=at))
        for token_id, bps in enumerate((10_000, 2_500, 3_333, 1)):
            self._open(model, OWNERS[token_id // 2], bps, model.vaults[token_id % 2])
        for vault in model.vaults[:2]:
            ok, at = self.send("admin", vault.name, "push", 9_000_001)
            assert ok
            vault.accrue(at)
            usdc.mint(vault.name, 9_000_001)
        for token_id in range(4):
            ok, at = self.send("outsider", ADAPTER, "harvest", token_id)
            assert ok
            model.harvest(token_id, at=at)
            model.now = at
        return model

    def _open(self, model: Model, owner: str, bps: int, vault: Vault) -> None:
        ok, at = self.send(owner, ADAPTER, "open", 1, bps, vault.name, 60, 1_000_000_000, 0)
        assert ok
        model.create(owner, bps=bps, vault=vault, interval=60, at=at)
        model.deposit(owner, len(model.stakes) - 1, 1_000_000_000, at=at)

    # ------------------------------------------------------------------------------------- views

    def look(self, token_count: int) -> View:
        """Read everything at the newest block."""
        words = iter(self._aggregate(token_count))

        def one() -> int:
            return next(words)[0]

        now, liabilities, owed, supply, total_credited = (one() for _ in range(5))
        assert supply == token_count
        balances = {name: one() for name in _HOLDERS}
        vaults = [VaultView(one(), one(), one()) for _ in VAULTS]
        tokens = []
        for _ in range(token_count):
            owner = self.name_of[f"0x{one():040x}"]
            account, remaining, booked = Account(*next(words)), one(), next(words)
            vault = self.name_of[f"0x{booked[0]:040x}"]
            stake = (vault, booked[1], booked[2], booked[3], booked[4])
            tokens.append(TokenView(owner, account, remaining, stake, one(), one()))
        return View(now, liabilities, owed, total_credited, balances, vaults, tokens)

    def _aggregate(self, token_count: int) -> list[list[int]]:
        call = {"to": self.address["multicall3"], "data": self._views_of(token_count)}
        raw = bytes.fromhex(self.request("eth_call", call, "latest")[2:])

        def word(at: int) -> int:
            return int.from_bytes(raw[at : at + 32])

        answers = []
        for i in range(word(32)):
            at = 64 + word(64 + 32 * i)
            assert word(at) == 1, f"view {i} reverted"
            length = word(at + 64)
            answers.append([word(at + 96 + j) for j in range(0, length, 32)])
        return answers

    @lru_cache(maxsize=MAX_TOKENS + 1)  # noqa: B019 - one stage a test session
    def _views_of(self, token_count: int) -> str:
        calls: list[tuple[str, str, tuple[Any, ...]]] = [
            (POSITION, "liabilities", ()),
            (POSITION, "owed", ()),
            (POSITION, "totalSupply", ()),
            (TREASURY, "totalCredited", ()),
        ]
        calls += [("usdc", "balanceOf", (name,)) for name in _HOLDERS]
        for i in range(len(VAULTS)):
            calls.append((f"vault{i}", "totalSupply", ()))
            calls.append((f"vault{i}", "balanceOf", (ADAPTER,)))
            calls.append((f"vault{i}", "totalAssets", ()))
        for token_id in range(token_count):
            calls += [(POSITION, view, (token_id,)) for view in _POSITION_VIEWS]
            calls += [(ADAPTER, view, (token_id,)) for view in _ADAPTER_VIEWS]
        packed: list[tuple[str, bool, bytes]] = [(self.address["clock"], False, b"")]
        for contract, function, arguments in calls:
            data = bytes.fromhex(self.encode(contract, function, *arguments)[2:])
            packed.append((self.address[contract], False, data))
        return self.encode("multicall3", "aggregate3", packed)


_HOLDERS: Final = (
    *OWNERS,
    "admin",
    "outsider",
    POSITION,
    ADAPTER,
    TREASURY,
    *(f"vault{i}" for i in range(len(VAULTS))),
)
_POSITION_VIEWS: Final = ("ownerOf", "accountOf", "remainingAllowance")
_ADAPTER_VIEWS: Final = ("positionOf", "pendingYield", "principalValue")


@lru_cache(maxsize=256)
def _signature(abi_name: str, function: str, count: int) -> tuple[bytes, tuple[str, ...]]:
    for entry in load_abi(abi_name):
        if entry.get("name") == function and len(entry.get("inputs", ())) == count:
            types = tuple(collapse_if_tuple(item) for item in entry["inputs"])
            return function_abi_to_4byte_selector(entry), types  # type: ignore[arg-type]
    raise LookupError(f"{abi_name}.{function} with {count} arguments")


def _created_address(sender: str, nonce: int) -> str:
    """Return where a sender's contract will be (CREATE), for a small nonce."""
    assert 0 < nonce < 128
    return "0x" + keccak(b"\xd6\x94" + bytes.fromhex(sender[2:]) + bytes([nonce]))[12:].hex()
