"""Signing in by password and one-time code, and showing either again."""

import asyncio
from typing import Any, Final

import pyotp
from sqlalchemy import Connection

from ledger.suppliers.accounts import (
    Credentials,
    confirm_totp,
    load_credentials,
    set_password,
    set_totp,
    use_totp_step,
)
from ledger.suppliers.callers import (
    SupplierCaller,
    end_sessions,
    load_session_caller,
    note_fresh,
    save_session,
)
from ledger.suppliers.mails import NewMail, enqueue_mail
from market.endpoints.sealing import Sealer
from market.records.database import Database
from market.suppliers.callers import SessionRules, SupplierCallers, not_signed_in
from market.suppliers.known_browsers import KnownBrowsers
from market.suppliers.mailing import UNDO
from market.suppliers.passwords import Passwords, read_new_password, read_password
from market.suppliers.supplier_tokens import NewToken, make_token
from market.suppliers.tries import ACCOUNT, ADDRESS, BROWSER, CODE, PAIR, Tries
from serving.http.errors import RequestRejected, unauthorized, wrong_type
from serving.process.ids import new_id

STEP_S: Final = 30
"""How long a one-time code is shown, seconds; the one before and the one after count too."""
ISSUER: Final = "Current"
USER_AGENT_MAX: Final = 200


class SigningIn:
    """Begins sessions."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        tries: Tries,
        sealer: Sealer,
        callers: SupplierCallers,
        browsers: KnownBrowsers,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._tries = tries
        self._sealer = sealer
        self._callers = callers
        self.browsers = browsers

    @property
    def rules(self) -> SessionRules:
        """How long sessions live."""
        return self._callers.rules

    async def sign_in(
        self,
        email: str,
        password: Any,
        code: Any,
        *,
        address: str,
        user_agent: str,
        browser: str | None = None,
    ) -> tuple[SupplierCaller, NewToken]:
        """Begin a session; return it and its cookie's token. ``browser``: what a known one keeps.

        Raises 401, the same for an unknown address and for a wrong password; 429 and 503.
        """
        said, now_s = read_password(password), self._database.now_s()

        known = self.browsers.recognise(browser, email)

        def count(connection: Connection) -> None:
            if known is not None:
                self._tries.take(connection, BROWSER, email, known, now_s=now_s)
                return
            self._tries.take(connection, ADDRESS, address, now_s=now_s)
            self._tries.take(connection, PAIR, email, address, now_s=now_s)
            self._tries.take(connection, ACCOUNT, email, now_s=now_s)

        await self._database.write(count)
        found = await self._database.read(
            lambda connection: load_credentials(connection, email=email)
        )
        is_it = await self._passwords.verify(None if found is None else found.password_hash, said)
        if found is None or found.password_hash is None or not is_it:
            raise sign_in_failed()
        step = await self._find_step(found, code) if found.has_totp else None
        renewed = None
        if self._passwords.is_outdated(found.password_hash):
            renewed = await self._passwords.hash(said)
        token, session_id = make_token(), new_id()

        def begin(connection: Connection) -> SupplierCaller:
            newest = load_credentials(connection, supplier_id=found.supplier_id)
            if newest is None or newest.password_hash != found.password_hash:
                raise sign_in_failed()  # it was changed meanwhile
            if step is not None and not use_totp_step(connection, found.supplier_id, step):
                raise code_wrong()
            if renewed is not None:
                set_password(connection, found.supplier_id, renewed)
            if known is not None:
                self._tries.forget(connection, BROWSER, email, known)
            self._tries.forget(connection, PAIR, email, address)
            save_session(
                connection,
                session_hash=token.token_hash,
                session_id=session_id,
                supplier_id=found.supplier_id,
                user_agent=clean_user_agent(user_agent),
                expires_at_s=now_s + self.rules.lifetime_s,
                now_s=now_s,
            )
            caller = load_session_caller(
                connection, token.token_hash, idle_s=self.rules.idle_s, now_s=now_s
            )
            assert caller is not None
            return caller

        return await self._database.write(begin), token

    async def confirm(self, caller: SupplierCaller, *, password: Any, code: Any) -> None:
        """Note that the password or a code was shown in the session. Raises 401, 429, 503."""
        await self._check_again(caller, password=password, code=code)
        session_hash = caller.session_hash
        assert session_hash is not None
        now_s = self._database.now_s()
        await self._callers.write_as(
            caller, lambda connection: note_fresh(connection, session_hash, now_s=now_s)
        )

    async def change_password(self, caller: SupplierCaller, *, password: Any, new: Any) -> None:
        """Choose another password; all other sessions end. Raises 400, 401, 429, 503."""
        chosen = read_new_password(new, email=caller.supplier.email, name="new_password")
        await self._check_again(caller, password=password, code=None)
        hashed = await self._passwords.hash(chosen)
        now_s = self._database.now_s()

        def change(connection: Connection) -> None:
            # Sessions first: who writes by one of them holds it, and may wait for the account.
            end_sessions(connection, caller.supplier_id, but=caller.session_id)
            set_password(connection, caller.supplier_id, hashed)
            self._tell(connection, caller, "password_changed", now_s=now_s)

        await self._callers.write_as(caller, change)

    async def begin_codes(self, caller: SupplierCaller) -> tuple[str, str]:
        """Return a new secret for an app of one-time codes, and the same as a URL.

        Codes are asked for once ``confirm_codes`` was shown one. Raises 403, 409, 503.
        """
        self._callers.check_fresh(caller)
        if caller.supplier.has_totp:
            raise RequestRejected(409, "codes_are_on", "One-time codes are on: end them first.")
        secret = pyotp.random_base32()
        sealed = await asyncio.to_thread(
            self._sealer.seal, secret, offer_id=totp_context(caller.supplier_id)
        )
        await self._callers.write_as(
            caller, lambda connection: set_totp(connection, caller.supplier_id, sealed)
        )
        url = pyotp.TOTP(secret, issuer=ISSUER, name=caller.supplier.email).provisioning_uri()
        return secret, url

    async def confirm_codes(self, caller: SupplierCaller, code: Any) -> None:
        """Ask for codes from now on, at the sight of a right one. Raises 401, 409, 429."""
        now_s = self._database.now_s()
        found = await self._load(caller)
        if found.totp is None or found.has_totp:
            raise RequestRejected(409, "codes_not_begun", "Begin by POST /v1/supply/codes.")
        await self._count(caller)
        step = await self._find_step(found, code)

        def confirm(connection: Connection) -> None:
            end_sessions(connection, caller.supplier_id, but=caller.session_id)
            if not use_totp_step(connection, caller.supplier_id, step):
                raise code_wrong()
            confirm_totp(connection, caller.supplier_id, now_s=now_s)
            self._tell(connection, caller, "codes_changed", {"is_on": True}, now_s=now_s)

        await self._callers.write_as(caller, confirm)

    async def end_codes(self, caller: SupplierCaller) -> None:
        """Ask for codes no more. Raises 403 where neither was shown just now."""
        self._callers.check_fresh(caller)
        now_s = self._database.now_s()

        def end(connection: Connection) -> None:
            set_totp(connection, caller.supplier_id, None)
            self._tell(connection, caller, "codes_changed", {"is_on": False}, now_s=now_s)

        await self._callers.write_as(caller, end)

    def _tell(
        self,
        connection: Connection,
        caller: SupplierCaller,
        template: str,
        facts: dict[str, Any] | None = None,
        *,
        now_s: int,
    ) -> None:
        mail = NewMail(
            new_id(),
            caller.supplier.email,
            template,
            facts or {},
            token_purpose=UNDO,
            supplier_id=caller.supplier_id,
        )
        enqueue_mail(connection, mail, now_s=now_s)

    async def _check_again(self, caller: SupplierCaller, *, password: Any, code: Any) -> None:
        """Check the password or, where codes are on and it is given, a code. Raises 401, 429."""
        found = await self._load(caller)
        await self._count(caller)
        if code is not None and found.has_totp:
            step = await self._find_step(found, code)
            if not await self._callers.write_as(
                caller, lambda connection: use_totp_step(connection, caller.supplier_id, step)
            ):
                raise code_wrong()
            return
        if not await self._passwords.verify(found.password_hash, read_password(password)):
            raise password_wrong()

    async def _load(self, caller: SupplierCaller) -> Credentials:
        found = await self._database.read(
            lambda connection: load_credentials(connection, supplier_id=caller.supplier_id)
        )
        if found is None:
            raise not_signed_in()
        return found

    async def _count(self, caller: SupplierCaller) -> None:
        now_s = self._database.now_s()
        await self._database.write(
            lambda connection: self._tries.take(connection, CODE, caller.supplier_id, now_s=now_s)
        )

    async def _find_step(self, found: Credentials, code: Any) -> int:
        """Return the interval that a code belongs to. Raises 401."""
        if code is None:
            raise code_needed()
        if not isinstance(code, str) or not code.isascii() or len(code.strip()) != 6:
            raise wrong_type("code", "the six digits of a one-time code, as text")
        assert found.totp is not None
        secret = await asyncio.to_thread(
            self._sealer.open, found.totp, offer_id=totp_context(found.supplier_id)
        )
        step = find_code_step(secret, code.strip(), now_s=self._database.now_s())
        if step is None:
            raise code_wrong()
        return step


def find_code_step(secret: str, code: str, *, now_s: int) -> int | None:
    """Return the interval whose code this is: the present one or a neighbour; None: of neither."""
    totp, step = pyotp.TOTP(secret), now_s // STEP_S
    found = [
        one
        for one in (step - 1, step, step + 1)
        if pyotp.utils.strings_equal(code, totp.generate_otp(one))
    ]
    return found[-1] if found else None


def totp_context(supplier_id: str) -> str:
    """Return what a secret of codes is sealed for."""
    return f"codes {supplier_id}"


def clean_user_agent(text: str) -> str:
    """Return what a browser calls itself, as a list can show it."""
    return "".join(c if c.isprintable() else "?" for c in text[:USER_AGENT_MAX])


def sign_in_failed() -> RequestRejected:
    """401: no account has this address and this password."""
    return unauthorized("sign_in_failed", "The address or the password is wrong.")


def password_wrong() -> RequestRejected:
    """401: this is not the account's password."""
    return unauthorized("password_wrong", "The password is wrong.")


def code_needed() -> RequestRejected:
    """401: the password is right, and a one-time code is needed too."""
    return unauthorized("code_needed", "Send the one-time code of your app too, as 'code'.")


def code_wrong() -> RequestRejected:
    """401: the one-time code is wrong, or was used."""
    return unauthorized("code_wrong", "The one-time code is wrong, or was used.")
