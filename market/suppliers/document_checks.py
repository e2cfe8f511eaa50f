"""Whether an upload is the document that it says it is, and nothing else besides."""

import asyncio
import json
import sys
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from market.suppliers.document_images import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    ImageRefused,
    clean_jpeg,
    clean_png,
)
from market.suppliers.fields import is_line
from market.suppliers.virus_scanner import Scanner
from serving.http.errors import RequestRejected, bad_request, overloaded

PDF: Final = "application/pdf"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
SUFFIXES: Final = {PDF: (".pdf",), PNG: (".png",), JPEG: (".jpg", ".jpeg")}
SIGNATURES: Final = {PDF: b"%PDF-", PNG: PNG_SIGNATURE, JPEG: JPEG_SIGNATURE}
BYTES_MAX: Final = 10 * 1024**2
NAME_MAX: Final = 200
CHILD: Final = Path(__file__).with_name("pdf_child.py")
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_BYTES: Final = 22
_ARCHIVES: Final = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
CHILD_TIMEOUT_S: Final = 30.0
CHILDREN_MAX: Final = 2
CHECKS_WAITING_MAX: Final = 16

REASONS: Final = {
    "type": "its type is not PDF, JPEG or PNG",
    "name": "its name does not end as its type does",
    "signature": "its content is not of its type",
    "trailing": "something follows after its end, or it is another file too",
    "cut_off": "its end is missing",
    "damaged": "it cannot be read",
    "too_large": "it is too large when it is unpacked",
    "encrypted": "it is encrypted: send it without a password",
    "attachment": "it has files attached",
    "active_content": "it has active content: print it to a PDF again",
    "pages": "it has no page, or more than 100",
    "infected": "the virus scanner found something",
}
"""What is told of each refusal."""


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A document that may be kept."""

    data: bytes
    """Of images without their metadata."""
    media_type: str
    name: str
    sha256: str
    """Of what was sent, hex."""
    size_bytes: int

    def __repr__(self) -> str:
        return f"CheckedDocument({self.media_type}, {self.size_bytes} bytes)"


class DocumentChecks:
    """Checks documents, a few at a time."""

    def __init__(self, scanner: Scanner | None) -> None:
        self._scanner = scanner
        self._children = asyncio.Semaphore(CHILDREN_MAX)
        self._open = 0

    async def check(self, data: bytes, *, declared: str, name: str) -> CheckedDocument:
        """Return what may be kept of an upload. Raises 400 ``document_…``, and 503."""
        if self._open >= CHECKS_WAITING_MAX:
            raise overloaded()
        self._open += 1
        try:
            return await self._check(data, declared=declared, name=name)
        finally:
            self._open -= 1

    async def _check(self, data: bytes, *, declared: str, name: str) -> CheckedDocument:
        media_type = declared.partition(";")[0].strip().lower()
        if media_type not in SIGNATURES:
            raise refused("type")
        shown = clean_name(name)
        if not shown.lower().endswith(SUFFIXES[media_type]):
            raise refused("name")
        if not data.startswith(SIGNATURES[media_type]):
            raise refused("signature")
        kept = data
        if media_type == PDF:
            if not data.rstrip(b"\r\n \t").endswith(b"%%EOF"):
                raise refused("cut_off" if b"%%EOF" not in data else "trailing")
            await self._check_pdf(data)
        else:
            clean = clean_png if media_type == PNG else clean_jpeg
            try:
                kept = (await asyncio.to_thread(clean, data)).data
            except ImageRefused as error:
                raise refused(str(error)) from None
        if holds_another_file(kept, media_type):
            raise refused("trailing")
        if self._scanner is not None and not await self._scanner.is_clean(data):
            raise refused("infected")
        digest = await asyncio.to_thread(lambda: sha256(data).hexdigest())
        return CheckedDocument(kept, media_type, shown, digest, len(data))

    async def _check_pdf(self, data: bytes) -> None:
        async with self._children:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(CHILD),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
            )
            try:
                async with asyncio.timeout(CHILD_TIMEOUT_S):
                    said, _ = await child.communicate(data)
            except TimeoutError:
                raise refused("too_large") from None
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        try:
            answer = json.loads(said)
        except ValueError:
            raise refused("damaged") from None  # it ran out of time or memory
        reason = answer.get("refused")
        if reason is not None:
            raise refused(str(reason))


def holds_another_file(data: bytes, media_type: str) -> bool:
    """Tell whether a document is an archive too, or a picture a PDF too. Pure.

    A ZIP is read from its end, and may end in a comment that is the document's own end; RAR and 7z
    are found wherever they begin; readers of PDF look for its head in the first 1,024 bytes.
    """
    at = data.rfind(_ZIP_END, max(0, len(data) - _ZIP_END_BYTES - 0xFFFF))
    while at >= 0:
        comment = int.from_bytes(data[at + 20 : at + _ZIP_END_BYTES], "little")
        if at + _ZIP_END_BYTES + comment == len(data):
            return True
        at = data.rfind(_ZIP_END, max(0, len(data) - _ZIP_END_BYTES - 0xFFFF), at)
    is_archive = any(mark in data for mark in _ARCHIVES)
    return is_archive or (media_type != PDF and SIGNATURES[PDF] in data[:1_024])


def clean_name(name: str) -> str:
    """Return a document's name as lists show it. Raises 400."""
    shown = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(shown) <= NAME_MAX or not is_line(shown) or set(shown) & set('/\\"<>'):
        raise refused("name")
    return shown


def refused(reason: str) -> RequestRejected:
    """400: a document is not taken, and why."""
    why = REASONS.get(reason, REASONS["damaged"])
    code = f"document_{reason if reason in REASONS else 'damaged'}"
    return bad_request(code, f"The document is refused: {why}.", param="document")
