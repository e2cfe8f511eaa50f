"""`current review …` over a ledger with an application, as an operator types it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from ledger.database.engine import read, write
from ledger.suppliers.accounts import load_supplier, lock_supplier, open_supplier, set_kyb_status
from ledger.suppliers.filings import save_submission
from ledger.tables import OutboxMail, table_of
from scripts.cli import commands
from tests.support.kyb import ENTITY, SOURCE
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.market import KMS_LINE, SECRET, write_kms


def test_review_commands__from_the_queue_to_an_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    write_kms(tmp_path, KMS_LINE)
    content = {"entity": ENTITY, "owners": [], "source": SOURCE, "documents": []}
    with write(engine) as connection:
        open_supplier(
            connection,
            supplier_id="su_1",
            change_id="ch_1",
            email="ops@supplier.test",
            password_hash=None,
            now_s=NOW_S,
        )
        lock_supplier(connection, "su_1")
        assert save_submission(connection, "su_1", content, now_s=NOW_S) == 1
        set_kyb_status(connection, "su_1", "under_review", change_id="ch_2", now_s=NOW_S)
    for name, value in {
        "RPC_URL": "http://127.0.0.1:9",
        "LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "DEPLOYMENT_FILE": "unused.json",
        "SECRET": SECRET,
        "KMS": f"file:{tmp_path}/kms",
    }.items():
        monkeypatch.setenv(f"MARKET_{name}", value)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["review", *words], prog_name="current")
        return result.exit_code, result.output

    assert "su_1, version 1, ops@supplier.test" in run("queue")[1]
    assert '"legal_name": "計算 Müller Pte. Ltd."' in run("show", "su_1")[1]
    assert run("approve", "su_1", "2")[0] == 2
    code, said = run("revise", "su_1", "1")
    assert (code, "item" in said) == (2, True)
    item = ("--item", "documents.bank_proof=Not readable.")
    assert run("revise", "su_1", "1", *item)[0] == 0
    assert run("approve", "su_1", "1")[0] == 2, "it waits for another version"
    with write(engine) as connection:
        save_submission(connection, "su_1", content, now_s=NOW_S)
        set_kyb_status(connection, "su_1", "under_review", change_id="ch_3", now_s=NOW_S)
    assert "su_1 is approved now" in run("approve", "su_1", "2", "--note", "called them")[1]
    assert "has the role reviewer now" in run("grant", "New@Reviewer.test", "reviewer")[1]
    assert run("grant", "nobody", "reviewer")[0] == 2

    with read(engine) as connection:
        supplier = load_supplier(connection, "su_1")
        mails = connection.execute(
            select(table_of(OutboxMail).c.template, table_of(OutboxMail).c.to_address)
        ).all()
    engine.dispose()
    assert supplier is not None
    assert (supplier.legal_name, supplier.registration_number) == (
        ENTITY["legal_name"],
        ENTITY["registration_number"],
    )
    assert sorted(tuple(row) for row in mails) == [
        ("kyb_approved", "ops@supplier.test"),
        ("kyb_revision", "ops@supplier.test"),
        ("reviewer_invited", "new@reviewer.test"),
    ]
