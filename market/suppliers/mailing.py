"""Sending what waits in the outbox, by SMTP."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog
from sqlalchemy import Connection

from ledger.suppliers.applying import save_token
from ledger.suppliers.mails import DueMail, claim_mail, note_not_sent, note_sent
from market.records.database import Database
from market.suppliers.mail_texts import render_mail
from market.suppliers.supplier_tokens import make_token

log = structlog.get_logger("market")

CLAIM_S: Final = 300
"""For how long a process that sends a mail keeps the others from it, seconds."""
TIMEOUT_S: Final = 30.0
BACK_OFF_S: Final = 30
BACK_OFF_MAX_S: Final = 3_600
TRIES_MAX: Final = 130
"""With an hour between them: about five days, as mail servers do."""
BATCH: Final = 100
TOKEN_LIVES_S: Final = {"verify": 48 * 3_600, "reset": 3_600}
"""How long the token of a mail may be used from the sending on, by its purpose, seconds."""
INVITATION_S: Final = 48 * 3_600
UNDO_MIN_S: Final = 3_600
"""How long a change can be undone at least, however soon a payout address counts, seconds."""
UNDO: Final = "undo"
"""The purpose of the token that stops what was changed, see ``market.suppliers.undoing``."""


@dataclass(frozen=True, slots=True)
class MailRules:
    """Where mail goes out and who it is from."""

    smtp_url: str
    """``smtp://…`` or ``smtps://…``; empty: mail waits."""
    sender: str
    public_url: str
    undo_s: int = 48 * 3_600
    """How long a change can be undone by the mail that tells of it, seconds."""

    def __repr__(self) -> str:
        return f"MailRules({self.sender})"


class Mailer:
    """Sends the outbox's mail, one after the other."""

    def __init__(self, database: Database, rules: MailRules) -> None:
        self._database = database
        self._rules = rules
        self.sent = 0
        self.refused = 0

    @property
    def is_on(self) -> bool:
        """Whether there is a server to send by."""
        return bool(self._rules.smtp_url)

    async def send_due(self) -> int:
        """Send what is due, at most ``BATCH`` mails; return how many were taken."""
        if not self.is_on:
            return 0
        taken = 0
        for _ in range(BATCH):
            due = await self._claim()
            if due is None:
                break
            mail, token = due
            error, is_final = await self._send(mail, token)
            if error is None:
                taken += 1
            await self._note(mail, error, is_final=is_final)
            if error is not None and not is_final:
                break  # the server is away: the others wait for the next look
        return taken

    async def _claim(self) -> tuple[DueMail, str | None] | None:
        now_s, token = self._database.now_s(), make_token()

        def claim(connection: Connection) -> DueMail | None:
            mail = claim_mail(connection, claim_s=CLAIM_S, now_s=now_s)
            if mail is not None and mail.token_purpose is not None:
                lives_s = {**TOKEN_LIVES_S, UNDO: self._rules.undo_s}
                lifetime_s = lives_s[mail.token_purpose]
                if mail.template == "reviewer_invited":
                    lifetime_s = INVITATION_S
                save_token(
                    connection,
                    token_hash=token.token_hash,
                    purpose=mail.token_purpose,
                    email=mail.to_address,
                    lifetime_s=lifetime_s,
                    now_s=now_s,
                )
            return mail

        mail = await self._database.write(claim)
        if mail is None:
            return None
        return mail, None if mail.token_purpose is None else token.text

    async def _send(self, mail: DueMail, token: str | None) -> tuple[str | None, bool]:
        """Send one; return why it was not taken, and whether it never will be."""
        message = self._write(mail, token)
        try:
            async with asyncio.timeout(TIMEOUT_S), open_smtp(self._rules.smtp_url) as client:
                await client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            return f"recipient_{codes[0]}", all(500 <= code < 600 for code in codes)
        except aiosmtplib.SMTPResponseException as error:
            # A server that wants another password is not the recipient's "no".
            is_final = 500 <= error.code < 600 and not isinstance(
                error, aiosmtplib.SMTPAuthenticationError
            )
            return f"answer_{error.code}", is_final
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return type(error).__name__, False
        return None, True

    def _write(self, mail: DueMail, token: str | None) -> EmailMessage:
        rendered = render_mail(
            mail.template, mail.facts, public_url=self._rules.public_url, token=token
        )
        message = EmailMessage()
        message["From"] = self._rules.sender
        message["To"] = mail.to_address
        message["Subject"] = rendered.subject
        message["Date"] = format_datetime(datetime.fromtimestamp(self._database.now_s(), UTC))
        # The same for each try: a mail program shows a mail that came twice once.
        domain = self._rules.sender.rpartition("@")[2].strip("> ")
        message["Message-ID"] = f"<{mail.mail_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(rendered.text)
        message.add_alternative(rendered.html, subtype="html")
        return message

    async def _note(self, mail: DueMail, error: str | None, *, is_final: bool) -> None:
        now_s = self._database.now_s()
        note: Callable[[Connection], None]
        if error is None:
            self.sent += 1
            log.info("mail_sent", mail_id=mail.mail_id, template=mail.template, tries=mail.tries)

            def note(connection: Connection) -> None:
                note_sent(connection, mail.mail_id, now_s=now_s)

        else:
            self.refused += 1
            is_lost = is_final or mail.tries >= TRIES_MAX
            due_at_s = None if is_lost else now_s + back_off_s(mail.tries)
            log.warning(
                "mail_lost" if is_lost else "mail_not_sent",
                mail_id=mail.mail_id,
                template=mail.template,
                tries=mail.tries,
                error=error,
            )

            def note(connection: Connection) -> None:
                note_not_sent(connection, mail.mail_id, error=error, due_at_s=due_at_s)

        await self._database.persist(note)


def back_off_s(tries: int) -> int:
    """Return how long a mail waits after this many tries, seconds."""
    return min(BACK_OFF_S << min(tries - 1, 20), BACK_OFF_MAX_S)


def open_smtp(url: str) -> aiosmtplib.SMTP:
    """Return a client for ``smtp://[user:password@]host[:port]``, or ``smtps://…``.

    ``smtp`` goes over to TLS where the server offers it, and must where there is a password.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "smtps"
    has_password = parts.username is not None
    return aiosmtplib.SMTP(
        hostname=parts.hostname,
        port=parts.port or (465 if is_tls else 587 if has_password else 25),
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        use_tls=is_tls,
        start_tls=True if has_password and not is_tls else None,
        timeout=TIMEOUT_S,
    )
