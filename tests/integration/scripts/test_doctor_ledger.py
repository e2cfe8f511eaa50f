"""``current doctor``: ledger, host and services with one thing wrong; see ``test_doctor``."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate
from scripts.cli import commands
from scripts.doctor.all_checks import ALL_CHECKS
from scripts.doctor.examination import Level, examine
from scripts.doctor.patient import Patient
from scripts.saving.backups import Backup
from tests.support.ledgers import Databases, put_cursor
from tests.support.pooler import Pooler
from tests.support.wards import MODELS, Ward

# ------------------------------------------------------------------------------------------ ledger


def test_ledger__not_there__told_and_not_made(ward: Ward) -> None:
    ward.use_ledger(f"sqlite:///{ward.folder / 'none.sqlite3'}")

    assert [level for level, _, _ in ward.tell("ledger.reach")] == [Level.BAD]
    assert not (ward.folder / "none.sqlite3").exists()


def test_ledger__database_away__told_once_and_by_one_check(ward: Ward) -> None:
    ward.use_ledger("postgresql+psycopg://user:hush@127.0.0.1:9/ledger")

    found = ward.examine("ledger", "keys", "market")

    told = [one for one in found if "connection" in one.finding.says]
    assert [one.check for one in told] == ["ledger.reach"]
    assert "hush" not in repr(found)


def test_ledger__schema_of_an_older_version__told_and_not_upgraded(ward: Ward) -> None:
    with write(ward.stage.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    assert [level for level, _, _ in ward.tell("ledger.schema")] == [Level.ADVICE]
    assert ward.tell("ledger.mirror") == []


def test_ledger__of_another_deployment__told(ward: Ward) -> None:
    with write(ward.stage.engine) as connection:
        connection.execute(text("UPDATE deployment SET position = '0xother'"))

    assert [level for level, _, _ in ward.tell("ledger.deployment")] == [Level.BAD]


def test_ledger__mirror_stale__told(ward: Ward) -> None:
    ward.now_s = time.time() + 600

    assert [level for level, _, _ in ward.tell("ledger.mirror")] == [Level.BAD]


def test_ledger__clock_behind_the_indexers__told(ward: Ward) -> None:
    ward.now_s = time.time() - 60

    assert [level for level, _, _ in ward.tell("ledger.clock")] == [Level.BAD]


def test_ledger__kind_that_rests_and_debt__told(ward: Ward) -> None:
    with write(ward.stage.engine) as connection:
        connection.execute(
            text(
                "INSERT INTO keeper_rest (kind, subject, failures, until_s)"
                f" VALUES ('settle', '', 5, {int(time.time()) + 600})"
            )
        )

    assert [told for _, told, _ in ward.tell("ledger.late")] == ["settle"]


def test_ledger__postgresql__not_durable_is_told(ward: Ward, postgres: Databases) -> None:
    # The tests' server runs without fsync: a power cut would lose what it answered for.
    engine = postgres.open(postgres.create())
    migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, ward.stage.world.deployment)
        put_cursor(connection, now_s=int(time.time()))
    ward.use_ledger(engine.url.render_as_string(hide_password=False))

    told = {subject for _, subject, _ in ward.tell("ledger.durability")}
    assert told == {"fsync", "full_page_writes"}
    assert ward.tell("ledger.pooler") == []
    assert ward.tell("ledger.clock") == []


def test_ledger__postgresql__host_clock_off__told(ward: Ward, postgres: Databases) -> None:
    engine = postgres.open(postgres.create())
    migrate(engine)
    ward.use_ledger(engine.url.render_as_string(hide_password=False))
    ward.now_s = time.time() + 90

    assert [level for level, _, _ in ward.tell("ledger.clock")] == [Level.BAD]


def test_ledger__pooler_in_transaction_mode__told(ward: Ward, postgres: Databases) -> None:
    url = open_engine(postgres.create()).url
    folder = Path(str(url.query["host"]))
    with Pooler(folder, "transaction") as pooler:
        ward.use_ledger(pooler.url(url.database or ""))

        assert [level for level, _, _ in ward.tell("ledger.pooler")] == [Level.BAD]


# ------------------------------------------------------------------------------- host and services


def test_host__secret_that_others_may_read__told(ward: Ward) -> None:
    ward.write("secret", "99aa88bb77cc66dd" * 4, mode=0o640)

    told = [mend for _, _, mend in ward.tell("host.modes")]
    assert told == [f"chmod 600 {ward.folder / 'secret'}"]


@pytest.mark.parametrize(("age_s", "bad"), [(3_600, False), (100_000, True), (None, True)])
def test_host__backups__old_or_none_is_told(ward: Ward, age_s: int | None, bad: bool) -> None:
    ward.backups = ward.folder / "backups"
    ward.backups.mkdir()
    if age_s is not None:
        path = ward.backups / "current-1"
        path.mkdir()
        (path / "ledger.sqlite3").touch()
        position = ward.stage.world.deployment.position
        facts = ("sqlite", "ledger.sqlite3", "00", 0, "0056", 31337, position, None, 0)
        Backup(path, int(time.time()) - age_s, *facts).save_manifest()

    found = [level for level, _, _ in ward.tell("host.backups")]
    assert (Level.BAD in found) is bad


UPSTREAM: dict[str, tuple[dict[str, tuple[int, Any]], str, Level]] = {
    "key refused": ({"/v1/models": (401, {})}, "upstream.models", Level.BAD),
    "no models": ({"/v1/models": (200, {"data": []})}, "upstream.models", Level.BAD),
    "no list": ({"/v1/models": (200, "hello")}, "upstream.models", Level.BAD),
    "price of one unknown": (
        {"/v1/models": (200, {"data": [*MODELS["data"], {"id": "nobody/knows-this"}]})},
        "upstream.models",
        Level.ADVICE,
    ),
    "price of all unknown": (
        {"/v1/models": (200, {"data": [{"id": "nobody/knows-this"}]})},
        "upstream.models",
        Level.BAD,
    ),
    "credit spent": (
        {"/v1/credits": (200, {"data": {"total_credits": 10, "total_usage": 10.5}})},
        "upstream.credit",
        Level.BAD,
    ),
    "credit at a market spent": (
        {"/v1/buyer/account": (200, {"available_usdc": 0})},
        "upstream.credit",
        Level.BAD,
    ),
    "credit at deepseek low": (
        {"/user/balance": (200, {"balance_infos": [{"currency": "USD", "total_balance": "1.5"}]})},
        "upstream.credit",
        Level.ADVICE,
    ),
    "credit of a key spent": (
        {"/v1/key": (200, {"data": {"limit": 10, "limit_remaining": 0}})},
        "upstream.credit",
        Level.BAD,
    ),
    "credit unknown": ({}, "upstream.credit", Level.UNKNOWN),
}


@pytest.mark.parametrize("fault", UPSTREAM)
def test_upstream__one_fault__told(ward: Ward, fault: str) -> None:
    answers, name, level = UPSTREAM[fault]
    ward.environment["PROXY_UPSTREAM_KEY"] = "key"
    ward.upstream.answers |= answers

    assert [told for told, _, _ in ward.tell(name)] == [level]


def test_mail__server_away__told(ward: Ward) -> None:
    ward.environment["MARKET_SMTP_URL"] = "smtp://127.0.0.1:9"

    assert [level for level, _, _ in ward.tell("mail.server")] == [Level.BAD]


def test_scanner__socket_gone__told(ward: Ward) -> None:
    ward.environment["MARKET_VIRUS_SCANNER"] = f"clamd:{ward.folder / 'clamd.sock'}"

    assert [level for level, _, _ in ward.tell("scanner.answers")] == [Level.BAD]


def test_alarms__prometheus_that_nobody_listens_to__told(ward: Ward) -> None:
    target = {"labels": {"job": "current-keeper", "instance": "k"}, "health": "down"}
    ward.upstream.answers |= {
        "/api/v1/targets": (200, {"data": {"activeTargets": [target]}}),
        "/api/v1/rules": (200, {"data": {"groups": []}}),
        "/api/v1/alertmanagers": (200, {"data": {"activeAlertmanagers": []}}),
    }
    with Patient(ward.environment, prometheus_url=ward.upstream.url) as patient:
        checks = [check for check in ALL_CHECKS if check.name == "alarms.received"]
        told = [one.finding.says for one in examine(patient, checks)]

    assert told == [
        "Prometheus does not reach k",
        "Prometheus has none of our rules",
        "no Alertmanager is connected: rules ring, and nobody hears it",
    ]


# ----------------------------------------------------------------------------------------- command


def test_command__json__a_line_for_each_finding_and_an_exit_code(ward: Ward) -> None:
    environment: dict[str, str | None] = dict(ward.environment)
    run = CliRunner(mix_stderr=False).invoke
    well = run(commands, ["doctor", "--json", "--part", "ledger"], env=environment)
    ill = run(commands, ["doctor", "--json", "--part", "servers"], env=environment)
    none = run(commands, ["doctor"], env=dict.fromkeys(environment))

    assert [json.loads(line)["level"] for line in well.stdout.splitlines()]
    assert (well.exit_code, ill.exit_code, none.exit_code) == (0, 1, 2)
    assert "systemctl start current-proxy" in ill.stdout
