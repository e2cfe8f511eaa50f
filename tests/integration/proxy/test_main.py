"""The proxy as a process: ``python -m proxy`` starts, serves, stops; and says why it does not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.stack.ports import free_port
from tests.support.anvil import Anvil
from tests.support.deploy import World, deploy
from tests.support.forking import run_command
from tests.support.proxy import KEY_SECRET
from tests.support.waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Anvil() as anvil:
        yield deploy(anvil)


@pytest.fixture
def environment(world: World, tmp_path: Path) -> dict[str, str]:
    facts: dict[str, Any] = asdict(world.deployment)
    names = ("chain_id", "block_number", "block_hash")
    record = {name: facts.pop(name) for name in names}
    deployment_file = tmp_path / "deployment.json"
    deployment_file.write_text(json.dumps({**record, "contracts": facts}))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PROXY_")}
    return {
        **ours,
        "PROXY_RPC_URL": f"{world.anvil.url}/some-token",
        "PROXY_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "PROXY_DEPLOYMENT_FILE": str(deployment_file),
        "PROXY_KEY_SECRET": KEY_SECRET,
        "PROXY_UPSTREAM_URL": "http://127.0.0.1:9/v1",
        "PROXY_PORT": str(free_port()),
    }


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "proxy"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_process__started__serves_and_stops_on_sigterm(environment: dict[str, str]) -> None:
    process = start(environment)
    try:
        url = f"http://127.0.0.1:{environment['PROXY_PORT']}/api/current"
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            try:
                alive = httpx.get(f"{url}/healthz", timeout=LIMIT_S)
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
        assert alive.status_code == 200
        # Nothing is mirrored yet.
        assert httpx.get(f"{url}/readyz", timeout=LIMIT_S).status_code == 503
        ledger = Path(environment["PROXY_LEDGER_URL"].removeprefix("sqlite:///"))
        for file in ledger.parent.glob(f"{ledger.name}*"):
            assert file.stat().st_mode & 0o077 == 0, f"{file.name} is nobody else's to read"
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 0, output
    records = [json.loads(line) for line in output.splitlines()]
    assert [record["event"] for record in records].count("started") == 1
    assert KEY_SECRET not in output
    assert "some-token" not in output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PROXY_KEY_SECRET": "short"}, "PROXY_KEY_SECRET"),
        ({"PROXY_UPSTREAM_TIMEOUT": "5"}, "PROXY_UPSTREAM_TIMEOUT is not a setting"),
        ({"PROXY_DEPLOYMENT_FILE": "/nowhere.json"}, "no deployment at /nowhere.json"),
        ({"PROXY_PRICES_FILE": "/nowhere.toml"}, "cannot read the prices"),
    ],
)
def test_process__cannot_start__one_clear_record(
    environment: dict[str, str], changes: dict[str, str], said: str
) -> None:
    done = run_command("proxy", environment={**environment, **changes})

    output = done.stdout + done.stderr
    assert done.returncode == 2
    assert said in output
    assert "Traceback" not in output
