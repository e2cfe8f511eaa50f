"""Evidence from the market's door to the chain and back: whoever saved it can prove it.

::

    the day's answer names root, batch and transaction once it is on chain
    current evidence verify
    ├── asked of the market, or of a saved file: valid, also for a transcript of the day
    ├── a changed wealth, a removed entry, another day, a strange transcript: invalid, exit 1
    └── before the root is there: invalid
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ledger.database.engine import read
from ledger.selling.evidence import load_day
from scripts.cli import commands
from tests.support.evidence import keep, make_evidence
from tests.support.keepers import Stage, write_record
from tests.support.market import RunningMarket, make_settings, run_market

DAY = 20_000
ON = (date(1970, 1, 1) + timedelta(DAY)).isoformat()


@pytest.fixture
async def market(stage: Stage, tmp_path: Path) -> AsyncIterator[RunningMarket]:
    stage.owe(("p", "0x00000000000000000000000000000000000000b1", 1))
    names = ("e1", "e2", "e3")
    keep(stage.engine, *(make_evidence(name, offer_id="offer-p", day=DAY) for name in names))
    async with run_market(make_settings(tmp_path), stage.engine) as running:
        yield running


async def verify(stage: Stage, tmp_path: Path, *words: str) -> Result:
    record = write_record(stage.world.deployment, tmp_path)
    chain = ("--rpc-url", stage.world.anvil.url, "--deployment-file", str(record))
    runner = CliRunner(mix_stderr=False)
    return await asyncio.to_thread(
        runner.invoke, commands, ["evidence", "verify", *words, *chain], catch_exceptions=False
    )


async def test_verify__a_day_from_the_market__against_the_chain_alone(
    stage: Stage, market: RunningMarket, tmp_path: Path
) -> None:
    url = str(market.client.base_url).rstrip("/")
    early = await verify(stage, tmp_path, ON, "--url", url)
    assert (early.exit_code, early.stderr) == (1, f"invalid: the chain has no root of {ON}\n")

    await asyncio.to_thread(stage.tick)
    told: dict[str, Any] = (await market.client.get(f"/v1/evidence/{ON}")).json()
    assert told["is_over"] is True
    assert told["published"]["root"] == told["root"]
    tx_hash = told["published"]["tx_hash"]
    assert tx_hash in {intent.tx_hash for intent in stage.intents()}

    asked = await verify(stage, tmp_path, ON, "--url", url)
    assert asked.exit_code == 0
    assert asked.stdout.endswith(f"valid: the day's root is in {tx_hash}\n")

    with read(stage.engine) as connection:
        transcript = load_day(connection, DAY)[1].transcript
    saved, words = tmp_path / "day.json", tmp_path / "transcript.txt"
    words.write_text(transcript + "\n", encoding="utf-8")
    # Nothing but the entries and the date counts: the rest may be missing.
    saved.write_text(json.dumps({"date": ON, "entries": told["entries"]}), encoding="utf-8")
    file = ("--file", str(saved))
    proven = await verify(stage, tmp_path, *file, "--transcript", str(words))
    assert proven.exit_code == 0
    assert "the transcript is of border on offer-p" in proven.stdout

    by_hash = (*file, "--transcript-hash", told["entries"][2]["transcript_hash"])
    assert (await verify(stage, tmp_path, *by_hash)).exit_code == 0
    words.write_text("something else", encoding="utf-8")
    strange = await verify(stage, tmp_path, *file, "--transcript", str(words))
    assert (strange.exit_code, strange.stderr) == (
        1,
        "invalid: no evidence of the day has this transcript\n",
    )

    changed = {**told["entries"][0], "peak_milli": 4_000_000}
    for view in (
        {"date": ON, "entries": [changed, *told["entries"][1:]]},
        {"date": ON, "entries": told["entries"][1:]},
        {"date": ON, "entries": told["entries"][::-1]},
    ):
        saved.write_text(json.dumps(view), encoding="utf-8")
        refused = await verify(stage, tmp_path, *file)
        assert refused.exit_code == 1
        assert "another root" in refused.stderr
    for view in (
        {"date": "2024-10-05", "entries": told["entries"]},
        {"date": ON, "entries": []},
        {"date": ON, "entries": [{**changed, "looks": -1}]},
        {"date": 5, "entries": [changed]},
        {"date": ON, "entries": ["nothing"]},
    ):
        saved.write_text(json.dumps(view), encoding="utf-8")
        refused = await verify(stage, tmp_path, *file)
        assert (refused.exit_code, refused.stderr.startswith("invalid: ")) == (1, True), view
