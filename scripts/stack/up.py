"""``current up``: the whole stack, left running, with a funded position and a key to try."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
from eth_utils.address import to_checksum_address
from rich.console import Console

from contracts.units import USDC_ONE, format_usdc
from scripts.stack.devnet import (
    Devnet,
    DevnetError,
    check_contracts,
    curl_line,
    issue_key,
    preferred_ports,
    send,
    start_devnet,
    wait_for,
    warp_to_now,
)
from scripts.stack.processes import Stack
from scripts.stack.run_directory import ROOT as RUNS
from scripts.stack.run_directory import RunDirectory, claim_run_directory

DEPOSIT_USDC: Final = 1_000 * USDC_ONE
TOKEN_ID: Final = 0


@dataclass(frozen=True, slots=True)
class StackRecord:
    """Where a running stack is; ``<run directory>/stack.json`` tells other commands."""

    rpc_url: str
    ledger_url: str
    deployment_file: str
    api_url: str

    def save(self, directory: RunDirectory) -> None:
        """Write the record whole or not at all."""
        path = directory.path / "stack.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        draft.replace(path)


def load_stack_record(name: str, root: Path = RUNS) -> StackRecord:
    """Return the record of the stack ``name``. Raises ``DevnetError`` where there is none."""
    path = root / name / "stack.json"
    try:
        return StackRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DevnetError(f"no stack {name!r}: start one with `make up`") from error


def run_up(
    console: Console,
    *,
    fresh: bool,
    name: str,
    is_like_base: bool = False,
    open_pages: Callable[[str], object] | None = None,
) -> None:
    """Start or resume the stack ``name``, print how to use it, and stay until Ctrl-C.

    ``open_pages`` is called with the URL of each site once both serve; None: nobody is.

    Raises ``DevnetError`` or ``ProcessError`` where it cannot run.
    """

    def say(text: str) -> None:
        console.print(f"[dim]{text}[/dim]", soft_wrap=True)

    with (
        claim_run_directory(name, fresh=fresh, say=say) as directory,
        Stack(directory, say=say) as stack,
    ):
        say("starting chain, model, contracts, market and proxy; usually about a minute")
        devnet = start_devnet(
            stack,
            say=say,
            persistent=True,
            ports=preferred_ports(),
            is_like_base=is_like_base,
        )
        StackRecord(
            rpc_url=devnet.rpc_url,
            ledger_url=devnet.ledger_url,
            deployment_file=str(directory.deployments / "31337.json"),
            api_url=devnet.api_url,
        ).save(directory)
        api_key = prepare_position(devnet, stack, say)
        _print_guide(console, devnet, api_key)
        if open_pages is not None:
            for url in (devnet.market_url, devnet.proxy_url):
                open_pages(f"{url}/")
        stack.wait()


def prepare_position(devnet: Devnet, stack: Stack, say: Callable[[str], None]) -> str:
    """See to it that position 0 has principal, yield and a hold; return an API key for it.

    Goes on wherever an earlier start was cut off.
    """
    position, adapter = devnet.contracts.position.functions, devnet.contracts.adapter.functions
    usdc, owner = devnet.contracts.usdc.functions, devnet.depositor
    check_contracts(devnet)
    if position.totalSupply().call() == 0:
        send(devnet, owner, adapter.createVault(1, 10_000, devnet.vault.address, 30))
    _, principal_usdc, _, _, _ = adapter.positionOf(TOKEN_ID).call()
    if principal_usdc == 0 and position.accountOf(TOKEN_ID).call()[0] == 0:
        send(devnet, owner, usdc.faucet(owner.address, 2 * DEPOSIT_USDC))
        send(devnet, owner, usdc.approve(devnet.contracts.adapter.address, DEPOSIT_USDC))
        send(devnet, owner, adapter.deposit(TOKEN_ID, DEPOSIT_USDC, 1))
        say(f"position {TOKEN_ID}: {format_usdc(DEPOSIT_USDC)} USDC deposited 30 days ago")
    warp_to_now(devnet)

    def is_ready() -> bool:
        answer = httpx.get(f"{devnet.api_url}/positions/{TOKEN_ID}", timeout=10)
        return answer.status_code == 200 and answer.json()["allowance"]["credited_usdc"] > 0

    wait_for("the first harvest", is_ready, stack)
    api_key = issue_key(devnet.api_url, owner, TOKEN_ID)

    def is_held() -> bool:
        answer = httpx.get(f"{devnet.api_url}/positions/{TOKEN_ID}", timeout=10)
        return answer.status_code == 200 and answer.json()["allowance"]["held_usdc"] > 0

    wait_for("the hold", is_held, stack)
    return api_key


def _print_guide(console: Console, devnet: Devnet, api_key: str) -> None:
    lines = [
        ("pages", f"{devnet.proxy_url}/   (deposit, ask, see where every unit is)"),
        ("", f"{devnet.market_url}/   (sell on the market)"),
        ("API", f"{devnet.api_url}/v1   (OpenAI base URL; docs: {devnet.proxy_url}/docs)"),
        ("market", f"{devnet.market_url}/v1   (sell there, or pay by the request: x402)"),
        ("chain", f"{devnet.rpc_url}   (chain id {devnet.deployment.chain_id})"),
        ("wallet", f"{devnet.depositor.address}   owns position {TOKEN_ID}; devnet only"),
        ("wallet key", "0x" + devnet.depositor.key.hex()),
        ("API key", api_key),
        *_list_contracts(devnet),
        ("files", f"{devnet.directory.path}   (ledger, logs, deployment)"),
    ]
    for name, text in lines:
        console.print(f"[bold]{name:<10}[/bold] {text}", soft_wrap=True, highlight=False)
    console.print("\nAsk the model:", highlight=False)
    # Plain print: the line must survive copying, whatever the terminal's width.
    print(curl_line(devnet, api_key), flush=True)
    command = os.path.relpath(Path(sys.executable).with_name("current"))
    name = devnet.directory.name
    console.print(
        f"\nCtrl-C stops everything. `{command} audit --name {name}` checks every figure,"
        f" `{command} status --name {name}` shows them.",
        soft_wrap=True,
    )


def _list_contracts(devnet: Devnet) -> list[tuple[str, str]]:
    """Return a line for each contract, with its address as wallets show it."""
    names = ("adapter", "position", "payouts", "usdc", "vault")
    addresses = [to_checksum_address(getattr(devnet.deployment, name)) for name in names]
    lines = [f"{address}   ({name})" for name, address in zip(names, addresses, strict=True)]
    return [("contracts" if place == 0 else "", line) for place, line in enumerate(lines)]
