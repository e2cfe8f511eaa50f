"""The depositor's journey through the pages of a running stack, in a headless browser.

A wallet of its own, whose key is in the journey's process, does what a person does: it reads the
pages, clicks and signs.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from web3.types import RPCEndpoint

from contracts.units import USDC_ONE
from scripts.stack.devnet import ROOT, Devnet, DevnetError, dev_account, send

WEB: Final = ROOT / "web"
BALANCE_USDC: Final = 2_000 * USDC_ONE
ETHER_WEI: Final = 10**19
NO_BROWSER: Final = 77
TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Walk:
    """What a journey found."""

    steps: list[str]
    found: list[str]
    """What should not be there: errors, requests to other hosts, breaches of the policy, findings
    of axe."""
    stored: str
    """What is left in the browser's storage."""


def walk_pages(devnet: Devnet, folder: Path | None, **options: Any) -> Walk | str:
    """Walk the journey; a sentence where no browser runs here.

    ``folder`` keeps a picture of each step. Raises ``DevnetError`` where a step does not hold.
    """
    if not (WEB / "node_modules").exists():
        return "the pages' tools are not installed: run `make setup`"
    wallet = Account.create()
    method = RPCEndpoint("anvil_setBalance")
    devnet.web3.provider.make_request(method, [wallet.address, hex(ETHER_WEI)])
    usdc = devnet.contracts.usdc.functions
    send(devnet, dev_account(6), usdc.faucet(wallet.address, BALANCE_USDC))
    wish = {
        "origin": devnet.proxy_url,
        "rpcUrl": devnet.rpc_url,
        "key": wallet.key.to_0x_hex(),
        "chainId": devnet.deployment.chain_id,
        "folder": None if folder is None else str(folder),
        **options,
    }
    done = subprocess.run(
        ["node", "tests/depositor.mjs", json.dumps(wish)],
        cwd=WEB,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode == NO_BROWSER:
        return done.stderr.strip()
    if done.returncode != 0:
        raise DevnetError(f"the journey through the pages failed {done.stderr.strip()}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    return Walk(report["steps"], report["found"], report["stored"])
