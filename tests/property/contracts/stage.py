"""The contracts on a local EVM, made fast: a transaction and all views in about 2 ms.

A block for every transaction, one second apart; senders are impersonated, so nothing is signed; one
connection stays open; all views of a step are read by one call of a program made for it.
``HostileStage`` has a hostile vault besides, and positions on it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar, Final

from eth_abi.abi import encode
from eth_utils.abi import (
    collapse_if_tuple,
    function_abi_to_4byte_selector,
    function_signature_to_4byte_selector,
)
from eth_utils.crypto import keccak

from contracts.bindings import load_abi
from tests.property.contracts.model import (
    ADAPTER,
    BLACK_HOLE,
    EVERYTHING,
    NOBODY,
    OWNED,
    POSITION,
    TREASURY,
    Account,
    Model,
    Usdc,
    Vault,
)
from tests.property.contracts.signatures import KEYS
from tests.support.anvil import Anvil, AnvilError
from tests.support.deploy import compile_contracts

START_S: Final = 23_148 * 86_400 + 43_200  # a noon of 2033
FUNDS: Final = 10**15
PLENTY: Final = 10**18  # for a vault that overpays
PEOPLE: Final = ("keeper", "payer", "admin", "outsider", "attacker")
OWNERS: Final = ("owner", "second_owner")
# APY, entry fee, exit fee (bps)
VAULTS: Final = ((0, 0, 0), (500, 0, 50), (2_000, 10, 0))
MAX_TOKENS: Final = 6
ONE_SHARE: Final = 10**18

VAULT: Final = "vault"
HOSTILE: Final = "hostile"
ATTACKER: Final = "attacker"

ABI_OF: Final = {
    "usdc": "MockUSDC",
    VAULT: "MockVault",
    TREASURY: "Payouts",
    POSITION: "YieldFundedPosition",
    ADAPTER: "LendingYieldAdapter",
}
# It is for tests only, and has no file in `contracts/abi`.
HOSTILE_FUNCTIONS: Final = {
    "misbehave": ("uint256",),
    "setPrice": ("uint256",),
    "reenter": ("address", "bytes"),
    "deposit": ("uint256", "address"),
    "redeem": ("uint256", "address", "address"),
    "transfer": ("address", "uint256"),
    "sharesOf": ("address",),
    "price": (),
    "misbehaviour": (),
    "reentered": (),
}


@dataclass(frozen=True, slots=True)
class TokenView:
    """What the contracts say about one position; a hostile vault is not asked for its worth."""

    owner: str
    account: Account
    remaining: int
    withdrawable: int
    booked: tuple[str, int, int, int, int]
    pending_yield: int | None
    principal_value: int | None


@dataclass(frozen=True, slots=True)
class VaultView:
    """What a vault says about itself and the adapter."""

    supply: int
    adapter_shares: int
    total_assets: int


@dataclass(frozen=True, slots=True)
class HostileView:
    """What is true about the hostile vault, whatever it answers to others."""

    adapter_shares: int
    attacker_shares: int
    price: int
    kinds: int
    reentered: int


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is compared after a step."""

    now: int
    liabilities: int
    owed: int
    total_credited: int
    admins: dict[str, tuple[str, str]]
    grants: dict[str, tuple[int, int]]
    usdc_supply: int
    balances: dict[str, int]
    vaults: list[VaultView]
    tokens: list[TokenView]
    hostile: HostileView | None


class Stage:
    """One deployment on one anvil, and a way to speak to it by names."""

    has_hostile: ClassVar[bool] = False
    holders: ClassVar[tuple[str, ...]] = (
        *OWNERS,
        "admin",
        "outsider",
        POSITION,
        ADAPTER,
        TREASURY,
        BLACK_HOLE,
        *(f"vault{i}" for i in range(len(VAULTS))),
    )

    def __init__(self, anvil: Anvil) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", anvil.port)
        self.steps = 0
        self.request("anvil_autoImpersonateAccount", True)
        self.request("anvil_setBlockTimestampInterval", 1)
        self.address = {name: f"0x{0xC0FFEE00 + i:040x}" for i, name in enumerate(PEOPLE)}
        self.address |= {name: key.public_key.to_address() for name, key in KEYS.items()}
        self.address[NOBODY] = f"0x{0:040x}"
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
        kind = VAULT if contract.startswith(VAULT) else contract
        selector, types = _signature(kind, function, len(arguments))
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
        self._create("usdc", code["MockUSDC"])
        for i in range(len(VAULTS)):
            self._create(f"vault{i}", code["MockVault"], ("address",), "usdc")
        nonce = int(self.request("eth_getTransactionCount", self.address["admin"], "latest"), 16)
        self.address[POSITION] = _created_address(self.address["admin"], nonce + 1)
        self.address[ADAPTER] = _created_address(self.address["admin"], nonce + 2)
        ours = ("usdc", POSITION, ADAPTER, "admin")
        self._create(TREASURY, code["Payouts"], ("address",) * 4, *ours)
        expected = (self.address[POSITION], self.address[ADAPTER])
        wiring = ("usdc", ADAPTER, TREASURY, "admin")
        self._create(POSITION, code["YieldFundedPosition"], ("address",) * 4, *wiring)
        self._create(ADAPTER, code["LendingYieldAdapter"], ("address",) * 2, "usdc", POSITION)
        assert (self.address[POSITION], self.address[ADAPTER]) == expected

    def _prepare(self) -> Model:
        """Open four positions, two on a vault, that have earned; return them as a model."""
        calls: list[tuple[str, str, str, tuple[Any, ...]]] = [
            ("admin", POSITION, "setSettler", ("keeper", True)),
            ("admin", TREASURY, "setPayer", ("payer", True)),
        ]
        for name in OWNERS:
            calls.append(("admin", "usdc", "faucet", (name, FUNDS)))
            calls.append((name, "usdc", "approve", (ADAPTER, EVERYTHING)))
            calls.append((name, "usdc", "approve", (POSITION, EVERYTHING)))
        for call in calls:
            self._must_send(call[0], call[1], call[2], *call[3])
        usdc = Usdc(dict.fromkeys(OWNERS, FUNDS), allowances=dict.fromkeys(OWNERS, EVERYTHING))
        model = Model(START_S, usdc, [], givers=OWNERS)
        for i, (apy, entry, leave) in enumerate(VAULTS):
            name = f"vault{i}"
            self._must_send("admin", name, "setFees", entry, leave)
            at = self._must_send("admin", name, "setApyBps", apy)
            model.vaults.append(Vault(name, usdc, apy, entry, leave, accrued_at=at))
        for token_id, bps in enumerate((10_000, 2_500, 3_333, 1)):
            self._open(model, OWNERS[token_id // 2], bps, model.vaults[token_id % 2])
        for vault in model.vaults[:2]:
            at = self._must_send("admin", vault.name, "push", 9_000_001)
            vault.accrue(at)
            usdc.mint(vault.name, 9_000_001)
        for token_id in range(4):
            model.now = self._must_send("outsider", ADAPTER, "harvest", token_id)
            model.harvest(token_id, at=model.now)
        return model

    def _must_send(self, sender: str, contract: str, function: str, *arguments: Any) -> int:
        ok, at = self.send(sender, contract, function, *arguments)
        assert ok, (sender, contract, function, arguments)
        return at

    def _open(self, model: Model, owner: str, bps: int, vault: Vault) -> None:
        at = self._must_send(owner, ADAPTER, "open", 1, bps, vault.name, 60, 1_000_000_000, 0)
        model.create(owner, bps=bps, vault=vault, interval=60, at=at)
        model.deposit(owner, len(model.stakes) - 1, 1_000_000_000, at=at)

    # ------------------------------------------------------------------------------------- views

    def look(self, model: Model) -> View:
        """Read everything at the newest block. The model says which vaults can be asked."""
        asked = tuple(stake.vault.name != HOSTILE for stake in model.stakes)
        words = self._read(asked)

        def one() -> int:
            return next(words)

        def name() -> str:
            return self.name_of[f"0x{one():040x}"]

        now, liabilities, owed, supply, total_credited = (one() for _ in range(5))
        assert supply == len(asked)
        return View(
            now=now,
            liabilities=liabilities,
            owed=owed,
            total_credited=total_credited,
            admins={contract: (name(), name()) for contract in OWNED},
            grants={owner: (one(), one()) for owner in OWNERS},
            usdc_supply=one(),
            balances={holder: one() for holder in self.holders},
            vaults=[VaultView(one(), one(), one()) for _ in VAULTS],
            tokens=[self._token(words, is_asked) for is_asked in asked],
            hostile=HostileView(*(one() for _ in range(5))) if self.has_hostile else None,
        )

    def _token(self, words: Iterator[int], is_asked: bool) -> TokenView:
        owner = self.name_of[f"0x{next(words):040x}"]
        account = Account(*(next(words) for _ in range(8)))
        remaining, withdrawable = next(words), next(words)
        vault = self.name_of[f"0x{next(words):040x}"]
        return TokenView(
            owner=owner,
            account=account,
            remaining=remaining,
            withdrawable=withdrawable,
            booked=(vault, next(words), next(words), next(words), next(words)),
            pending_yield=next(words) if is_asked else None,
            principal_value=next(words) if is_asked else None,
        )

    def _read(self, asked: tuple[bool, ...]) -> Iterator[int]:
        program, sizes = self._program(asked)
        raw = bytes.fromhex(self.request("eth_call", {"data": program}, "latest")[2:])
        words = (int.from_bytes(raw[at : at + 32]) for at in range(0, len(raw), 32))
        yield next(words)
        for number, size in enumerate(sizes):
            assert next(words) == 1, f"view {number} reverted"
            yield from islice(words, size)

    @lru_cache(maxsize=32)  # noqa: B019 - one stage a test
    def _program(self, asked: tuple[bool, ...]) -> tuple[str, list[int]]:
        """Return a program that reads everything, and how many words each view answers."""
        calls: list[tuple[str, str, tuple[Any, ...]]] = [
            (POSITION, "liabilities", ()),
            (POSITION, "owed", ()),
            (POSITION, "totalSupply", ()),
            (TREASURY, "totalCredited", ()),
        ]
        for contract in OWNED:
            calls += [(contract, "owner", ()), (contract, "pendingOwner", ())]
        for owner in OWNERS:
            calls += [("usdc", "allowance", (owner, ADAPTER)), ("usdc", "nonces", (owner,))]
        calls.append(("usdc", "totalSupply", ()))
        calls += [("usdc", "balanceOf", (name,)) for name in self.holders]
        for i in range(len(VAULTS)):
            calls.append((f"vault{i}", "totalSupply", ()))
            calls.append((f"vault{i}", "balanceOf", (ADAPTER,)))
            calls.append((f"vault{i}", "totalAssets", ()))
        for token_id, is_asked in enumerate(asked):
            calls += [(POSITION, view, (token_id,)) for view in _POSITION_VIEWS]
            views = _ADAPTER_VIEWS if is_asked else _ADAPTER_VIEWS[:1]
            calls += [(ADAPTER, view, (token_id,)) for view in views]
        if self.has_hostile:
            calls += [(HOSTILE, "sharesOf", (name,)) for name in (ADAPTER, ATTACKER)]
            calls += [(HOSTILE, view, ()) for view in ("price", "misbehaviour", "reentered")]
        packed = []
        for contract, function, arguments in calls:
            data = bytes.fromhex(self.encode(contract, function, *arguments)[2:])
            packed.append((self.address[contract], data, _ANSWER_WORDS.get(function, 1)))
        return _assemble_reader(packed), [size for _, _, size in packed]


@dataclass
class HostileVault(Vault):
    """What is known of the hostile vault; the rest is seen after each call to it."""

    kinds: int = 0
    price: int = ONE_SHARE
    attacker_shares: int = 0
    reentered: int = 0


class HostileStage(Stage):
    """The same, with positions on a hostile vault: the attacker's, its own, and a victim's."""

    has_hostile = True
    holders = (*Stage.holders, ATTACKER, HOSTILE)

    def _deploy_all(self) -> None:
        super()._deploy_all()
        self._create(HOSTILE, compile_contracts()["HostileVault"], ("address",), "usdc")

    def _prepare(self) -> Model:
        """Open four more positions, the last owned by the hostile vault on an honest one."""
        model = super()._prepare()
        for name in (ATTACKER, HOSTILE):
            self._must_send("admin", "usdc", "faucet", name, PLENTY)
            model.usdc.mint(name, PLENTY)
            for spender in (ADAPTER, POSITION, HOSTILE, "vault0"):
                self._must_send(name, "usdc", "approve", spender, EVERYTHING)
            model.usdc.allowances[name] = EVERYTHING
        model.givers = (*OWNERS, ATTACKER, HOSTILE)
        hostile = HostileVault(HOSTILE, model.usdc, 0, 0, 0)
        for owner, bps in ((ATTACKER, 10_000), (HOSTILE, 5_000), ("second_owner", 10_000)):
            self._open_on_hostile(model, hostile, owner, bps)
        self._open(model, HOSTILE, 10_000, model.vaults[0])
        hostile.price = ONE_SHARE * 11 // 10
        model.now = self._must_send(ATTACKER, HOSTILE, "setPrice", hostile.price)
        return model

    def _open_on_hostile(self, model: Model, hostile: HostileVault, owner: str, bps: int) -> None:
        assets = 1_000_000_000
        at = self._must_send(owner, ADAPTER, "open", 1, bps, HOSTILE, 60, assets, 0)
        model.create(owner, bps=bps, vault=hostile, interval=60, at=at)
        model.usdc.move(owner, HOSTILE, assets)
        # It is honest yet, and its share costs one unit.
        stake = model.stakes[-1]
        stake.principal = stake.shares = assets
        hostile.shares[ADAPTER] = hostile.shares.get(ADAPTER, 0) + assets


_POSITION_VIEWS: Final = ("ownerOf", "accountOf", "remainingAllowance", "withdrawableYield")
_ANSWER_WORDS: Final = {"accountOf": 8, "positionOf": 5}
_ADAPTER_VIEWS: Final = ("positionOf", "pendingYield", "principalValue")


@lru_cache(maxsize=256)
def _signature(kind: str, function: str, count: int) -> tuple[bytes, tuple[str, ...]]:
    if kind == HOSTILE:
        known = HOSTILE_FUNCTIONS[function]
        return function_signature_to_4byte_selector(f"{function}({','.join(known)})"), known
    for entry in load_abi(ABI_OF[kind]):
        if entry.get("name") == function and len(entry.get("inputs", ())) == count:
            types = tuple(collapse_if_tuple(item) for item in entry["inputs"])
            return function_abi_to_4byte_selector(entry), types  # type: ignore[arg-type]
    raise LookupError(f"{kind}.{function} with {count} arguments")


def _created_address(sender: str, nonce: int) -> str:
    """Return where a sender's contract will be (CREATE), for a small nonce."""
    assert 0 < nonce < 128
    return "0x" + keccak(b"\xd6\x94" + bytes.fromhex(sender[2:]) + bytes([nonce]))[12:].hex()


def _assemble_reader(calls: Sequence[tuple[str, bytes, int]]) -> str:
    """Return EVM code that answers the time, and of each call 1 for success and its words.

    It runs as a creation that is never sent, so it needs no address. Memory: arguments below 0x80,
    the answer from there.
    """
    first = 0x80
    program_length = 5 + 45 * len(calls) + 7
    code, data = bytearray(b"\x42" + _push(first) + b"\x52"), bytearray()  # TIMESTAMP, MSTORE
    at = first + 32
    for target, arguments, size in calls:
        assert len(arguments) <= first
        code += _push(len(arguments)) + _push(program_length + len(data)) + b"\x5f\x39"  # CODECOPY
        code += _push(32 * size) + _push(at + 32) + _push(len(arguments)) + b"\x5f"
        code += b"\x73" + bytes.fromhex(target[2:]) + b"\x5a\xfa"  # STATICCALL
        code += _push(at) + b"\x52"  # MSTORE
        data += arguments
        at += 32 + 32 * size
    code += _push(at - first) + _push(first) + b"\xf3"  # RETURN
    assert len(code) == program_length
    return "0x" + (code + data).hex()


def _push(figure: int) -> bytes:
    return b"\x61" + figure.to_bytes(2)
