"""The devnet's mail server: it takes every mail and keeps it in a folder, for `current mail`.

``python -m scripts.stack.mail_server PORT FOLDER``. For a devnet: it delivers nothing anywhere.
"""

import asyncio
import email
import email.policy
import itertools
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

from scripts.stack.run_directory import ROOT as RUNS

HOST: Final = "127.0.0.1"
BYTES_MAX: Final = 1_000_000
SUFFIX: Final = ".eml"
MAILBOX: Final = "mailbox"
"""The folder of the mails, in that of the stack."""


class MailFolder:
    """Writes each mail into a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        """Keep a mail; it is there whole or not at all."""
        # By their names mails are in the order in which they came, also those of one moment.
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}"
        path = self._folder / f"{name}{SUFFIX}"
        part = path.with_suffix(".part")
        part.write_bytes(envelope.content)
        part.rename(path)
        return "250 kept"


async def serve(port: int, folder: Path) -> None:
    """Serve until cancelled."""
    from aiosmtpd.smtp import SMTP

    folder.mkdir(parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    handler = MailFolder(folder)
    server = await loop.create_server(
        lambda: SMTP(handler, data_size_limit=BYTES_MAX, loop=loop, hostname="localhost"),
        HOST,
        port,
    )
    async with server:
        await server.serve_forever()


def find_mailbox(name: str) -> Path:
    """Return the folder of a stack's mails."""
    return RUNS / name / MAILBOX


def read_mails(folder: Path) -> Iterator[EmailMessage]:
    """Yield the mails of a folder, the oldest first."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if isinstance(message, EmailMessage):
            yield message


def describe_mail(mail: EmailMessage) -> str:
    """Return a mail as a terminal shows it."""
    part = mail.get_body(("plain",))
    text = "" if part is None else str(part.get_content()).rstrip()
    heads = [f"{name}: {mail[name]}" for name in ("Date", "To", "Subject")]
    # A mail's lines end as SMTP has them; a question mark behind a link would become a part of it.
    shown = "\n".join((*heads, "", text)).replace("\r\n", "\n")
    # What strangers write may not move the terminal's cursor.
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in shown)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
