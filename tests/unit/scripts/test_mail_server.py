"""The devnet's mailbox as a terminal shows it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

from scripts.stack.mail_server import MailFolder, describe_mail, read_mails

MAIL = b"To: a@b.test\r\nSubject: Hello \x1b[31m\r\n\r\nA link:\r\n\r\nhttp://m.test/\x1b[2J\r\n"


def test_mails__kept__are_shown_in_order_without_what_moves_a_cursor(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path)
    for content in (MAIL, MAIL.replace(b"Hello", b"Again")):
        said = asyncio.run(folder.handle_DATA(None, None, SimpleNamespace(content=content)))
        assert said.startswith("250")

    shown = [describe_mail(mail) for mail in read_mails(tmp_path)]

    assert ["Hello" in one for one in shown] == [True, False]
    assert all("http://m.test/" in one and "\x1b" not in one for one in shown)
    assert all("A link:" in one.split("\n") for one in shown)
    assert not list(tmp_path.glob("*.part"))
