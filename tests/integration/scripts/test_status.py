"""``current status`` of a real deployment: its figures are the ledger's and the chain's own."""

import io
import json
import time

import pytest
from click.testing import CliRunner
from rich.console import Console

from ledger.database.engine import write
from ledger.tables import table_of
from ledger.tables.keeper import KeeperRest
from scripts.cli import commands
from scripts.doctor.patient import Patient
from scripts.overview.gathering import gather
from scripts.overview.screen import build_screen
from tests.support.deploy import USDC
from tests.support.wards import Ward


def test_gather__a_position_in_use__has_the_figures_of_chain_and_ledger(ward: Ward) -> None:
    stage = ward.stage
    token_id = stage.open_held()
    stage.spend(token_id, 3 * USDC)
    account = stage.world.contracts.position.functions.accountOf(token_id).call()

    with Patient(ward.environment) as patient:
        facts = gather(patient)

    assert facts["positions"]["count"] == 1
    assert facts["positions"]["credited_usdc"] == account[0]
    assert facts["positions"]["held_usdc"] == account[3]
    assert facts["usage"]["posted_usdc"] == facts["positions"]["drawn_usdc"] == 3 * USDC
    assert facts["usage"]["by_state"] == {"posted": 1}
    assert facts["chain"]["head_block"] == stage.world.anvil.head().number
    assert facts["chain"]["lag_blocks"] == 0
    assert facts["keeper"]["balances_wei"]["settler"] > 0


def test_gather__something_wrong__the_alarms_of_the_keeper_stand(ward: Ward) -> None:
    with write(ward.stage.engine) as connection:
        row = {"kind": "settle", "subject": "", "failures": 5, "until_s": int(time.time()) + 600}
        connection.execute(table_of(KeeperRest).insert().values(row))
    ward.environment["KEEPER_BALANCE_WEI_MIN"] = str(10**30)

    with Patient(ward.environment, now=lambda: time.time() + 500) as patient:
        names = {alarm["alarm"] for alarm in gather(patient)["alarms"]}

    assert names == {"balance_low", "kind_stopped", "mirror_stale"}


def test_screen__of_a_deployment__fits_one_screen_and_names_each_part(ward: Ward) -> None:
    with Patient(ward.environment) as patient:
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(build_screen(gather(patient)))
    text = console.export_text()

    for part in ("chain", "positions", "requests", "keeper", "market", "payouts", "servers"):
        assert part in text
    assert "no alarm stands" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("known", [True, False])
def test_command__json__a_line_or_a_sentence(ward: Ward, known: bool) -> None:
    environment: dict[str, str | None] = dict(ward.environment)
    if not known:
        environment = dict.fromkeys(environment)
    shown = CliRunner(mix_stderr=False).invoke(commands, ["status", "--json"], env=environment)

    if known:
        assert shown.exit_code == 0
        assert json.loads(shown.stdout)["alarms"] == []
    else:
        assert shown.exit_code == 2
        assert shown.stderr.startswith("Error: the ledger is not there")
