"""Documents of suppliers: what lies about its type, hides something or is too much is refused.

::

    pictures   whole, without metadata; cut off, damaged, bombs, two files in one
    PDFs       in the child: plain; scripts however they are spelled, attachments, encryption, pages
    all        name, declared type and content agree
"""

import io
import re
import subprocess
import sys
import zipfile
import zlib

import pytest
from pypdf import PdfWriter

from market.suppliers.document_checks import CHILD, DocumentChecks
from market.suppliers.document_images import ImageRefused, clean_jpeg, clean_png
from serving.http.errors import ApiError
from tests.support.kyb import PDF, make_chunk, make_jpeg, make_png, make_segment

SECRET = b"made at 1.2903,103.8520"


def test_png__with_metadata__loses_it_and_nothing_else() -> None:
    extra = make_chunk(b"tEXt", b"Comment\0" + SECRET) + make_chunk(b"eXIf", SECRET)

    picture = clean_png(make_png(5, 7, extra=extra))

    assert (picture.width, picture.height) == (5, 7)
    assert picture.data == make_png(5, 7)


def test_jpeg__with_metadata__loses_it_and_nothing_else() -> None:
    adobe = make_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    extra = make_segment(0xE1, b"Exif\0\0" + SECRET) + make_segment(0xFE, SECRET) + adobe

    picture = clean_jpeg(make_jpeg(width=9, height=2, extra=extra))

    assert (picture.width, picture.height) == (9, 2)
    assert picture.data == make_jpeg(width=9, height=2, extra=adobe)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" " + make_png(), "signature"),
        (make_png()[:-1], "cut_off"),
        (make_png()[:-12], "cut_off"),
        (make_png() + b"PK\3\4", "trailing"),
        (make_png().replace(b"IDAT", b"IDAX"), "damaged"),
        (make_png(30_000, 1), "too_large"),
        (make_png(20_000, 20_000, pixels=b""), "too_large"),
        (make_png(4, 3, pixels=bytes(50_000_000)), "too_large"),
        (make_png(4, 3, pixels=b"\0\x80"), "cut_off"),
        (make_png(0, 3, pixels=b""), "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "picture",
)
def test_png__that_is_not_one_bearable_picture__refused(data: bytes, reason: str) -> None:
    with pytest.raises(ImageRefused, match=reason):
        clean_png(data)


def test_png__another_file_behind_the_picture_in_its_data__refused() -> None:
    whole = make_png()
    start = whole.index(b"IDAT") - 4
    hidden = zlib.compress((b"\0" + b"\x80" * 4) * 3) + b"PK\3\4"
    data = whole[:start] + make_chunk(b"IDAT", hidden) + make_chunk(b"IEND", b"")

    with pytest.raises(ImageRefused, match="trailing"):
        clean_png(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_jpeg()[1:], "signature"),
        (make_jpeg()[:-2], "cut_off"),
        (make_jpeg()[:12], "cut_off"),
        (make_jpeg() + b"%PDF-1.4", "trailing"),
        (make_jpeg(width=20_001, height=1), "too_large"),
        (make_jpeg(width=0), "damaged"),
        (b"\xff\xd8\xff\xd9", "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "picture",
)
def test_jpeg__that_is_not_one_bearable_picture__refused(data: bytes, reason: str) -> None:
    with pytest.raises(ImageRefused, match=reason):
        clean_jpeg(data)


@pytest.mark.parametrize(
    "segment",
    [
        make_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + SECRET),
        make_segment(0xEE, SECRET),
        make_segment(0xE0, b"JFIF\0" + SECRET),
        make_segment(0xE2, b"MPF\0" + SECRET),
        make_segment(0xFE, SECRET),
    ],
    ids=["adobe_with_more", "app14", "app0", "app2", "comment"],
)
def test_jpeg__what_an_application_has_put_there__is_gone(segment: bytes) -> None:
    assert clean_jpeg(make_jpeg(extra=segment)).data == make_jpeg()


def test_jpeg__adobes_marker_twice__stays_once() -> None:
    adobe = make_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")

    assert clean_jpeg(make_jpeg(extra=adobe + adobe)).data == make_jpeg(extra=adobe)


@pytest.mark.parametrize(
    "segment",
    [
        make_segment(0xDB, bytes(65)),
        make_segment(0xDB, b"\1" + bytes(64) + b"\x12" + bytes(128)),
        make_segment(0xC4, b"\0" + bytes((2, *[0] * 15)) + b"\1\2"),
        make_segment(0xDD, b"\0\4"),
    ],
    ids=["one_table", "two_tables", "huffman", "restarts"],
)
def test_jpeg__tables_of_a_picture__stay(segment: bytes) -> None:
    assert clean_jpeg(make_jpeg(extra=segment)).data == make_jpeg(extra=segment)


@pytest.mark.parametrize(
    "segment",
    [
        make_segment(0xDB, bytes(65) + SECRET),
        make_segment(0xDB, bytes(65 * 5)),
        make_segment(0xC4, b"\0" + bytes((2, *[0] * 15)) + b"\1\2" + SECRET),
        make_segment(0xC4, SECRET),
        make_segment(0xDD, SECRET),
        make_segment(0xC8, SECRET),
        make_segment(0xF0, SECRET),
        make_segment(0x02, SECRET),
        make_segment(0xCC, SECRET),
        make_segment(0xDD, b"\0\4") * 201,
    ],
    ids=lambda value: value[:4].hex(),
)
def test_jpeg__segment_that_could_hold_another_file__is_refused(segment: bytes) -> None:
    with pytest.raises(ImageRefused, match="damaged"):
        clean_jpeg(make_jpeg(extra=segment))


@pytest.mark.parametrize(
    "extra",
    [
        make_chunk(b"PLTE", SECRET),
        make_chunk(b"PLTE", bytes(3 * 257)),
        make_chunk(b"PLTE", bytes(3)) * 2,
        make_chunk(b"tRNS", bytes(257)),
        make_chunk(b"IEND", SECRET),
    ],
    ids=["palette", "palette_too_long", "palettes", "transparency", "end"],
)
def test_png__piece_that_could_hold_another_file__is_refused(extra: bytes) -> None:
    with pytest.raises(ImageRefused, match="damaged"):
        clean_png(make_png(extra=extra))


def write_zip(comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("run.js", "evil()")
        archive.comment = comment
    return stream.getvalue()


async def check_refused(data: bytes, media_type: str, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        await DocumentChecks(None).check(data, declared=media_type, name=name)
    assert caught.value.code == "document_trailing"


async def test_polyglot__pdf_that_ends_in_an_archives_comment__is_refused() -> None:
    head, mark, tail = PDF.partition(b"trailer")
    data = head + write_zip(mark + tail)
    assert zipfile.is_zipfile(io.BytesIO(data))

    await check_refused(data, "application/pdf", "a.pdf")


async def test_polyglot__picture_whose_own_data_are_an_archive__is_refused() -> None:
    archive = write_zip(b"\xff\xd9").removesuffix(b"\xff\xd9")
    assert b"\xff" not in archive
    data = make_jpeg().removesuffix(b"\xff\xd9") + archive + b"\xff\xd9"
    assert zipfile.is_zipfile(io.BytesIO(data))

    await check_refused(data, "image/jpeg", "a.jpg")


@pytest.mark.parametrize("mark", [b"Rar!\x1a\x07\x01\0", b"7z\xbc\xaf\x27\x1c\0", b"%PDF-1.7"])
async def test_polyglot__picture_with_another_files_head_in_its_data__is_refused(
    mark: bytes,
) -> None:
    data = make_jpeg().removesuffix(b"\xff\xd9") + mark + b"\xff\xd9"

    await check_refused(data, "image/jpeg", "a.jpg")


def put_into(catalog: bytes) -> bytes:
    """Return a document with more in its catalogue."""
    return PDF.replace(b"/Type/Catalog", b"/Type/Catalog" + catalog)


def write_pdf(pages: int, password: str | None = None) -> bytes:
    writer, stream = PdfWriter(), io.BytesIO()
    for _ in range(pages):
        writer.add_blank_page(100, 100)
    if password is not None:
        writer.encrypt(password)
    writer.write(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (PDF, None),
        (put_into(b"/OpenAction[3 0 R /Fit]"), None),
        (put_into(b"/OpenAction<</S/JavaScript/JS(x)>>"), "document_active_content"),
        (put_into(b"/Names<</J#61vaScript 9 0 R>>"), "document_active_content"),
        (put_into(b"/AcroForm<</XFA 9 0 R>>"), "document_active_content"),
        (put_into(b"/Names<</EmbeddedFiles 9 0 R>>"), "document_attachment"),
        (write_pdf(1, password=""), "document_encrypted"),
        (write_pdf(101), "document_pages"),
        (b"%PDF-1.4\n%%EOF", "document_damaged"),
    ],
    ids=[
        "plain",
        "jump",
        "script",
        "spelled",
        "form",
        "attached",
        "encrypted",
        "pages",
        "damaged",
    ],
)
async def test_pdf__looked_at_in_a_process_of_its_own(data: bytes, code: str | None) -> None:
    checks = DocumentChecks(None)
    if code is None:
        assert (await checks.check(data, declared="application/pdf", name="a.pdf")).data == data
        return

    with pytest.raises(ApiError) as caught:
        await checks.check(data, declared="application/pdf", name="a.pdf")

    assert caught.value.code == code


UTF_16 = b"0b00a94751c03902475fdf6137008238"
"""A string of bytes that reads like UTF-16: to decode it takes a module that is loaded late."""


def put_id(data: bytes, value: bytes) -> bytes:
    """Return a document with another identifier in its trailer, just before its encryption."""
    return re.sub(rb"/ID \[ <\w+> <\w+> \]", b"/ID [ <%s> <%s> ]" % (value, value), data)


async def test_pdf__encryption_behind_a_string_in_a_rare_encoding__is_seen() -> None:
    data = put_id(write_pdf(1, password=""), UTF_16)

    with pytest.raises(ApiError) as caught:
        await DocumentChecks(None).check(data, declared="application/pdf", name="a.pdf")

    assert caught.value.code == "document_encrypted"


def test_pdf__something_is_needed_that_was_not_loaded_before__is_refused() -> None:
    unprepared = f"import runpy; child = runpy.run_path({str(CHILD)!r})\n" + (
        "import io, pypdf, sys; data = sys.stdin.buffer.read()\n"
        "pypdf.PdfReader(io.BytesIO(child['SAMPLE'])).pages[0].get_object()\n"
        "child['give_up_powers']()\n"
        "try: print(child['look'](data))\n"
        "except child['DocumentRefused'] as refused: print(refused)\n"
    )
    data = put_id(write_pdf(1, password=""), UTF_16)

    said = subprocess.run(
        [sys.executable, "-I", "-c", unprepared], input=data, capture_output=True, check=True
    )

    assert said.stdout.strip() == b"damaged", said.stderr


@pytest.mark.parametrize(
    ("declared", "name", "data", "code"),
    [
        ("text/html", "a.html", b"<html>", "document_type"),
        ("application/pdf", "a.exe", PDF, "document_name"),
        ("application/pdf", "../../a.pdf", PDF, "document_name"),
        ("application/pdf", "a\u202efdp.pdf", PDF, "document_name"),
        ("image/png", "a.pdf", PDF, "document_name"),
        ("image/png", "a.png", PDF, "document_signature"),
        ("application/pdf", "a.pdf", b"\n" + PDF, "document_signature"),
        ("application/pdf", "a.pdf", PDF + b"\x89PNG", "document_trailing"),
        ("application/pdf", "a.pdf", PDF[:-8], "document_cut_off"),
    ],
    ids=[str(number) for number in range(9)],
)
async def test_document__that_lies_about_its_type__refused(
    declared: str, name: str, data: bytes, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await DocumentChecks(None).check(data, declared=declared, name=name)

    assert caught.value.code == code
