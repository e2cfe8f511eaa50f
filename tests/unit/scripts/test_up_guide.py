"""What ``make up`` prints: what a wallet or a program needs, the chain and the contracts too."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from eth_account import Account
from rich.console import Console

from scripts.stack.devnet import Devnet
from scripts.stack.up import _print_guide
from tests.support.ledgers import DEPLOYMENT

ADDRESSES: Final = {
    "adapter": "0x8ba1f109551bD432803012645Ac136ddd64DBA72",
    "position": "0x5FC8d32690cc91D4c39d9d3abcBD16989F875707",
    "payouts": "0xDc64a140Aa3E981100a9becA4E685f962f0cF6C9",
    "usdc": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "vault": "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
}


def test_guide__devnet__states_chain_id_and_every_contract(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lower: dict[str, Any] = {name: address.lower() for name, address in ADDRESSES.items()}
    devnet = SimpleNamespace(
        api_url="http://127.0.0.1:8402/api/current",
        proxy_url="http://127.0.0.1:8402",
        market_url="http://127.0.0.1:8403",
        rpc_url="http://127.0.0.1:8545",
        depositor=Account.from_key("0x" + "11" * 32),
        deployment=replace(DEPLOYMENT, chain_id=84532, **lower),
        directory=SimpleNamespace(path=Path("/tmp/devnet"), name="devnet"),
    )
    screen = StringIO()
    _print_guide(Console(file=screen, width=60), cast(Devnet, devnet), "current_0_0_key")

    lines = [" ".join(line.split()) for line in screen.getvalue().splitlines()]
    assert "chain http://127.0.0.1:8545 (chain id 84532)" in lines
    listed = [line.removeprefix("contracts ") for line in lines]
    for name, address in ADDRESSES.items():
        assert f"{address} ({name})" in listed
    assert "current_0_0_key" in capsys.readouterr().out
