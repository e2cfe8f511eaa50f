"""Bodies of ``multipart/form-data``, read strictly: what could be read in two ways is refused.

A body is read here and rewritten for a seller, so that a seller sees exactly what was priced.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.policy import HTTP
from typing import Final

from serving.http.errors import bad_request

PARTS_MAX: Final = 50
HEADERS_MAX: Final = 4_096
NAME_MAX: Final = 200
_QUOTED: Final = {'"': "%22", "\r": "%0D", "\n": "%0A"}


@dataclass(frozen=True, slots=True)
class Part:
    """One field. ``filename`` is None where it is no file."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """Read a form. Raises ``RequestRejected`` (400)."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise _bad("the body must be multipart/form-data with a boundary")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise _bad("the boundary is not 1 to 70 ASCII characters")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    pieces = (b"\r\n" + body).split(delimiter, PARTS_MAX + 2)
    if len(pieces) > PARTS_MAX + 2:
        raise _bad(f"there are more than {PARTS_MAX} parts")
    if len(pieces) < 2 or pieces[0] not in (b"", b"\r\n") or pieces[-1] not in (b"--", b"--\r\n"):
        raise _bad("the parts do not begin and end with the boundary")
    return [_parse_part(piece) for piece in pieces[1:-1]]


def _parse_part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n") or len(head) > HEADERS_MAX:
        raise _bad("a part has no headers")
    try:
        headers = HeaderParser(policy=HTTP).parsestr(head[2:].decode("utf-8") + "\r\n\r\n")
    except (UnicodeDecodeError, ValueError, IndexError):
        raise _bad("a part's headers cannot be read") from None
    if headers.defects or headers.get("content-transfer-encoding", "binary") not in (
        "binary",
        "7bit",
        "8bit",
    ):
        raise _bad("a part's headers cannot be read")
    try:
        disposition = headers.get("content-disposition")
        name = headers.get_param("name", header="content-disposition")
        filename = headers.get_param("filename", header="content-disposition")
        kind = headers.get("content-type")
    except (ValueError, IndexError, AttributeError):
        raise _bad("a part's headers cannot be read") from None
    if not str(disposition).lower().startswith("form-data") or not isinstance(name, str):
        raise _bad("a part has no name")
    if len(name) > NAME_MAX or not name.isprintable():
        raise _bad("a part has no name")
    shown = filename if isinstance(filename, str) else None
    return Part(name, content, shown, None if kind is None else str(kind))


def build_form(parts: Sequence[Part]) -> tuple[str, bytes]:
    """Return a form's content type and body. The boundary is not to be guessed from outside."""
    boundary = secrets.token_hex(16)
    chunks = []
    for part in parts:
        head = f'Content-Disposition: form-data; name="{_quote(part.name)}"'
        if part.filename is not None:
            head += f'; filename="{_quote(part.filename)}"'
            head += f"\r\nContent-Type: {part.content_type or 'application/octet-stream'}"
        chunks += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), part.content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(chunks)


def _quote(text: str) -> str:
    printable = "".join(one if one.isprintable() else "_" for one in text[:NAME_MAX])
    return "".join(_QUOTED.get(character, character) for character in printable)


def _bad(what: str) -> Exception:
    return bad_request("invalid_form", f"The form cannot be read: {what}.")
