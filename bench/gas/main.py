"""Measure our gas beside OpenZeppelin, solady and solmate: ``python -m bench.gas.main``.

Whole transactions, as a wallet pays them, all on one anvil in one run. The peers come from npm
(``scripts/peers.py``); ours are those that ``make setup`` compiled. Prints two tables and writes
``bench/results/gas.json``.

Every figure is of the steady state: storage that was written before is written again, except where
a name says otherwise.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import RPCEndpoint

from bench.peers import BENCH, Code, Peer, load_peers
from scripts.setup import SetupError
from scripts.stack.anvil_path import ROOT, anvil_path

RESULT: Final = BENCH / "results" / "gas.json"
COMPILED: Final = ROOT / ".build" / "__local__.json"
REFERENCES: Final[tuple[str, ...]] = ("OpenZeppelin", "solady", "solmate")
HARDFORK: Final = "cancun"

USDC: Final = 1_000_000
CENT: Final = USDC // 100
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
NOON_S: Final = 23_148 * DAY_S + DAY_S // 2  # no run meets a midnight
NO_SMOOTHING: Final = 10_000
BLOCK_TIME_S: Final = 2
RECEIPTS_ROOT: Final = b"\x07" * 32
BATCH: Final = 100
DEPOSIT_FACTOR: Final = 1.6
GAS_LIMIT: Final = 10_000_000

AIMS: Final = {
    "createVault": 150_000,
    "harvest": 120_548,
    "hold": 37_947,
    "settle": 42_774,
    "hold_of_100": 16_000,
    "settle_of_100": 16_000,
    "bumpKeyEpoch": 30_647,
}
"""Of ``deposit`` the aim is ``DEPOSIT_FACTOR`` times a direct one, measured in the same run."""

LABELS: Final = {
    "createVault": "createVault, new owner",
    "deposit": "deposit, again",
    "harvest": "harvest, again",
    "withdrawPrincipal": "withdrawPrincipal, a part",
    "hold": "hold, one position",
    "settle": "settle, one position",
    "settle_new_word": "  with the first batch id of 256",
    "hold_of_100": "hold, each of 100",
    "hold_of_100_new_day": "  at the first touch of a day",
    "settle_of_100": "settle, each of 100",
    "bumpKeyEpoch": "bumpKeyEpoch",
    "withdrawUnspentYield": "withdrawUnspentYield",
}

Gas = dict[str, int]


class BenchError(Exception):
    """The bench cannot go on; the message is the one sentence to print."""


# --- the peers ---------------------------------------------------------------------------------


def load_references() -> tuple[dict[str, Any], dict[str, Peer], dict[str, str]]:
    """Return the compiler's settings, the peers, and the ones that are missing with the reason."""
    try:
        peers = load_peers()
    except (SetupError, OSError) as error:
        return {}, {}, dict.fromkeys(REFERENCES, str(error))
    found = {name: peers.found[name] for name in REFERENCES if name in peers.found}
    skipped = {name: peers.failures[name] for name in REFERENCES if name in peers.failures}
    return peers.settings, found, skipped


# --- the chain ---------------------------------------------------------------------------------


@contextmanager
def run_anvil() -> Iterator[Web3]:
    """Run an anvil on a port of its own that takes a gas price of 0."""
    command = [str(anvil_path()), "--host", "127.0.0.1", "--port", "0", "--hardfork", HARDFORK]
    command += ["--timestamp", str(NOON_S), "--block-base-fee-per-gas", "0", "--gas-price", "0"]
    log = BENCH / "results" / "anvil.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Web3(HTTPProvider(f"http://127.0.0.1:{_wait_for_port(process, log)}"))
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(600):
        match = re.search(r"Listening on [\d.]+:(\d+)", log.read_text())
        if match is not None:
            return int(match[1])
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise BenchError(f"anvil did not start; its output: {log}")


class Chain:
    """A fresh deployment of ours on the shared anvil, and the verbs of a measurement."""

    def __init__(self, web3: Web3) -> None:
        self.web3 = web3
        # In one second, a time would be stored over the same time, which costs less.
        self.request("anvil_setBlockTimestampInterval", BLOCK_TIME_S)
        accounts = list(web3.eth.accounts)
        self.admin, self.settler, self.saver = accounts[0], accounts[1], accounts[2]
        self.owner, self.second_owner, self.outsider = accounts[3], accounts[4], accounts[5]
        self._compiled = json.loads(COMPILED.read_text())["contractTypes"]
        usdc = self.deploy_ours("MockUSDC")
        payouts = self.deploy_ours("Payouts", usdc.address, self.admin)
        # The adapter's address is known before: position and adapter name each other.
        position_at = self.request("eth_getTransactionCount", self.admin, "latest")
        adapter_at = _created_address(self.admin, int(position_at, 16) + 1)
        wiring = (usdc.address, adapter_at, payouts.address, self.admin)
        self.position = self.deploy_ours("YieldFundedPosition", *wiring)
        self.adapter = self.deploy_ours("LendingYieldAdapter", usdc.address, self.position.address)
        self.usdc = usdc
        self.send(self.position.functions.setSettler(self.settler, True), self.admin)
        self._deployed = self.request("evm_snapshot")

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
        self.send(self.usdc.functions.faucet(to, amount_usdc), self.admin)

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
    import rlp

    digest = Web3.keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))
    return Web3.to_checksum_address(digest[12:])


# --- the measurements --------------------------------------------------------------------------


def measure_mint(chain: Chain, token: Contract) -> int:
    """A token for somebody who has none, in a collection that has one."""
    chain.send(token.functions.mint(), chain.owner)
    return chain.send(token.functions.mint(), chain.second_owner)


def measure_direct(chain: Chain, vault: Contract) -> Gas:
    """What a person pays who uses the vault without us, twice and twice."""
    chain.fund(chain.saver, 2_001 * USDC)
    chain.send(chain.usdc.functions.approve(vault.address, 10_000 * USDC), chain.saver)
    gas: Gas = {}
    for _ in range(2):
        deposit = vault.functions.deposit(1_000 * USDC, chain.saver)
        gas["deposit"] = chain.send(deposit, chain.saver)
    for _ in range(2):
        withdraw = vault.functions.withdraw(100 * USDC, chain.saver, chain.saver)
        gas["withdraw"] = chain.send(withdraw, chain.saver)
    return gas


def measure_adapter(chain: Chain, vault: Contract) -> Gas:
    """The same through a position, and what only a position has."""
    adapter = chain.adapter.functions
    create = adapter.createVault(1, NO_SMOOTHING, vault.address, 60)
    token_id = chain.next_token_id()
    chain.send(create, chain.owner)
    gas = {"createVault": chain.send(create, chain.second_owner)}
    chain.fund(chain.owner, 2_001 * USDC)
    chain.send(chain.usdc.functions.approve(chain.adapter.address, 10_000 * USDC), chain.owner)
    for _ in range(2):
        gas["deposit"] = chain.send(adapter.deposit(token_id, 1_000 * USDC, 0), chain.owner)
    for _ in range(3):
        chain.fund(vault.address, 10 * USDC)
        gas["harvest"] = chain.send(adapter.harvest(token_id), chain.outsider)
    for _ in range(2):
        withdraw = adapter.withdrawPrincipal(token_id, 100 * USDC)
        gas["withdrawPrincipal"] = chain.send(withdraw, chain.owner)
    return gas


def measure_position(chain: Chain) -> Gas:
    """One position's allowance: hold, settle, revoke, withdraw."""
    position = chain.position.functions
    _mint_with_credit(chain, 1, 10 * USDC)
    chain.fund(chain.owner, USDC)
    gas: Gas = {}
    for amount in (USDC, 2 * USDC):
        hold = position.hold([(0, amount, chain.now_s() + HOUR_S, 0)])
        gas["hold"] = chain.send(hold, chain.settler)
    for batch, name in ((1, "settle_new_word"), (2, "settle")):
        settle = position.settle(_batch_id(batch), RECEIPTS_ROOT, [(0, CENT)])
        gas[name] = chain.send(settle, chain.settler)
    chain.send(position.bumpKeyEpoch(0), chain.owner)
    gas["bumpKeyEpoch"] = chain.send(position.bumpKeyEpoch(0), chain.owner)
    gas["withdrawUnspentYield"] = chain.send(position.withdrawUnspentYield(0), chain.owner)
    return gas


def measure_batch(chain: Chain) -> Gas:
    """A hundred positions in one transaction; the gas of each."""
    position = chain.position.functions
    _mint_with_credit(chain, BATCH, USDC)

    def hold_all() -> int:
        expires_at_s = chain.now_s() + HOUR_S
        holds = [(token_id, 10 * CENT, expires_at_s, 0) for token_id in range(BATCH)]
        return chain.send(position.hold(holds), chain.settler) // BATCH

    hold_all()
    gas = {"hold_of_100": hold_all()}
    items = [(token_id, CENT) for token_id in range(BATCH)]
    settle = position.settle(_batch_id(1), RECEIPTS_ROOT, items)
    gas["settle_of_100"] = chain.send(settle, chain.settler) // BATCH
    chain.request("evm_setNextBlockTimestamp", NOON_S + DAY_S)
    chain.request("evm_mine")
    gas["hold_of_100_new_day"] = hold_all()
    return gas


def _mint_with_credit(chain: Chain, count: int, amount_usdc: int) -> None:
    """Give the owner new positions with credit, in the adapter's name."""
    adapter, position = chain.adapter.address, chain.position
    chain.fund(position.address, count * amount_usdc)
    chain.request("anvil_impersonateAccount", adapter)
    for _ in range(count):
        token_id = chain.next_token_id()
        chain.send(position.functions.mint(chain.owner, 1, NO_SMOOTHING), adapter)
        chain.send(position.functions.creditYield(token_id, amount_usdc), adapter)


def _batch_id(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures of one run."""

    mint: Gas  # by peer
    direct: dict[str, Gas]  # by vault, then by function
    through: dict[str, Gas]
    ours: Gas
    vault: str  # the one that ours was measured on


def measure(peers: dict[str, Peer]) -> Measured:
    """Measure everything, each part on a chain put back to a fresh deployment."""
    with run_anvil() as web3:
        chain = Chain(web3)
        mint: Gas = {}
        direct: dict[str, Gas] = {}
        through: dict[str, Gas] = {}
        for name, peer in peers.items():
            chain.reset()
            mint[name] = measure_mint(chain, chain.deploy(peer.codes["Token"]))
        names = [*peers, "snekmate"]
        for name in names:
            for measure_vault, figures in ((measure_direct, direct), (measure_adapter, through)):
                chain.reset()
                if name in peers:
                    vault = chain.deploy(peers[name].codes["Vault"], chain.usdc.address)
                else:
                    vault = chain.deploy_ours("PlainVault", chain.usdc.address)
                figures[name] = measure_vault(chain, vault)
        ours = dict(through[names[0]])
        for measure_part in (measure_position, measure_batch):
            chain.reset()
            ours.update(measure_part(chain))
    return Measured(mint=mint, direct=direct, through=through, ours=ours, vault=names[0])


# --- the report --------------------------------------------------------------------------------


def build_aims(measured: Measured) -> dict[str, int]:
    """Return the aims of the design's table, the deposit's from this run."""
    direct = measured.direct[measured.vault]["deposit"]
    return {**AIMS, "deposit": int(DEPOSIT_FACTOR * direct)}


def build_report(
    measured: Measured, *, settings: dict[str, Any], skipped: dict[str, str]
) -> dict[str, Any]:
    """Build what is written to ``bench/results/gas.json``."""
    aims = build_aims(measured)
    rows: list[dict[str, Any]] = []
    for name in LABELS:
        row = {"name": name, "value": measured.ours[name], "unit": "gas", "by": "current"}
        rows.append(row | ({"aim": aims[name]} if name in aims else {}))
    rows += [
        {"name": "mint", "value": gas, "unit": "gas", "by": peer}
        for peer, gas in measured.mint.items()
    ]
    for how, figures in (("direct", measured.direct), ("adapter", measured.through)):
        rows += [
            {"name": name, "value": value, "unit": "gas", "by": how, "vault": vault}
            for vault, gas in figures.items()
            for name, value in gas.items()
        ]
    ratios = {name: round(measured.ours[name] / aims[name], 4) for name in LABELS if name in aims}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "settings": {**settings, "hardfork": HARDFORK, "vault": measured.vault},
        "rows": rows,
        "ratios": ratios,
        "skipped": skipped,
    }


def print_tables(measured: Measured, skipped: dict[str, str]) -> None:
    """Print ours beside the aims, then the references."""
    aims = build_aims(measured)
    print(f"\n{f'ours, on the {measured.vault} vault':36}{'gas':>10}{'aim':>10}{'ours ÷ aim':>13}")
    for name, label in LABELS.items():
        line = f"{label:36}{measured.ours[name]:>10,}"
        if name in aims:
            ratio = measured.ours[name] / aims[name]
            line += f"{aims[name]:>10,}{ratio:>13.3f}{'' if ratio <= 1 else '  above its aim'}"
        print(line)

    vaults = list(measured.direct)
    print(f"\n{'references':36}" + "".join(f"{name:>14}" for name in vaults))
    lines: dict[str, list[int | None]] = {
        "ERC-721 mint, new owner": [measured.mint.get(name) for name in vaults],
        "deposit directly, again": [measured.direct[name]["deposit"] for name in vaults],
        "deposit through the adapter": [measured.through[name]["deposit"] for name in vaults],
        "withdraw directly": [measured.direct[name]["withdraw"] for name in vaults],
        "withdrawPrincipal": [measured.through[name]["withdrawPrincipal"] for name in vaults],
        "harvest": [measured.through[name]["harvest"] for name in vaults],
        "createVault": [measured.through[name]["createVault"] for name in vaults],
    }
    for label, values in lines.items():
        cells = "".join(f"{'-' if gas is None else f'{gas:,}':>14}" for gas in values)
        print(f"{label:36}{cells}")
        if label == "deposit through the adapter":
            factors = [
                measured.through[name]["deposit"] / measured.direct[name]["deposit"]
                for name in vaults
            ]
            cells = "".join(f"{factor:>14.2f}" for factor in factors)
            print(f"{'  times a direct one':36}{cells}")
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")


def main() -> int:
    """Measure, print, write. Exit code 0 whatever the figures are."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    try:
        settings, peers, skipped = load_references()
        versions = ", ".join(f"{name} {peer.version}" for name, peer in peers.items())
        if peers:
            print(f"bench: {versions}; solc {settings['solc']}, {settings['optimizer_runs']} runs")
        measured = measure(peers)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    settings = {**settings, "peers": {name: peer.version for name, peer in peers.items()}}
    report = build_report(measured, settings=settings, skipped=skipped)
    draft = RESULT.with_suffix(".draft")
    draft.write_text(json.dumps(report, indent=2) + "\n")
    draft.replace(RESULT)
    print_tables(measured, skipped)
    print(f"\nwritten to {RESULT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
