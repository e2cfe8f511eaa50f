"""A mail server on loopback that keeps what it is sent, or refuses it as told."""

import asyncio
import email
import email.policy
import json
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.waiting import until

_LINK: Final = re.compile(r"https?://\S+")


class Mailbox:
    """An SMTP server. An async context manager.

    ``answer`` is what it says to a message: "250 …" takes it. ``refuses_to``: recipients it says
    550 to. ``folder``: each mail is also put there as JSON, for who follows its links elsewhere.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.mails: list[EmailMessage] = []
        self.answer = "250 OK"
        self.refuses_to: set[str] = set()
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()

        def build() -> SMTP:
            self.connections += 1
            return SMTP(self, loop=loop, hostname="mail.test", enable_SMTPUTF8=True)

        self._server = await loop.create_server(build, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def url(self) -> str:
        """Where to send by."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.refuses_to:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        """Keep a message, unless told otherwise."""
        if self.answer.startswith("250"):
            content: Any = envelope.content
            message = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            self.mails.append(message)
            if self.folder is not None:
                self._put(self.folder, message)
        return self.answer

    def _put(self, folder: Path, message: EmailMessage) -> None:
        said = {"to": message["To"], "subject": message["Subject"], "text": text_of(message)}
        draft = folder / "mail.draft"
        draft.write_text(json.dumps(said), encoding="utf-8")
        draft.rename(folder / f"{len(self.mails):04d}.json")

    async def wait_for(self, subject: str, *, to: str | None = None) -> EmailMessage:
        """Return the newest mail with a subject, once it is there."""

        def find() -> EmailMessage | None:
            found = [
                mail
                for mail in self.mails
                if mail["Subject"] == subject and (to is None or mail["To"] == to)
            ]
            return found[-1] if found else None

        found = await until(find, f"a mail {subject!r}")
        assert found is not None
        return found


def text_of(mail: EmailMessage) -> str:
    """Return a mail's plain text."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_of(mail: EmailMessage) -> str:
    """Return the first link of a mail's plain text."""
    match = _LINK.search(text_of(mail))
    assert match is not None, text_of(mail)
    return match[0]
