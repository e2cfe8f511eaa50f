"""The outbox of mail: written in the transaction of its cause, sent when that has been committed.

Times are Unix seconds. A mail may be sent twice, where a process dies between the server's "yes"
and its note of it; it is never lost.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from ledger.database.engine import is_postgres
from ledger.database.statements import insert_or_ignore
from ledger.tables import OutboxMail, table_of

_mail = table_of(OutboxMail)

WAITING: Final = _mail.c.state == "waiting"


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be sent. ``template`` names its text, ``facts`` are what the text shows."""

    mail_id: str
    to_address: str
    template: str
    facts: Mapping[str, Any]
    """Plain JSON. Never a token: ``token_purpose`` has one made when the mail is sent."""
    token_purpose: str | None = None
    supplier_id: str | None = None
    once_key: str | None = None
    """Where it is set, at most one mail with it is ever written."""


@dataclass(frozen=True, slots=True)
class DueMail:
    """A mail that one process sends now."""

    mail_id: str
    to_address: str
    template: str
    facts: Mapping[str, Any]
    token_purpose: str | None
    tries: int
    """With this one."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How far the sending of mail has come."""

    waiting: int
    oldest_at_s: int | None
    """When the oldest mail was written that waits; None: none does."""
    failed: int


def enqueue_mail(connection: Connection, mail: NewMail, *, now_s: int) -> bool:
    """Write a mail to be sent after the caller's transaction; tell whether it is the first of its
    ``once_key``."""
    return insert_or_ignore(
        connection,
        _mail,
        {
            "mail_id": mail.mail_id,
            "to_address": mail.to_address,
            "template": mail.template,
            "facts": json.dumps(dict(mail.facts), ensure_ascii=False, sort_keys=True),
            "token_purpose": mail.token_purpose,
            "supplier_id": mail.supplier_id,
            "once_key": mail.once_key,
            "state": "waiting",
            "tries": 0,
            "due_at_s": now_s,
            "created_at_s": now_s,
        },
    )


def claim_mail(connection: Connection, *, claim_s: int, now_s: int) -> DueMail | None:
    """Return a mail that is due, and keep others from it for ``claim_s``; None: none is due."""
    query = (
        select(_mail)
        .where(WAITING, _mail.c.due_at_s <= now_s)
        .order_by(_mail.c.due_at_s, _mail.c.mail_id)
        .limit(1)
    )
    if is_postgres(connection):
        query = query.with_for_update(skip_locked=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    connection.execute(
        update(_mail)
        .where(_mail.c.mail_id == row["mail_id"])
        .values(tries=row["tries"] + 1, due_at_s=now_s + claim_s)
    )
    return DueMail(
        mail_id=row["mail_id"],
        to_address=row["to_address"],
        template=row["template"],
        facts=json.loads(row["facts"]),
        token_purpose=row["token_purpose"],
        tries=int(row["tries"]) + 1,
    )


def note_sent(connection: Connection, mail_id: str, *, now_s: int) -> None:
    """Note that the server has taken a mail."""
    connection.execute(
        update(_mail)
        .where(_mail.c.mail_id == mail_id)
        .values(state="sent", sent_at_s=now_s, error=None)
    )


def note_not_sent(
    connection: Connection, mail_id: str, *, error: str, due_at_s: int | None
) -> None:
    """Note that a mail was not taken; ``due_at_s`` None: it never will be."""
    values: dict[str, Any] = {"error": error}
    if due_at_s is None:
        values["state"] = "failed"
    else:
        values["due_at_s"] = due_at_s
    connection.execute(update(_mail).where(_mail.c.mail_id == mail_id, WAITING).values(values))


def load_outbox_state(connection: Connection) -> OutboxState:
    """Return how many mails wait, since when, and how many never went out."""
    waiting, oldest = connection.execute(
        select(func.count(), func.min(_mail.c.created_at_s)).where(WAITING)
    ).one()
    failed = connection.execute(select(func.count()).where(_mail.c.state == "failed")).scalar_one()
    return OutboxState(int(waiting), None if oldest is None else int(oldest), int(failed))
