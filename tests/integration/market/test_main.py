"""The market as a process: ``python -m market`` starts, serves, stops; and says why it does not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.stack.ports import free_port
from tests.support.forking import run_command
from tests.support.ledgers import DEPLOYMENT
from tests.support.market import KMS_LINE, SECRET, bearer, write_kms
from tests.support.waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[3]
WALLET = "0x" + "Ab" * 20


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a market whose node does not answer: it needs none to serve."""
    facts: dict[str, Any] = asdict(DEPLOYMENT)
    record = {name: facts.pop(name) for name in ("chain_id", "block_number", "block_hash")}
    deployment_file = tmp_path / "deployment.json"
    deployment_file.write_text(json.dumps({**record, "contracts": facts}))
    write_kms(tmp_path, KMS_LINE)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MARKET_")}
    return {
        **ours,
        "MARKET_RPC_URL": "http://127.0.0.1:9/some-token",
        "MARKET_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "MARKET_DEPLOYMENT_FILE": str(deployment_file),
        "MARKET_SECRET": SECRET,
        "MARKET_KMS": f"file:{tmp_path}/kms",
        "MARKET_PORT": str(free_port()),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return run_command("market", *arguments, environment=environment)


def test_process__started__serves_the_operators_key_and_stops_on_sigterm(
    environment: dict[str, str], tmp_path: Path
) -> None:
    key = run(environment, "operator-key").stdout.strip().splitlines()[-1]
    for _ in range(2):
        credited = run(environment, "credit", "operator", "12.5", "first")
        assert credited.returncode == 0, credited.stderr
    to_wallet = run(environment, "credit", WALLET, "1", "second")
    assert to_wallet.returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "market"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{environment['MARKET_PORT']}"
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            try:
                ready = httpx.get(f"{url}/readyz", timeout=LIMIT_S)
                if ready.json()["ledger"]:  # else the probe took too long
                    break
            except httpx.TransportError:
                assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert ready.status_code == 200
        account = httpx.get(f"{url}/v1/buyer/account", headers=bearer(key), timeout=LIMIT_S).json()
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LIMIT_S)

    assert (tmp_path / "ledger.sqlite3").stat().st_mode & 0o077 == 0
    assert account["available_usdc"] == 12_500_000
    assert process.returncode == 0, output
    for secret in (SECRET, KMS_LINE.split()[1], key, "some-token"):
        assert secret not in output


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"MARKET_KMS": "file:/nowhere"}, "nowhere"),
        ({"MARKET_SECRET": "short"}, "MARKET_SECRET"),
        ({"MARKET_LEASE_S": "10"}, "MARKET_LEASE_S"),
        ({"MARKET_PUBLIC_URL": "ftp://x"}, "MARKET_PUBLIC_URL"),
        ({"MARKET_TYPO": "1"}, "MARKET_TYPO"),
    ],
)
def test_process__badly_set_up__says_why_and_exits_2(
    environment: dict[str, str], changes: dict[str, str], word: str
) -> None:
    ended = run({**environment, **changes})

    assert ended.returncode == 2
    assert word in ended.stdout + ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_process__port_taken__says_so_and_exits_2(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["MARKET_PORT"]))):
        ended = run(environment)

    assert ended.returncode == 2
    logged, said = ended.stderr.splitlines()
    assert json.loads(logged)["event"] == "stopped"
    assert said.startswith(f"Error: cannot listen on 127.0.0.1:{environment['MARKET_PORT']}: ")
    assert said.endswith("choose another address with MARKET_HOST and MARKET_PORT")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("nonsense", 2, "the ledger's URL must begin with sqlite:/// and a path"),
        ("mysql://user:hush@host/name", 2, "the ledger's URL must begin with sqlite:///"),
        ("sqlite:////nowhere/x", 1, "the ledger: unable to open database file"),
        ("sqlite:///{folder}/kms", 2, "the ledger's file is not an SQLite database"),
        ("postgresql+psycopg://user:hush@127.0.0.1:9/x", 1, "the ledger: connection failed"),
    ],
)
def test_command__wrong_ledger__a_sentence_and_no_password(
    environment: dict[str, str],
    tmp_path: Path,
    url: str,
    code: int,
    words: str,
) -> None:
    write_kms(tmp_path, KMS_LINE, "\n" * 1_000)
    url = url.format(folder=tmp_path)
    ended = run({**environment, "MARKET_LEDGER_URL": url}, "operator-key")

    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"Error: {words}")
    assert "Traceback" not in ended.stderr
    assert "hush" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("what",), "no command 'what'"),
        (("credit", "operator", "1"), "Missing argument 'CREDIT_ID'"),
        (("credit", "operator", "-1", "x"), "No such option: -1"),
        (("credit", "operator", "0.0000001", "x"), "USDC has six decimals"),
        (("credit", "operator", "0", "x"), "credits nothing"),
        (("credit", "nobody", "1", "x"), "Error: no account nobody"),
        (("seller-fee", WALLET, "10001"), "not in the range 0<=x<=10000"),
        (("seller-fee", "0x12", "1"), "not an address"),
        (("seller-fee", WALLET, "1"), "a wallet is one once it has signed in"),
        (("seller-trust", WALLET, "perhaps"), "not one of 'yes', 'no'"),
    ],
)
def test_command__unknown_or_impossible__says_why_and_exits_2(
    environment: dict[str, str], arguments: tuple[str, ...], words: str
) -> None:
    ended = run(environment, *arguments)

    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stdout == ""
