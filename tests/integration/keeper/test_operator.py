"""What an operator gets from the keeper: dry run and round as data, alarms, report, write-off.

::

    keeper once --dry-run [--json] → a table, or JSON lines; no trace
    keeper once --json → what was sent, with gas
    watch → alarms in the log, vitals over HTTP
    keeper report → figures of events and intents; CSV, SVG
    keeper retry → what is stopped is tried in the next round, by a keeper that runs
    keeper write-off
    ├── nothing is lost → nothing is given up
    ├── without --yes → only said
    └── credit withdrawn after the hold lapsed → what does not fit, in one transaction
"""

import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from contracts.errors import Fatal
from keeper.rounds import RoundOutcome
from keeper.wiring import build_watch
from ledger.database.engine import read, write
from ledger.spending.debts import load_debts, load_written_off, write_off
from ledger.tables import Usage, table_of
from scripts.stack.ports import free_port
from tests.integration.keeper.test_jobs import REVERTS_EXITS, open_hostile
from tests.support.deploy import USDC
from tests.support.forking import run_command
from tests.support.keepers import Stage, write_record
from tests.support.waiting import LIMIT_S

Said = tuple[int, str]


@pytest.fixture
def keeper(stage: Stage, tmp_path: Path) -> Callable[..., Said]:
    """Return a function that runs ``current keeper``: its exit code, and its standard output."""
    settings = {
        "RPC_URL": stage.world.anvil.url,
        "LEDGER_URL": str(stage.engine.url),
        "DEPLOYMENT_FILE": str(write_record(stage.world.deployment, tmp_path)),
        "PRIVATE_KEY": stage.world.accounts["keeper"].key.hex(),
        "SETTLE_MAX_AGE_S": "0",
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KEEPER_")},
        **{f"KEEPER_{name}": value for name, value in settings.items()},
        "COLUMNS": "160",
    }

    def run(*arguments: str) -> Said:
        done = run_command("keeper", *arguments, environment=environment)
        return done.returncode, done.stdout

    return run


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_once__dry_run_as_json__says_what_why_and_for_how_much(
    stage: Stage, keeper: Callable[..., Said]
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)

    code, said = keeper("once", "--dry-run", "--json")

    assert code == 0
    step, round_ = lines_of(said)
    assert step["event"] == "would_send"
    assert (step["job"], step["reason"], step["amount_usdc"]) == ("settle", "age x1", 300_000)
    assert step["token_ids"] == [token_id]
    assert isinstance(step["gas"], int)
    assert isinstance(step["fee_usdc"], int)
    assert step["fee_usdc"] > 0
    assert round_["outcome"] == "acted"
    assert stage.intent_states("settle") == []


def test_once__dry_run__prints_a_table(stage: Stage, keeper: Callable[..., Said]) -> None:
    assert keeper("once", "--dry-run") == (0, "Nothing would be sent: nothing is due.\n")

    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    code, shown = keeper("once", "--dry-run")
    assert code == 0
    assert "settle" in shown
    assert "0.300000" in shown
    assert "passes" in shown


def test_once__json_of_one_job__says_what_was_sent(
    stage: Stage, keeper: Callable[..., Said]
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)

    code, said = keeper("once", "--json", "--job", "sweep")
    assert code == 0
    (round_,) = lines_of(said)
    assert round_["outcome"] == "nothing_due"

    code, said = keeper("once", "--json", "--job", "settle")
    assert code == 0
    step, round_ = lines_of(said)
    assert step["event"] == "sent"
    assert str(step["intent_id"]).startswith("settle:0x")
    assert round_["acted"] == {"settle": 1}


# -------------------------------------------------------------------------------------------- debts


def lose_credit(stage: Stage) -> int:
    """Let usage outlive its hold, and its owner withdraw all credit but 4 USDC; return the token.

    Four requests of 2 USDC each are posted then.
    """
    token_id = stage.open_held()
    stage.want(token_id, required_usdc=9 * USDC)
    stage.tick()
    for number in range(4):
        stage.spend(token_id, 2 * USDC, request_id=f"request-{number}")
    position = stage.world.contracts.position
    # The keeper is away for longer than the hold lives.
    stage.world.anvil.warp(7_300)
    stage.world.send("owner", position.functions.withdrawUnspentYield(token_id))
    stage.world.earn(4 * USDC + 1)
    stage.world.send("outsider", stage.world.contracts.adapter.functions.harvest(token_id))
    stage.sync()
    return token_id


def test_write_off__credit_withdrawn__gives_up_what_does_not_fit_in_one_go(stage: Stage) -> None:
    token_id = lose_credit(stage)
    now_s = stage.world.anvil.now_s()
    payable_usdc = stage.state(token_id).unspent_usdc
    assert 4 * USDC <= payable_usdc < 6 * USDC
    with read(stage.engine) as connection:
        (debt,) = load_debts(connection, now_s=now_s)
    assert (debt.token_id, debt.debt_usdc) == (token_id, 8 * USDC - payable_usdc)

    with write(stage.engine) as connection:
        done = write_off(connection, token_id=token_id, now_s=now_s)
        again = write_off(connection, token_id=token_id, now_s=now_s)

    assert (done.requests, done.amount_usdc) == (2, 4 * USDC)
    assert (again.requests, again.amount_usdc) == (0, 0)
    assert list(stage.usage_states().values()) == ["posted", "posted", "written_off", "written_off"]
    stage.assert_sound()
    with read(stage.engine) as connection:
        assert load_debts(connection, now_s=now_s) == []
        assert load_written_off(connection) == [done]

    # What is left is covered and settled as ever.
    assert stage.tick().acted == {"hold": 1}
    assert stage.tick().acted["settle"] == 1
    assert stage.chain_spent(token_id) == 4 * USDC
    stage.assert_sound()


def test_write_off__usage_that_will_be_paid__stays(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    now_s = stage.world.anvil.now_s()

    with write(stage.engine) as connection:
        assert write_off(connection, token_id=token_id, now_s=now_s).requests == 0
        # After the hold the credit is still there, and a new hold will secure it.
        assert write_off(connection, token_id=token_id, now_s=now_s + 10**6).requests == 0
    assert stage.usage_states() == {"request-1": "posted"}


def test_write_off__without_yes__only_says_it(stage: Stage, keeper: Callable[..., Said]) -> None:
    token_id = lose_credit(stage)

    code, said = keeper("write-off", "--token-id", str(token_id))
    assert code == 0
    assert said.startswith(f"position {token_id}: ")
    assert "USDC of usage that no credit pays; --yes" in said
    assert set(stage.usage_states().values()) == {"posted"}
    code, said = keeper("write-off", "--token-id", str(token_id), "--yes")
    assert (code, said) == (0, f"position {token_id}: 2 requests, 4.000000 USDC given up\n")
    usage = table_of(Usage)
    with read(stage.engine) as connection:
        costs = connection.execute(
            select(usage.c.cost_usdc).where(usage.c.state == "written_off")
        ).scalars()
        assert sum(costs) == 4 * USDC


# -------------------------------------------------------------------------------------------- retry


def test_retry__a_stopped_kind__is_tried_in_the_next_round(
    stage: Stage, keeper: Callable[..., Said]
) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    set_settler = stage.world.contracts.position.functions.setSettler
    address = stage.world.accounts["keeper"].address
    stage.settings["FAILURES_MAX"] = "1"
    stage.world.send("admin", set_settler(address, False))
    stage.sync()
    stage.keeper().tick()
    stage.world.send("admin", set_settler(address, True))
    stage.sync()
    running = stage.keeper()
    assert "stopped" in running.tick().failures[0]

    assert keeper("retry") == (0, "1 rests are over; the next round tries again\n")

    assert running.tick().acted == {"settle": 1}


def test_retry__a_harvest_that_failed__is_tried_in_the_next_round(
    stage: Stage, keeper: Callable[..., Said]
) -> None:
    vault, hostile = open_hostile(stage)
    stage.world.send("admin", vault.functions.misbehave(REVERTS_EXITS))
    stage.world.anvil.warp(1_800)
    stage.sync()
    stage.keeper().tick()
    stage.world.send("admin", vault.functions.misbehave(0))
    stage.sync()
    assert stage.tick().acted == {}, "it rests"

    assert keeper("retry") == (0, "1 rests are over; the next round tries again\n")

    assert stage.tick().acted == {"harvest": 1}
    assert stage.state(hostile).credited_usdc > 0
    assert keeper("retry") == (0, "0 rests are over; the next round tries again\n")


# -------------------------------------------------------------------------------------------- watch


def test_watch__bad_debt_and_a_stopped_kind__are_alarms_in_log_and_metrics(stage: Stage) -> None:
    token_id = lose_credit(stage)
    set_settler = stage.world.contracts.position.functions.setSettler
    stage.world.send("admin", set_settler(stage.world.accounts["keeper"].address, False))
    stage.sync()
    port = free_port()
    stage.settings.update(FAILURES_MAX="1", METRICS_PORT=str(port))
    process = stage.keeper()
    watch = build_watch(stage.keeper_settings(), stage.house(), process, serve=True)
    with pytest.raises(Fatal, match="no metrics on"):
        build_watch(stage.keeper_settings(), stage.house(), process, serve=True)

    with capture_logs() as logs:
        assert watch.run(process.tick).outcome is RoundOutcome.FAILED

    alarms = {str(log["alarm"]): log for log in logs if log["event"] == "alarm"}
    assert set(alarms) == {"bad_debt", "kind_stopped"}
    assert alarms["bad_debt"]["token_ids"] == [token_id]
    assert alarms["kind_stopped"]["kinds"] == ["hold"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT_S) as answer:
        shown = answer.read().decode()
    assert 'current_keeper_alarm{alarm="bad_debt"} 1.0' in shown
    assert 'current_keeper_kind_stopped{kind="hold"} 1.0' in shown
    assert 'current_keeper_rounds_total{outcome="failed"} 1.0' in shown


# ------------------------------------------------------------------------------------------- report


def test_report__a_day_of_work__is_what_the_chain_says(
    stage: Stage, tmp_path: Path, keeper: Callable[..., Said]
) -> None:
    token_id = stage.open_earning()
    stage.tick()
    stage.want(token_id)
    stage.tick()
    stage.spend(token_id, 300_000)
    stage.tick()
    table, plot = tmp_path / "report.csv", tmp_path / "report.svg"

    code, shown = keeper("report", "--since", "1d", "--csv", str(table), "--plot", str(plot))

    assert code == 0
    for kind in ("harvest", "hold", "settle"):
        assert kind in shown
    harvested_usdc = stage.state(token_id).credited_usdc
    line = table.read_text().splitlines()[1].split(",")
    assert line[:3] == [str(token_id), str(harvested_usdc), "300000"]
    assert int(line[4]) == 300_000 - int(line[3])
    assert plot.read_text().startswith("<svg ")
