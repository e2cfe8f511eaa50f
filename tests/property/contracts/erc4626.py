"""Vaults with histories on a local EVM, and plays: what several people call in one moment.

ERC-4626 speaks of what two calls would answer within one transaction, between which no interest
accrues. So a play is one ``eth_call`` at any later time, thrown away afterwards: the chain never
changes, and a play takes half a millisecond. Every person in it is a Multicall3 contract that calls
the vault in its own name; a further one, the director, lets them act one after the other.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_utils.abi import function_signature_to_4byte_selector

from tests.support.anvil import Anvil, AnvilError
from tests.support.deploy import compile_contracts

START_S: Final = 2_000_000_000
EVERYTHING: Final = 2**256 - 1
MOST_USDC: Final = 2**63 - 1
"""The largest amount our contracts know."""

FUNDS: Final = 4 * MOST_USDC
ADMIN: Final = "admin"
DIRECTOR: Final = "director"
PEOPLE: Final = ("holder", "receiver", "spender", "neighbour")
FUNCTIONS: Final = {
    signature.partition("(")[0]: bytes(function_signature_to_4byte_selector(signature))
    for signature in (
        *("asset()", "totalAssets()", "totalSupply()", "balanceOf(address)"),
        *("convertToShares(uint256)", "convertToAssets(uint256)"),
        *("maxDeposit(address)", "maxMint(address)", "maxWithdraw(address)", "maxRedeem(address)"),
        *("previewDeposit(uint256)", "previewMint(uint256)"),
        *("previewWithdraw(uint256)", "previewRedeem(uint256)"),
        *("deposit(uint256,address)", "mint(uint256,address)"),
        *("withdraw(uint256,address,address)", "redeem(uint256,address,address)"),
        *("approve(address,uint256)", "allowance(address,address)"),
        *("setApyBps(uint256)", "setFees(uint256,uint256)", "setLiquidity(uint256)"),
        *("push(uint256)", "realiseLoss(uint256)", "faucet(address,uint256)"),
        "aggregate3((address,bool,bytes)[])",
    )
}


@dataclass(frozen=True, slots=True)
class Call:
    """What one person calls. ``vault`` as the target is the scene's; names stand for addresses."""

    who: str
    function: str
    arguments: tuple[str | int, ...] = ()
    target: str = "vault"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a call succeeded, and the first word it returned."""

    ok: bool
    word: int


@dataclass(frozen=True, slots=True)
class History:
    """How a vault came to be what it is before a play: interest (bps a year) and past calls."""

    apy_bps: int
    calls: tuple[Call, ...] = ()


HISTORIES: Final = {
    "empty": History(0),
    "given to, never used": History(10_000, (Call(ADMIN, "push", (7_000_003,)),)),
    "young": History(
        500,
        (
            Call("neighbour", "deposit", (1_000_000_000, "neighbour")),
            Call("holder", "deposit", (333_333_333, "holder")),
            Call(ADMIN, "push", (9_000_001,)),
        ),
    ),
    "three units": History(10_000, (Call("holder", "deposit", (3, "holder")),)),
    "a share is dear": History(
        2_000,
        (
            Call("holder", "deposit", (5, "holder")),
            Call("neighbour", "deposit", (2, "neighbour")),
            Call(ADMIN, "push", (10**12 + 7,)),
        ),
    ),
    "a share is cheap": History(
        500,
        (
            Call("holder", "deposit", (10**12, "holder")),
            Call("neighbour", "deposit", (10**11, "neighbour")),
            Call(ADMIN, "realiseLoss", (11 * 10**11 - 12_345,)),
        ),
    ),
    "all is lost": History(
        2_000,
        (
            Call("holder", "deposit", (10**9, "holder")),
            Call(ADMIN, "realiseLoss", (10**9,)),
        ),
    ),
}


class VaultStage:
    """MockVaults with histories, and people who have USDC and have approved each vault."""

    def __init__(self, anvil: Anvil) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", anvil.port)
        self._request("anvil_autoImpersonateAccount", True)
        self.address: dict[str, int] = {ADMIN: 0xC0FFEE}
        code = compile_contracts()
        self._create("usdc", code["MockUSDC"])
        for name in (DIRECTOR, *PEOPLE):
            self._create(name, code["Multicall3"])
        for name in PEOPLE:
            self._transact(Call(ADMIN, "faucet", (name, FUNDS), "usdc"))
        for vault, history in HISTORIES.items():
            self._create(vault, code["MockVault"] + f"{self.address['usdc']:064x}")
            self._transact(Call(ADMIN, "setApyBps", (history.apy_bps,)), vault)
            for name in PEOPLE:
                self._transact(Call(name, "approve", (vault, EVERYTHING), "usdc"))
            for call in history.calls:
                self._transact(call, vault)
        head = self._request("eth_getBlockByNumber", "latest", False)
        self._now = int(head["timestamp"], 16)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def play(self, vault: str, wait_s: int, calls: Sequence[Call]) -> list[Answer]:
        """Make calls one after the other, ``wait_s`` seconds after the last block; forget them."""
        data = pack_calls([self._delegate(call, vault) for call in calls])
        transaction = {"to": _hex(self.address[DIRECTOR]), "data": "0x" + data.hex()}
        block = {"time": hex(self._now + wait_s)}
        raw = self._request("eth_call", transaction, "latest", {}, block)
        answers = []
        for _, reply in unpack_results(bytes.fromhex(raw[2:])):
            ((ok, word),) = unpack_results(reply)
            answers.append(Answer(ok, int.from_bytes(word[:32]) if ok else 0))
        return answers

    def _delegate(self, call: Call, vault: str) -> tuple[int, bytes]:
        return self.address[call.who], pack_calls([self._encode(call, vault)])

    def _encode(self, call: Call, vault: str) -> tuple[int, bytes]:
        named = {**self.address, "vault": self.address[vault]}
        words = [named[item] if isinstance(item, str) else item for item in call.arguments]
        data = FUNCTIONS[call.function] + b"".join(word.to_bytes(32) for word in words)
        return named[call.target], data

    def _transact(self, call: Call, vault: str = "usdc") -> None:
        target, data = self._encode(call, vault)
        if call.who != ADMIN:
            data = pack_calls([(target, data)], may_fail=False)
            target = self.address[call.who]
        receipt = self._send({"to": _hex(target), "data": "0x" + data.hex()})
        assert receipt["status"] == "0x1", call

    def _create(self, name: str, code: str) -> None:
        receipt = self._send({"data": code})
        assert receipt["status"] == "0x1", name
        self.address[name] = int(receipt["contractAddress"], 16)

    def _send(self, transaction: dict[str, str]) -> Any:
        sent = {"from": _hex(self.address[ADMIN]), "gas": "0xf42400", "gasPrice": "0x0"}
        return self._request("eth_sendTransactionSync", {**sent, **transaction})

    def _request(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]


@dataclass(frozen=True)
class Scene:
    """A vault with a history, some time later, and what has just happened to it."""

    stage: VaultStage = field(repr=False)
    vault: str
    wait_s: int
    opening: tuple[Call, ...]

    def play(self, *calls: Call) -> list[Answer]:
        """Make calls after the opening; return their answers."""
        answers = self.stage.play(self.vault, self.wait_s, [*self.opening, *calls])
        return answers[len(self.opening) :]

    def read(self, function: str, *arguments: str | int, target: str = "vault") -> int:
        """Return what a view answers after the opening. It must answer."""
        (answer,) = self.play(Call("holder", function, arguments, target))
        assert answer.ok, f"{function}{arguments} reverted"
        return answer.word


def pack_calls(calls: Sequence[tuple[int, bytes]], *, may_fail: bool = True) -> bytes:
    """Return the data of an ``aggregate3`` of calls, each a target and its data."""
    heads, tails, at = [], [], 32 * len(calls)
    for target, data in calls:
        padded = data + bytes(-len(data) % 32)
        heads.append(at.to_bytes(32))
        tails.append(_words(target, may_fail, 96, len(data)) + padded)
        at += 128 + len(padded)
    return FUNCTIONS["aggregate3"] + _words(32, len(calls)) + b"".join(heads) + b"".join(tails)


def unpack_results(raw: bytes) -> list[tuple[bool, bytes]]:
    """Return what ``aggregate3`` answers for each call: whether it succeeded, and its answer."""

    def word(at: int) -> int:
        return int.from_bytes(raw[at : at + 32])

    results = []
    for i in range(word(32)):
        at = 64 + word(64 + 32 * i)
        length = word(at + 64)
        results.append((word(at) == 1, raw[at + 96 : at + 96 + length]))
    return results


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32) for value in values)


def _hex(address: int) -> str:
    return f"0x{address:040x}"
