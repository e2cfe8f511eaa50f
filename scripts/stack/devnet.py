"""The whole stack on one machine: chain, contracts, model, indexer, keeper, market, proxy.

``current up`` leaves it running; ``current demo`` walks the journey on it.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import RPCEndpoint

from contracts.bindings import Contracts, bind, bind_contracts
from contracts.chain import open_web3
from contracts.deployment import Deployment, load_deployment
from contracts.errors import Rejected
from keeper.gas import add_gas_margin
from scripts.asking import answers_well, post_json
from scripts.stack.anvil import CHAIN_ID, CLOCK_SLACK_S
from scripts.stack.chains import LocalChain, start_base_chain, start_plain_chain
from scripts.stack.devnet_market import start_market
from scripts.stack.model import MODEL_ID
from scripts.stack.ports import free_port, preferred_port
from scripts.stack.processes import Stack
from scripts.stack.run_directory import RunDirectory, keep_secret

ROOT: Final = Path(__file__).resolve().parents[2]
PRICES: Final = Path(__file__).with_name("devnet_prices.toml")
DEV_MNEMONIC: Final = "test test test test test test test test test test test junk"
"""anvil's own; everybody knows these keys."""
HISTORY_S: Final = 30 * 86_400
"""How long before now the chain begins, so that a deposit has earned by the time it is used."""
BURIED_BLOCKS: Final = 300
"""How deep the setup lies under the head when somebody starts to use the devnet."""
WAIT_S: Final = 300.0
"""How long a step may take: far longer than on a quiet machine, so that only a defect is."""
WAIT_SAID_EVERY_S: Final = 10.0
GAS_MARGIN_BPS: Final = 2_500
PROXY_PORT: Final = 8402
MARKET_PORT: Final = 8403
ANVIL_PORT: Final = 8545


class DevnetError(Rejected):
    """A step of the devnet failed; the message says which and where to look."""


@dataclass(frozen=True, slots=True)
class Devnet:
    """A running stack, and what a person needs to use it."""

    directory: RunDirectory
    rpc_url: str
    """Where everybody reaches the chain."""
    web3: Web3
    deployment: Deployment
    contracts: Contracts
    depositor: LocalAccount
    proxy_url: str
    market_url: str
    model_url: str
    was_deployed_before: bool
    ledger_url: str

    @property
    def api_url(self) -> str:
        return f"{self.proxy_url}/api/current"

    @property
    def vault(self) -> Any:
        return bind(self.web3, "MockVault", self.deployment.vault)


def dev_account(index: int) -> LocalAccount:
    """Return anvil's funded account ``index``: 0 deploys, 1 keeps, 2 deposits, 3 sells."""
    Account.enable_unaudited_hdwallet_features()
    account: LocalAccount = Account.from_mnemonic(
        DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}"
    )
    return account


def start_devnet(
    stack: Stack,
    *,
    say: Callable[[str], None],
    persistent: bool,
    ports: tuple[int, int, int] | None = None,
    ledger_url: str | None = None,
    is_like_base: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Devnet:
    """Start everything in ``stack`` and return when it serves.

    ``persistent`` keeps the chain across restarts and starts a process again that dies. ``ports``
    are the chain's, the proxy's and the market's; None takes free ones.
    ``ledger_url`` None: a SQLite file in the run directory. ``is_like_base``: the chain looks like
    Base (``chains``). ``settings`` are the processes' own, by their names in the environment; they
    go before what the devnet sets.
    """
    directory = stack.directory
    if ledger_url is None:
        ledger_url = f"sqlite:///{directory.ledger_path}"
    chain_port, proxy_port, market_port = ports or (free_port(), free_port(), free_port())
    start = start_base_chain if is_like_base else start_plain_chain
    chain = start(
        stack,
        port=chain_port,
        timestamp_s=int(time.time()) - HISTORY_S,
        state_path=directory.anvil_state if persistent else None,
    )
    model_url = f"http://127.0.0.1:{_start_model(stack, restart=persistent)}/v1"
    record = directory.deployments / f"{CHAIN_ID}.json"
    was_deployed_before = record.exists()
    if not was_deployed_before:
        say("deploying the contracts with Ape")
        _deploy(stack, chain)
    deployment = load_deployment(record)
    serving = (proxy_port, market_port)
    market_url = _start_services(
        stack,
        chain,
        record,
        ledger_url,
        model_url,
        serving,
        settings or {},
        restart=persistent,
    )
    web3 = open_web3(chain.rpc_url)
    return Devnet(
        directory=directory,
        rpc_url=chain.rpc_url,
        web3=web3,
        deployment=deployment,
        contracts=bind_contracts(web3, deployment),
        depositor=dev_account(2),
        proxy_url=f"http://127.0.0.1:{proxy_port}",
        market_url=market_url,
        model_url=model_url,
        was_deployed_before=was_deployed_before,
        ledger_url=ledger_url,
    )


def preferred_ports() -> tuple[int, int, int]:
    """Return the usual ports of chain, proxy and market, or free ones where those are taken."""
    return preferred_port(ANVIL_PORT), preferred_port(PROXY_PORT), preferred_port(MARKET_PORT)


def _start_model(stack: Stack, *, restart: bool) -> int:
    port = free_port()
    command = [sys.executable, "-m", "scripts.stack.model", "--port", str(port)]
    stack.start(
        "model",
        command,
        ready=lambda: answers_well(f"http://127.0.0.1:{port}/v1/models"),
        cwd=ROOT,
        usual_s=3,
        restart=restart,
    )
    return port


def _deploy(stack: Stack, chain: LocalChain) -> None:
    """Run the deploy script as an operator would; raises ``DevnetError`` where it fails."""
    record = stack.directory.deployments / f"{CHAIN_ID}.json"
    command = [str(Path(sys.executable).with_name("ape")), "run", "deploy"]
    command += ["--network", chain.rpc_url, "--keeper", dev_account(1).address]
    stack.start(
        "deploy",
        command,
        env={
            "APE_DATA_FOLDER": str(ROOT / ".ape"),
            "CURRENT_DEPLOYMENTS_DIR": str(stack.directory.deployments),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        ready=record.exists,
        usual_s=12,
        cwd=ROOT,
    )
    stack.stop("deploy")


def _start_services(
    stack: Stack,
    chain: LocalChain,
    record: Path,
    ledger_url: str,
    model_url: str,
    ports: tuple[int, int],
    settings: Mapping[str, str],
    *,
    restart: bool,
) -> str:
    """Start what stands around the ledger; return the market's URL. ``ports``: proxy, market."""
    directory, (proxy_port, market_port) = stack.directory, ports

    def common(prefix: str) -> dict[str, str]:
        return {
            f"{prefix}_RPC_URL": chain.rpc_url,
            f"{prefix}_LEDGER_URL": ledger_url,
            f"{prefix}_DEPLOYMENT_FILE": str(record),
        }

    python = [sys.executable, "-m"]
    stack.start(
        "indexer",
        [*python, "indexer"],
        env={
            **common("INDEXER"),
            "INDEXER_CONFIRMATIONS": "0",
            "INDEXER_POLL_INTERVAL_S": "0.2",
            "INDEXER_HEADS_URL": chain.heads_url,
            **settings,
        },
        cwd=ROOT,
        restart=restart,
    )
    stack.start(
        "keeper",
        [*python, "keeper"],
        env={
            **common("KEEPER"),
            "KEEPER_PRIVATE_KEY": dev_account(1).key.hex(),
            "KEEPER_POLL_INTERVAL_S": "0.5",
            "KEEPER_CONFIRMATIONS": "1",
            "KEEPER_ETHER_PRICE_USDC": "0",
            "KEEPER_SETTLE_MAX_AGE_S": "5",
            "KEEPER_SWEEP_AMOUNT_USDC": "1",
            "KEEPER_RELEASE_GRACE_S": "10",
            "KEEPER_PAYOUT_MAX_AGE_S": "2",
            **settings,
        },
        cwd=ROOT,
        restart=restart,
    )
    market_url, market_key = start_market(
        stack,
        common={**common("MARKET"), **settings},
        prices=PRICES,
        model_url=model_url,
        seller=dev_account(3),
        port=market_port,
        restart=restart,
    )
    stack.start(
        "proxy",
        [*python, "proxy"],
        env={
            **common("PROXY"),
            "PROXY_PORT": str(proxy_port),
            "PROXY_KEY_SECRET_FILE": str(_key_secret_file(directory)),
            "PROXY_UPSTREAM_URL": f"{market_url}/v1",
            "PROXY_UPSTREAM_KEY_FILE": str(market_key),
            "PROXY_UPSTREAM_NAME": "market",
            # The devnet's seller is a model on this machine, which no table of companies knows.
            "PROXY_MINIMUM_GRADE": "D",
            "PROXY_PRICES_FILE": str(PRICES),
            **settings,
        },
        ready=lambda: answers_well(f"http://127.0.0.1:{proxy_port}/api/current/readyz"),
        cwd=ROOT,
        usual_s=4,
        restart=restart,
    )
    return market_url


def _key_secret_file(directory: RunDirectory) -> Path:
    """Return the file with this devnet's own key secret, made at its first start."""
    return keep_secret(directory.path / "key_secret", secrets.token_hex(32))


def warp_to_now(devnet: Devnet) -> int:
    """Let the chain's clock catch up with the real one; return by how many seconds it moved.

    A long way is finished block by block, so that what came before lies deeper than any reorg that
    the mirror follows.
    """
    before_s = int(devnet.web3.eth.get_block("latest")["timestamp"])
    now_s = int(time.time())
    if now_s - before_s < CLOCK_SLACK_S:
        return 0
    # From well after the newest block: the chain goes on mining meanwhile.
    blocks = min(BURIED_BLOCKS, (now_s - before_s) // 2)
    _ask_anvil(devnet, "evm_setNextBlockTimestamp", now_s - blocks + 1)
    _ask_anvil(devnet, "anvil_mine", hex(blocks), hex(1))
    return now_s - before_s


def _ask_anvil(devnet: Devnet, method: str, *params: Any) -> None:
    answer = devnet.web3.provider.make_request(RPCEndpoint(method), list(params))
    if "error" in answer:
        raise DevnetError(f"{method}: {answer['error']}")


def check_contracts(devnet: Devnet) -> None:
    """Raise ``DevnetError`` where the chain has lost the contracts, say by a reorg below them."""
    if devnet.web3.eth.get_code(devnet.contracts.adapter.address) == b"":
        raise DevnetError("the chain has lost the contracts; start over: make up ARGS=--fresh")


def wait_for(
    what: str,
    check: Callable[[], Any],
    stack: Stack,
    *,
    timeout_s: float = WAIT_S,
    say_every_s: float = WAIT_SAID_EVERY_S,
) -> Any:
    """Return the first true answer of ``check``; say now and then what is waited for.

    A server that does not answer ``check`` may be starting again: it is asked once more. Raises
    ``DevnetError`` after ``timeout_s``, and ``ProcessError`` where a process has failed for good.
    """
    began_s = said_s = time.monotonic()
    while (now_s := time.monotonic()) - began_s < timeout_s:
        stack.check()
        with suppress(httpx.TransportError):
            if found := check():
                return found
        if now_s - said_s >= say_every_s:
            said_s = now_s
            stack.say(f"waiting for {what} ({now_s - began_s:.0f} s)")
        time.sleep(0.1)
    raise DevnetError(
        f"{what} did not happen within {timeout_s:.0f} s; logs: {stack.directory.logs}"
    )


def send(devnet: Devnet, account: LocalAccount, call: Any) -> Any:
    """Send one contract call as a plain wallet does, and return its receipt.

    Raises ``DevnetError`` where it reverts.
    """
    # As wallets do: the state may change between the estimate and the block.
    gas = add_gas_margin(call.estimate_gas({"from": account.address}), margin_bps=GAS_MARGIN_BPS)
    transaction = call.build_transaction(
        {
            "from": account.address,
            "gas": gas,
            "nonce": devnet.web3.eth.get_transaction_count(account.address, "pending"),
            "chainId": CHAIN_ID,
        }
    )
    signed = account.sign_transaction(transaction)
    tx_hash = devnet.web3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = devnet.web3.eth.wait_for_transaction_receipt(tx_hash, timeout=30, poll_latency=0.05)
    if receipt["status"] != 1:
        raise DevnetError(f"transaction {tx_hash.to_0x_hex()} reverted")
    return receipt


def issue_key(api_url: str, account: LocalAccount, token_id: int) -> str:
    """Sign the reference's message with a wallet and trade it for an API key.

    Raises ``Refused`` with the proxy's own words, ``NoAnswer`` and ``UrlInvalid``.
    """
    timestamp_ms = int(time.time() * 1000)
    text = f"Issue Current API key for token {token_id} at {timestamp_ms}"
    signature = account.sign_message(encode_defunct(text=text)).signature.to_0x_hex()
    body = {"tokenId": str(token_id), "signature": signature, "timestamp": timestamp_ms}
    return str(post_json(f"{api_url}/keys", body)["apiKey"])


def curl_line(devnet: Devnet, api_key: str) -> str:
    """Return a command that asks the model, ready to be pasted into a shell."""
    return (
        f"curl -s {devnet.api_url}/v1/chat/completions"
        f" -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json'"
        f""" -d '{{"model":"{MODEL_ID}","max_tokens":64,"messages":"""
        """[{"role":"user","content":"Why is the sky blue?"}]}'"""
    )
