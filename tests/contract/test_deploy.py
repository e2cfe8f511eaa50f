"""``scripts/deploy.py``, run as a person runs it, against anvils of its own.

::

    deploy
    ├── devnet ...................... deploys all, checks, records the first block
    ├── a record is there ........... refuses before sending anything
    ├── two at once ................. do not meet
    ├── keeper or key malformed ..... refuses, and never shows the key
    ├── Base without its contracts .. refuses before sending anything
    └── unknown chain ............... refuses unless --with-mocks
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web3 import Web3

from contracts.bindings import bind_contracts
from contracts.deployment import load_deployment
from scripts.stack.anvil_path import ROOT, anvil_path
from tests.support.waiting import LIMIT_S

APE = Path(sys.executable).with_name("ape")
KEEPER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DEPLOYER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
DEPLOYER_KEY = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
"""anvil's third account."""


@contextmanager
def anvil(*, chain_id: int = 31337) -> Iterator[str]:
    """Run a node of our own and yield its URL."""
    command = [str(anvil_path()), "--port", "0", "--chain-id", str(chain_id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if listening := re.match(r"Listening on (\S+)", line):
                    yield f"http://{listening.group(1)}"
                    return
            raise AssertionError("anvil ended before it listened")
        finally:
            process.terminate()


def start(
    url: str, folder: Path, *arguments: str, keeper: str = KEEPER, **environment: str
) -> subprocess.Popen[str]:
    """Start a deployment."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("DEPLOYER_", "CURRENT_"))}
    return subprocess.Popen(
        [str(APE), "run", "deploy", "--network", url, "--keeper", keeper, *arguments],
        cwd=ROOT,
        env={**own, "CURRENT_DEPLOYMENTS_DIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for it; return exit code and output."""
    output, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, output


def sent(url: str) -> int:
    """Count the blocks, which on a quiet anvil are the transactions."""
    return Web3(Web3.HTTPProvider(url)).eth.block_number


def test_deploy__devnet__deploys_checks_and_records_once(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(DEPLOYER_KEY + "\n")
    with anvil() as url:
        process = start(url, tmp_path, DEPLOYER_PRIVATE_KEY_FILE=str(key_file))
        code, output = finish(process)
        assert code == 0, output
        assert DEPLOYER_KEY[2:] not in output

        path = tmp_path / "31337.json"
        record = json.loads(path.read_text())
        assert (record["deployer"], record["admin"], record["keeper"]) == (
            DEPLOYER,
            DEPLOYER,
            KEEPER,
        )
        deployment = load_deployment(path)
        web3 = Web3(Web3.HTTPProvider(url))
        block = web3.eth.get_block(1)
        assert (deployment.block_number, deployment.block_hash) == (1, block["hash"].to_0x_hex())
        assert record["deployed_at_s"] == block["timestamp"]
        assert len(record["transactions"]) == web3.eth.block_number
        contracts = bind_contracts(web3, deployment)
        assert contracts.position.functions.isSettler(KEEPER).call() is True
        assert contracts.payouts.functions.isPayer(KEEPER).call() is True
        assert contracts.adapter.functions.position().call() == contracts.position.address

        blocks_before = sent(url)
        code, output = finish(start(url, tmp_path))
        assert code != 0
        assert f"Error: {path} exists: remove it to deploy again" in output
        assert "Traceback" not in output
        assert sent(url) == blocks_before
        assert json.loads(path.read_text()) == record


def test_deploy__two_at_once__do_not_meet(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    with anvil() as first, anvil() as second:
        processes = [start(url, f) for url, f in zip((first, second), folders, strict=True)]
        results = [finish(process) for process in processes]
    assert [code for code, _ in results] == [0, 0], results
    assert all(load_deployment(folder / "31337.json") for folder in folders)


@pytest.mark.parametrize(
    ("keeper", "environment", "message"),
    [
        ("0x1234", {}, "--keeper is not an address"),
        (
            KEEPER,
            {"DEPLOYER_PRIVATE_KEY": "secret-but-no-key"},
            "DEPLOYER_PRIVATE_KEY does not hold a private key",
        ),
        (KEEPER, {"DEPLOYER_PRIVATE_KEY_FILE": "/nowhere"}, "cannot be read"),
    ],
)
@pytest.mark.sampled(3)
def test_deploy__malformed__refuses_and_shows_no_key(
    tmp_path: Path, keeper: str, environment: dict[str, str], message: str
) -> None:
    with anvil() as url:
        code, output = finish(start(url, tmp_path, keeper=keeper, **environment))
        assert code != 0
        assert message in output
        assert "secret-but-no-key" not in output
        assert "Traceback" not in output
        assert sent(url) == 0


@pytest.mark.parametrize(
    ("chain_id", "arguments", "message"),
    [
        (8453, [], "no code at usdc, vault, multicall3"),
        (8453, ["--with-mocks"], "--with-mocks is for test chains, this is Base"),
        (84532, [], "no USDC is known on chain 84532"),
        (84532, ["--with-mocks"], "no deployer"),
    ],
)
@pytest.mark.sampled(4)
def test_deploy__other_chain__refuses(
    tmp_path: Path, chain_id: int, arguments: list[str], message: str
) -> None:
    with anvil(chain_id=chain_id) as url:
        code, output = finish(start(url, tmp_path, *arguments))
        assert code != 0
        assert message in output
        assert "Traceback" not in output
        assert sent(url) == 0
