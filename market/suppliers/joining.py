"""From an application to an account: apply, confirm the address, choose a password; and choose
another.

No answer tells whether an address is known. Whoever applies or asks for a reset gets the same
answer in the same time; the difference is in the mail.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from ledger.suppliers.accounts import (
    find_supplier,
    load_credentials,
    open_supplier,
    set_password,
)
from ledger.suppliers.applying import (
    drop_tokens,
    find_token,
    note_verified,
    save_application,
    save_token,
    use_token,
)
from ledger.suppliers.callers import end_sessions
from ledger.suppliers.mails import NewMail, enqueue_mail
from market.records.database import Database
from market.suppliers.application_form import Application
from market.suppliers.mailing import UNDO
from market.suppliers.passwords import Passwords, read_new_password
from market.suppliers.supplier_tokens import NewToken, hash_token, is_token, make_token
from market.suppliers.tries import APPLY, APPLY_MAIL, RESET_MAIL, Tries
from serving.http.errors import RequestRejected
from serving.process.ids import new_id

SIGN_UP_S: Final = 3_600
"""How long whoever has confirmed an address may take to choose a password, seconds."""


@dataclass(frozen=True, slots=True)
class Verified:
    """An address that was just confirmed, and the token that lets its owner open the account."""

    email: str
    sign_up: NewToken


class Joining:
    """Opens accounts for those who get their mail."""

    def __init__(self, database: Database, passwords: Passwords, tries: Tries) -> None:
        self._database = database
        self._passwords = passwords
        self._tries = tries

    async def apply(self, application: Application, *, address: str) -> None:
        """Take an application, and write the mail that goes with it. Raises 429 for the address."""
        now_s = self._database.now_s()
        await self._database.write(
            lambda connection: self._tries.take(connection, APPLY, address, now_s=now_s)
        )
        await self._database.write(
            lambda connection: self._apply(connection, application, now_s=now_s)
        )

    def _apply(self, connection: Connection, application: Application, *, now_s: int) -> None:
        email = application.email
        if not self._tries.may(connection, APPLY_MAIL, email, now_s=now_s):
            return
        if find_supplier(connection, email) is not None:
            enqueue_mail(
                connection, NewMail(new_id(), email, "already_registered", {}), now_s=now_s
            )
            return
        save_application(
            connection,
            application_id=new_id(),
            email=email,
            content=json.dumps(application.content, ensure_ascii=False),
            now_s=now_s,
        )
        facts = {"legal_name": application.content["legal_name"]}
        mail = NewMail(new_id(), email, "verify_email", facts, token_purpose="verify")
        enqueue_mail(connection, mail, now_s=now_s)

    async def verify(self, token: str) -> Verified:
        """Use the token of a mail up. Raises 400 for one that is unknown, used or late."""
        now_s, sign_up = self._database.now_s(), make_token()

        def use(connection: Connection) -> str | None:
            email = use_token(connection, hash_token(token), purpose="verify", now_s=now_s)
            if email is not None:
                note_verified(connection, email, now_s=now_s)
                save_token(
                    connection,
                    token_hash=sign_up.token_hash,
                    purpose="sign_up",
                    email=email,
                    lifetime_s=SIGN_UP_S,
                    now_s=now_s,
                )
            return email

        email = await self._database.write(use) if is_token(token) else None
        if email is None:
            raise token_invalid()
        return Verified(email, sign_up)

    async def open_account(self, sign_up_token: str | None, password: Any) -> tuple[str, str]:
        """Open the account of a confirmed address; return its id and the address.

        Raises 400, 401 without the token that confirming gave, 409 where the account is there.
        """
        now_s = self._database.now_s()
        if sign_up_token is None:
            raise not_verified()
        token_hash = hash_token(sign_up_token)
        email = await self._database.read(
            lambda connection: find_token(connection, token_hash, purpose="sign_up", now_s=now_s)
        )
        if email is None:
            raise not_verified()
        password_hash = await self._passwords.hash(read_new_password(password, email=email))
        supplier_id = new_id()

        def open_it(connection: Connection) -> bool:
            if use_token(connection, token_hash, purpose="sign_up", now_s=now_s) != email:
                raise not_verified()
            drop_tokens(connection, email, purpose="verify")
            if find_supplier(connection, email) is not None:
                return False
            open_supplier(
                connection,
                supplier_id=supplier_id,
                change_id=new_id(),
                email=email,
                password_hash=password_hash,
                now_s=now_s,
            )
            return True

        if not await self._database.write(open_it):
            message = "There is an account for this address: sign in, or choose another password."
            raise RequestRejected(409, "account_exists", message)
        return supplier_id, email

    async def ask_for_reset(self, email: str) -> None:
        """Write the mail that lets an account's owner choose another password, if there is one."""
        now_s = self._database.now_s()

        def ask(connection: Connection) -> None:
            if not self._tries.may(connection, RESET_MAIL, email, now_s=now_s):
                return
            if find_supplier(connection, email) is not None:
                mail = NewMail(new_id(), email, "password_reset", {}, token_purpose="reset")
                enqueue_mail(connection, mail, now_s=now_s)

        await self._database.write(ask)

    async def reset(self, token: str, password: Any) -> str:
        """Choose another password by the token of a mail; all sessions end. Return the address.

        One-time codes are asked for as before: the mailbox alone signs nobody in. Raises 400.
        """
        now_s, token_hash = self._database.now_s(), hash_token(token)
        email = None
        if is_token(token):
            email = await self._database.read(
                lambda connection: find_token(connection, token_hash, purpose="reset", now_s=now_s)
            )
        if email is None:
            raise token_invalid()
        password_hash = await self._passwords.hash(read_new_password(password, email=email))

        def change(connection: Connection) -> bool:
            used = use_token(connection, token_hash, purpose="reset", now_s=now_s)
            found = load_credentials(connection, email=email)
            if used is None or found is None:
                return False
            # Sessions first: who writes by one of them holds it, and may wait for the account.
            end_sessions(connection, found.supplier_id)
            set_password(connection, found.supplier_id, password_hash)
            mail = NewMail(
                new_id(),
                email,
                "password_changed",
                {},
                token_purpose=UNDO,
                supplier_id=found.supplier_id,
            )
            enqueue_mail(connection, mail, now_s=now_s)
            return True

        if not await self._database.write(change):
            raise token_invalid()
        return email


def token_invalid() -> RequestRejected:
    """400: the token of a mail is unknown, was used, or is too old."""
    message = "This link was used, is too old, or is not ours. Ask for another mail."
    return RequestRejected(400, "token_invalid", message, "token")


def not_verified() -> RequestRejected:
    """401: no address was confirmed in this browser within the last hour."""
    message = "Confirm the address first, by the link in the mail, in the same browser."
    return RequestRejected(401, "not_verified", message)
