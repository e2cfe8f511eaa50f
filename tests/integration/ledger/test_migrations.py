"""What migrations make of rows that are there."""

import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

import ledger
from ledger.database.engine import read, write
from ledger.database.schema import migrate
from tests.support.ledgers import Databases

MIGRATIONS = Path(ledger.__file__).parent / "migrations"
ACCOUNT = (
    "INSERT INTO market_account (account_id, kind, credited_usdc, spent_usdc, reserved_usdc,"
    " created_at_s) VALUES ('ac_1', 'prepaid', 0, 0, 0, 1)"
)
PROVIDER = (
    "INSERT INTO market_provider (provider_id, account_id, label, base_url, models, position,"
    " status, version, created_at_s, changed_at_s)"
    " VALUES ('pr_1', 'ac_1', 'mine', 'https://p.test', '{}', 'priority', 'active', 3, 1, 2)"
)
PROVIDER_KEY = (
    "INSERT INTO market_provider_key (provider_id, ciphertext, wrapped_key, kms_key_id)"
    " VALUES ('pr_1', :sealed, :wrapped, 'kms_1')"
)
PAYMENT = (
    "INSERT INTO market_payment (payment_id, account_id, payer, payee, value_usdc, valid_after_s,"
    " valid_before_s, nonce, signature, purpose, request_digest, state, failures, look_at_s,"
    " from_block, is_final, credited_usdc, created_at_s, updated_at_s)"
    " VALUES ('pm_1', 'ac_1', '0xa', '0xb', 50000, 0, 9, '0xc', '0xd', 'topup', 'e', 'verified',"
    " 0, 5, 7, false, 0, 1, 1)"
)

KEPT = (
    "INSERT INTO kept_answer (lookup_id, body_digest, request_id, token_id, state, sealed,"
    " sealed_bytes, expires_at_s) VALUES ('lo_1', 'd', 'rq_1', 7, 'kept', :sealed, 2, 99)"
)
KEPT_OF_ACCOUNT = (
    "INSERT INTO kept_answer (lookup_id, body_digest, request_id, owner, state, sealed_bytes,"
    " expires_at_s) VALUES ('lo_2', 'd', 'rq_2', 'account ac_1', 'open', 0, 99)"
)

CHILD_KEY = (
    "INSERT INTO child_key (key_id, token_id, key_epoch, label, created_at_s, revoked_at_s,"
    " generation, grace_until_s, used_usdc, day, day_used_usdc, month_used_usdc, minute,"
    " minute_requests, open_requests)"
    " VALUES (:key_id, 7, 0, '', 1, :revoked_at_s, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
)
WEBHOOK = (
    "INSERT INTO webhook (webhook_id, token_id, url, events, low_usdc, secret,"
    " secret_before_until_s, seen, next_number, busy_until_s, created_at_s)"
    " VALUES ('w', 7, 'https://h.test', '[]', 0, '', 0, :seen, 0, 0, 1)"
)


def move_to(engine: Engine, revision: str) -> None:
    """Bring a database to a revision, older or newer."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with write(engine) as connection:
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision() or ""
        move = command.upgrade if current < revision else command.downgrade
        move(config, revision)


def newest() -> str:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return str(ScriptDirectory.from_config(config).get_current_head())


@pytest.fixture
def at_0013(databases: Databases) -> Engine:
    engine = databases.open(databases.create())
    move_to(engine, "0013")
    with write(engine) as connection:
        for statement in (ACCOUNT, PROVIDER, PAYMENT):
            connection.execute(text(statement))
        connection.execute(text(PROVIDER_KEY), {"sealed": b"\x01\x02", "wrapped": b"\x03"})
        connection.execute(text(KEPT), {"sealed": b"\x01\x02"})
    return engine


def test_migrate__tables_get_other_names__their_rows_stay(at_0013: Engine) -> None:
    assert migrate(at_0013) == newest()

    with read(at_0013) as connection:
        provider = connection.execute(
            text(
                "SELECT label, version, ciphertext FROM market_own_provider"
                " JOIN market_own_provider_key USING (provider_id)"
            )
        ).one()
        payment = connection.execute(
            text("SELECT payment_id, value_usdc, state, look_at_s, is_final FROM x402_payment")
        ).one()
    assert tuple(provider) == ("mine", 3, b"\x01\x02")
    assert tuple(payment) == ("pm_1", 50_000, "verified", 5, False)


def test_migrate__back_from_the_other_names__the_rows_are_there(at_0013: Engine) -> None:
    move_to(at_0013, "0014")
    move_to(at_0013, "0013")

    with read(at_0013) as connection:
        payments = connection.execute(text("SELECT payment_id FROM market_payment")).scalars().all()
        keys = connection.execute(text("SELECT kms_key_id FROM market_provider_key")).scalars()
        assert (payments, list(keys)) == (["pm_1"], ["kms_1"])


def test_migrate__kept_answers__are_those_of_their_positions_there_and_back(
    at_0013: Engine,
) -> None:
    assert migrate(at_0013) == newest()
    with write(at_0013) as connection:
        kept = text("SELECT request_id, owner, sealed, expires_at_s FROM kept_answer")
        assert [tuple(row) for row in connection.execute(kept)] == [
            ("rq_1", "position 7", b"\x01\x02", 99)
        ]
        connection.execute(text(KEPT_OF_ACCOUNT))

    move_to(at_0013, "0014")

    with read(at_0013) as connection:
        # An account has no position: what the market kept is forgotten.
        kept = text("SELECT request_id, token_id, sealed FROM kept_answer")
        assert [tuple(row) for row in connection.execute(kept)] == [("rq_1", 7, b"\x01\x02")]


def test_migrate__webhooks__know_their_epoch_and_whom_they_were_told_of(
    databases: Databases,
) -> None:
    engine = databases.open(databases.create())
    move_to(engine, "0059")
    with write(engine) as connection:
        for key_id, revoked_at_s in (("b", 50), ("c", 50), ("a", 60), ("z", None)):
            values = {"key_id": key_id, "revoked_at_s": revoked_at_s}
            connection.execute(text(CHILD_KEY), values)
        seen = '{"credited_usdc": 1, "key_epoch": 0, "children_revoked": 1}'
        connection.execute(text(WEBHOOK), {"seen": seen})

    move_to(engine, "0061")
    with read(engine) as connection:
        after = json.loads(connection.execute(text("SELECT seen FROM webhook")).scalar_one())
    assert (after["revoked_since_s"], after["children_revoked"]) == (49, ["b"])

    move_to(engine, "0059")
    with read(engine) as connection:
        before = connection.execute(text("SELECT seen FROM webhook")).scalar_one()
    assert json.loads(before) == json.loads(seen)
