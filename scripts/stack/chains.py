"""A stack's local chain: a plain anvil, or one seen by everybody as a node of Base shows it."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.transport import HttpTransport
from keeper.l1_fees import ORACLE
from scripts.stack.anvil import start_anvil
from scripts.stack.anvil_path import ROOT
from scripts.stack.l1_oracle import build_oracle
from scripts.stack.ports import free_port
from scripts.stack.processes import Stack

L1_FEE_WEI: Final = 10_000_000_000
"""What a transaction's data costs on the devnet that looks like Base: as on a quiet day there."""
LISTENING: Final = re.compile(r"listening on ")


@dataclass(frozen=True, slots=True)
class LocalChain:
    """Where a stack's chain is: JSON-RPC over HTTP, and new heads by WebSocket."""

    rpc_url: str
    heads_url: str


def start_plain_chain(
    stack: Stack, *, port: int, timestamp_s: int, state_path: Path | None
) -> LocalChain:
    """Start anvil at ``port``: a block for each transaction, and one every two seconds.

    ``timestamp_s`` is the time of its first block. With ``state_path`` it goes on from there.
    """
    anvil = start_anvil(stack, port=port, timestamp_s=timestamp_s, state_path=state_path)
    return LocalChain(rpc_url=anvil.url, heads_url=_get_heads_url(anvil.url))


def start_base_chain(
    stack: Stack, *, port: int, timestamp_s: int, state_path: Path | None
) -> LocalChain:
    """Start a chain that looks like Base at ``port``; see ``base_like``; else as the plain one.

    Blocks come every two seconds, whoever waits. An oracle at the predeploy's address says the L1
    fee, which no balance pays: anvil takes none.
    """
    anvil = start_anvil(
        stack,
        port=free_port(),
        timestamp_s=timestamp_s,
        state_path=state_path,
        mixed_mining=False,
    )
    oracle = build_oracle(base_wei=L1_FEE_WEI, byte_wei=0)
    HttpTransport(anvil.url).request("anvil_setCode", [ORACLE, oracle])
    command = [sys.executable, "-m", "scripts.stack.base_node", "--port", str(port)]
    command += ["--chain-url", anvil.url, "--l1-fee-wei", str(L1_FEE_WEI)]
    is_persistent = state_path is not None
    stack.start("base-node", command, ready=LISTENING, cwd=ROOT, restart=is_persistent)
    return LocalChain(rpc_url=f"http://127.0.0.1:{port}", heads_url=_get_heads_url(anvil.url))


def _get_heads_url(rpc_url: str) -> str:
    return rpc_url.replace("http", "ws", 1)
