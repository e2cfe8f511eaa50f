"""Archived usage on a real chain: the audit is clean, and the chain alone proves receipts."""

import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from contracts.units import SECONDS_PER_DAY
from ledger.audit import find_stranded_batches
from ledger.database.engine import read
from ledger.spending.archive_files import ArchiveFolder, encode
from ledger.spending.archiving import ArchiveReport, archive_usage
from scripts.audit import audit
from scripts.cli import commands
from tests.support.keepers import SYNC_RULES, Stage
from tests.support.mirroring import make_environment


def verify(stage: Stage, folder: Path, request_id: str) -> Result:
    """Verify a receipt from files, with a node and no ledger."""
    record = make_environment(stage.world, folder.parent)["INDEXER_DEPLOYMENT_FILE"]
    words = ["receipt", "verify", request_id, "--archive", str(folder)]
    chain = ["--rpc-url", stage.world.anvil.url, "--deployment-file", record]
    return CliRunner(mix_stderr=False).invoke(commands, [*words, *chain])


def test_archive__settled_on_chain__audit_is_clean_and_the_chain_proves_it(
    stage: Stage, tmp_path: Path
) -> None:
    folder, now_s = tmp_path / "archive", int(time.time()) + 40 * SECONDS_PER_DAY
    token_id = stage.open_held()
    for number in range(5):
        stage.spend(token_id, 1_000 + number, request_id=f"request-{number}")
    assert stage.tick().acted == {"settle": 1}
    times: dict[str, Any] = {"before_s": now_s - 39 * SECONDS_PER_DAY, "now_s": now_s}
    # A reorganisation may still take the settlement back.
    assert archive_usage(stage.engine, ArchiveFolder(folder), **times) == ArchiveReport()
    stage.world.anvil.mine(SYNC_RULES.window_blocks + 1)
    stage.sync()
    stage.spend(token_id, 7, request_id="open")

    done = archive_usage(stage.engine, ArchiveFolder(folder), **times)

    assert done == ArchiveReport(1, 5, 0, 5_010)
    assert "request-3" not in stage.usage_states()
    with read(stage.engine) as connection:
        assert find_stranded_batches(connection) == []
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
    valid = verify(stage, folder, "request-3")
    assert (valid.exit_code, valid.stdout[:17]) == (0, "valid: settled in")
    unknown = verify(stage, folder, "open")
    assert (unknown.exit_code, "has no request open" in unknown.stderr) == (1, True)
    assert stage.tick().acted == {"settle": 1}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_verify__from_a_forged_file__is_invalid(stage: Stage, tmp_path: Path) -> None:
    """A forger makes the checksum and the root fit: the chain has another one."""
    folder, now_s = tmp_path / "archive", int(time.time()) + 40 * SECONDS_PER_DAY
    token_id = stage.open_held()
    stage.spend(token_id, 1_000)
    stage.tick()
    stage.world.anvil.mine(SYNC_RULES.window_blocks + 1)
    stage.sync()
    archive_usage(
        stage.engine,
        ArchiveFolder(folder),
        before_s=now_s - 39 * SECONDS_PER_DAY,
        now_s=now_s,
    )
    (name,) = ArchiveFolder(folder).list_names()
    forged = ArchiveFolder(folder).load(name)
    forged.rows[0]["cost_usdc"] = 1  # type: ignore[index]
    (folder / name).write_bytes(encode(forged))

    ended = verify(stage, folder, "request-1")

    assert (ended.exit_code, "the proof does not lead to the root" in ended.stderr) == (1, True)
