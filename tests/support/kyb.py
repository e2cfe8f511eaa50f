"""What a supplier files, and pictures and documents that are whole, lie or hide something."""

import struct
import zlib
from typing import Any, Final

import httpx

from market.suppliers.pdf_child import SAMPLE
from tests.support.suppliers import Browser

PDF: Final = SAMPLE
ID_NUMBER: Final = "K 123-45.67 x"
ENTITY: Final[dict[str, Any]] = {
    "legal_name": "計算 Müller Pte. Ltd.",
    "jurisdiction": "SG",
    "registration_number": "201912345K",
    "incorporated_on": "2019-04-01",
    "address": "1 Raffles Place\nSingapore",
}
OWNER: Final[dict[str, Any]] = {
    "legal_name": "Ana Müller",
    "nationality": "DE",
    "id_type": "passport",
    "id_number": ID_NUMBER,
    "role": "representative_and_owner",
    "share_pct": "60",
}
SOURCE: Final[dict[str, Any]] = {
    "source_of_compute": "enterprise_contract",
    "providers": ["OpenAI"],
    "legal_basis": "Clause 4.2 of our contract permits to resell.",
    "contract_holder": "計算 Müller Pte. Ltd.",
    "no_personal_accounts": True,
}
KINDS: Final = ("business_license", "bank_proof", "tax_clearance")


async def send_document(
    browser: Browser,
    data: bytes = PDF,
    *,
    kind: str = "business_license",
    name: str = "license.pdf",
    media_type: str = "application/pdf",
) -> httpx.Response:
    """Send a document as a page does."""
    path = f"/v1/supply/kyb/documents?kind={kind}&name={name}"
    return await browser.ask("POST", path, content=data, headers={"content-type": media_type})


async def file_everything(browser: Browser) -> int:
    """Fill in all four sections and submit them; return the submission's number."""
    wish = {
        "entity": {"content": ENTITY},
        "owners": {"content": [OWNER]},
        "source": {"content": SOURCE},
    }
    saved = await browser.put("/v1/supply/kyb", wish)
    assert saved.status_code == 200, saved.text
    for kind in KINDS:
        sent = await send_document(browser, kind=kind)
        assert sent.status_code == 201, sent.text
    submitted = await browser.post("/v1/supply/kyb/submit")
    assert submitted.status_code == 201, submitted.text
    return int(submitted.json()["version"])


def make_png(
    width: int = 4, height: int = 3, *, extra: bytes = b"", pixels: bytes | None = None
) -> bytes:
    """Return a grey picture; ``extra`` are whole chunks before the data."""
    rows = (b"\0" + b"\x80" * width) * height if pixels is None else pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            make_chunk(b"IHDR", header),
            extra,
            make_chunk(b"IDAT", zlib.compress(rows)),
            make_chunk(b"IEND", b""),
        )
    )


def make_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def make_jpeg(*, width: int = 4, height: int = 3, extra: bytes = b"") -> bytes:
    """Return a JPEG whose picture nobody decodes; ``extra`` are whole segments."""
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    scan = bytes((1, 1, 0, 0, 63, 0))
    return b"".join(
        (
            b"\xff\xd8",
            extra,
            make_segment(0xC0, frame),
            make_segment(0xDA, scan),
            b"\x12\xff\x00\x34\xff\xd0\x56",
            b"\xff\xd9",
        )
    )


def make_segment(marker: int, body: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
