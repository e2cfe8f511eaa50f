"""What an operator does with suppliers at the command line."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from contracts.errors import Fatal
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.suppliers.accounts import load_supplier, lock_supplier, set_totp
from ledger.suppliers.callers import end_sessions
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.reviews import load_queue, note_audit
from ledger.tables import KYB_STATUSES
from market.suppliers.emails import read_email
from market.suppliers.kyb_shown import load_reviewed
from market.suppliers.mailing import UNDO
from market.suppliers.reviewing import (
    COMMAND_LINE,
    ReviewRules,
    decide,
    grant,
    read_decision,
)
from serving.http.errors import ApiError
from serving.process.ids import new_id

QUEUE_SHOWN_MAX = 1_000


class ReviewRefused(Fatal):
    """The decision is not possible, or an argument names nothing that is there."""


def list_queue(engine: Engine, status: str) -> list[str]:
    """Return a line for each supplier of a status. Raises ``ReviewRefused``."""
    if status not in KYB_STATUSES:
        raise ReviewRefused(f"no status {status!r}: {', '.join(KYB_STATUSES)}")
    with read(engine) as connection:
        rows = load_queue(connection, status, after=None, limit=QUEUE_SHOWN_MAX)
    return [
        f"{row['supplier_id']}, version {row['kyb_version']}, {row['email']}, {status} since"
        f" {datetime.fromtimestamp(row['kyb_changed_at_s'], UTC):%Y-%m-%d %H:%M} UTC"
        for row in rows
    ]


def show_application(engine: Engine, supplier_id: str) -> str:
    """Return an application as JSON, and write the look down. Raises ``ReviewRefused``."""
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        supplier = load_supplier(connection, supplier_id)
        if supplier is None or supplier.kyb_version == 0:
            raise ReviewRefused(f"no application of {supplier_id!r}")
        note_audit(
            connection,
            entry_id=new_id(),
            actor=COMMAND_LINE,
            action="look",
            subject=f"version {supplier.kyb_version}",
            supplier_id=supplier_id,
            now_s=now_s,
        )
        shown = load_reviewed(connection, supplier)
        return json.dumps(shown, indent=2, ensure_ascii=False)


def decide_at_command_line(
    engine: Engine,
    rules: ReviewRules,
    supplier_id: str,
    version: int,
    word: str,
    items: Sequence[tuple[str, str]],
    note: str,
) -> str:
    """Decide on a version; say what became of the supplier. Raises ``ReviewRefused``."""
    now_s = ask_now_s(engine)
    body = {
        "version": version,
        "decision": word,
        "items": [{"requirement": name, "text": text} for name, text in items],
        "note": note or None,
    }

    def act(connection: Connection) -> str:
        decision = read_decision(supplier_id, body)
        stands = decide(connection, decision, reviewer=COMMAND_LINE, rules=rules, now_s=now_s)
        return f"supplier {supplier_id} is {stands.kyb_status} now (version {version})"

    try:
        with write(engine) as connection:
            return act(connection)
    except ApiError as error:
        raise ReviewRefused(str(error)) from None


def grant_role(engine: Engine, email: str, role: str) -> str:
    """Give an address a role; say so. Raises ``ReviewRefused`` for what is no address."""
    now_s = ask_now_s(engine)
    try:
        address = read_email(email)
    except ApiError as error:
        raise ReviewRefused(str(error)) from None
    with write(engine) as connection:
        supplier_id = grant(connection, email=address, role=role, actor=COMMAND_LINE, now_s=now_s)
    return f"account {supplier_id} has the role {role} now"


def take_codes_off(engine: Engine, supplier_id: str) -> str:
    """Have an account ask for one-time codes no more, end its sessions, tell it by mail, and write
    it down; say so. For an owner whom a thief's codes shut out: from now on the password and the
    mailbox alone open the account. Raises ``ReviewRefused`` where no codes are asked for.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        # Sessions first: who writes by one of them holds it, and may wait for the account.
        end_sessions(connection, supplier_id)
        supplier = lock_supplier(connection, supplier_id)
        if supplier is None or not supplier.has_totp:
            raise ReviewRefused(f"no account {supplier_id!r} that asks for one-time codes")
        set_totp(connection, supplier_id, None)
        note_audit(
            connection,
            entry_id=new_id(),
            actor=COMMAND_LINE,
            action="codes_off",
            subject="one-time codes",
            supplier_id=supplier_id,
            now_s=now_s,
        )
        mail = NewMail(
            new_id(),
            supplier.email,
            "codes_changed",
            {"is_on": False},
            token_purpose=UNDO,
            supplier_id=supplier_id,
        )
        enqueue_mail(connection, mail, now_s=now_s)
    return f"account {supplier_id} asks for no one-time codes now: its owner has a mail of it"
