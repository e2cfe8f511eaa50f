"""The keeper as a process: exit codes, the lock, the dry run, and a clean stop.

::

    keeper once
    ├── nothing due, all done, or gas too dear → 0
    ├── mirror stale, node away → 1
    ├── settings, key, deployment or chain wrong → 2
    └── another keeper at work → 3
    keeper
    ├── another keeper at work → stands by, and takes over
    └── SIGTERM → finishes its round, 0
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from eth_typing import HexStr

from keeper.lock import hold_lock
from tests.support.forking import run_command
from tests.support.keepers import Stage, write_record
from tests.support.waiting import LIMIT_S


@pytest.fixture
def environment(stage: Stage, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("KEEPER_")},
        "HOME": str(tmp_path),
        "KEEPER_RPC_URL": stage.world.anvil.url + "/?key=token-in-a-url",
        "KEEPER_LEDGER_URL": str(stage.engine.url),
        "KEEPER_DEPLOYMENT_FILE": str(write_record(stage.world.deployment, tmp_path)),
        "KEEPER_PRIVATE_KEY": stage.world.accounts["keeper"].key.hex(),
        "KEEPER_ETHER_PRICE_USDC": "0",
        "KEEPER_POLL_INTERVAL_S": "0.05",
    }


def run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the keeper to its end; return its exit code and what it said."""
    done = run_command("keeper", *arguments, environment=environment)
    # Cron mails whatever a job says there.
    assert done.stdout == "" or "would" in done.stdout
    return done.returncode, done.stderr


def test_once__due__acts_and_shows_no_secret(stage: Stage, environment: dict[str, str]) -> None:
    token_id = stage.open_earning()

    code, said = run(environment, "once")

    assert code == 0, said
    assert '"acted":{"harvest":1}' in said
    assert "token-in-a-url" not in said
    assert environment["KEEPER_PRIVATE_KEY"].removeprefix("0x") not in said
    stage.sync()
    assert stage.state(token_id).credited_usdc > 0


def test_once__nothing_due__exit_0(stage: Stage, environment: dict[str, str]) -> None:
    stage.world.open_position()
    stage.sync()

    assert run(environment, "once")[0] == 0


def test_once__gas_too_dear__exit_0_and_says_so(stage: Stage, environment: dict[str, str]) -> None:
    stage.open_earning()
    bounds = {f"KEEPER_{name}": "0" for name in ("TIP_WEI", "TIP_WEI_MAX")}

    code, said = run({**environment, **bounds, "KEEPER_FEE_WEI_MAX": "1"}, "once")

    assert code == 0, said
    assert "gas is over 1 wei" in said


def test_once__encrypted_keyfile__acts_and_shows_no_secret(
    stage: Stage, environment: dict[str, str], tmp_path: Path
) -> None:
    stage.open_earning()
    key = environment.pop("KEEPER_PRIVATE_KEY")
    keyfile, password = tmp_path / "key.json", tmp_path / "password"
    keyfile.write_text(json.dumps(Account.encrypt(HexStr(key), "correct horse", iterations=2)))
    password.write_text("correct horse\n")
    environment["KEEPER_KEYFILE"] = str(keyfile)
    environment["KEEPER_KEYFILE_PASSWORD_FILE"] = str(password)

    code, said = run(environment, "once")

    assert code == 0, said
    assert '"acted":{"harvest":1}' in said
    assert "correct horse" not in said
    assert key.removeprefix("0x") not in said


def test_once__without_a_key__only_says_what_it_would_do(
    stage: Stage, environment: dict[str, str]
) -> None:
    stage.open_earning()
    del environment["KEEPER_PRIVATE_KEY"]

    code, said = run(environment, "once")

    assert code == 0, said
    assert '"event":"would_send"' in said
    assert stage.intents() == []


def test_once__dry_run__sends_nothing(stage: Stage, environment: dict[str, str]) -> None:
    stage.open_earning()

    code, said = run(environment, "once", "--dry-run")

    assert code == 0, said
    assert '"simulated":true' in said
    assert stage.intents() == []


def test_once__mirror_stale__exit_1(stage: Stage, environment: dict[str, str]) -> None:
    stage.open_earning()
    stage.world.anvil.reorg(1)

    assert run(environment, "once")[0] == 1


def test_once__node_away__exit_1(environment: dict[str, str]) -> None:
    code, said = run({**environment, "KEEPER_RPC_URL": "http://127.0.0.1:9"}, "once")

    assert code == 1
    assert "ConnectionRefused" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"KEEPER_POLL": "1"},
        {"KEEPER_PRIVATE_KEY": "0x00"},
        {"KEEPER_DEPLOYMENT_FILE": "/nowhere/31337.json"},
        {"KEEPER_PRIVATE_KEY": None, "KEEPER_KMS_KEY_ID": "alias/settler"},
        {
            "KEEPER_PRIVATE_KEY": None,
            "KEEPER_KEYFILE": "/nowhere/key.json",
            "KEEPER_KEYFILE_PASSWORD": "correct horse",
        },
        {"KEEPER_KMS_KEY_ID": "alias/settler"},
    ],
)
def test_once__misconfigured__exit_2(
    environment: dict[str, str], changes: dict[str, str | None]
) -> None:
    changed = {**environment, **changes}
    # As on a machine without it, whether or not it is installed here.
    (Path(environment["HOME"]) / "boto3.py").write_text("raise ImportError")
    changed["PYTHONPATH"] = environment["HOME"]

    code, said = run({k: v for k, v in changed.items() if v is not None}, "once")

    assert code == 2, said
    assert "correct horse" not in said
    assert "Traceback" not in said


def test_once__another_keeper_at_work__exit_3(stage: Stage, environment: dict[str, str]) -> None:
    with hold_lock(stage.engine):
        assert run(environment, "once")[0] == 3


def test_daemon__another_keeper_at_work__stands_by_and_takes_over(
    stage: Stage, environment: dict[str, str]
) -> None:
    process: subprocess.Popen[str] | None = None
    with hold_lock(stage.engine):
        process = subprocess.Popen(
            [sys.executable, "-m", "keeper"], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        stands_by = any('"event":"standing_by"' in line for line in process.stderr)
    try:
        assert stands_by
        assert any('"event":"leading"' in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=LIMIT_S)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, rest


def test_daemon__sigterm__stops_cleanly_with_its_work_done(
    stage: Stage, environment: dict[str, str]
) -> None:
    stage.open_earning()
    process = subprocess.Popen(
        [sys.executable, "-m", "keeper"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if '"event":"intent_mined"' in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=LIMIT_S)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, rest
    assert stage.intent_states("harvest") == ["mined"]
