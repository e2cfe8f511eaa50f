"""Looks at one PDF, in a process of its own: ``python -I pdf_child.py < document``.

It prints a line of JSON: ``{"pages": n}`` or ``{"refused": "…"}``. Before it reads the document it
gives up what a document that takes it over could use: opening files and connections, starting
processes, writing, much memory, much time.
"""

import encodings
import importlib
import io
import json
import os
import pkgutil
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

CPU_S = 10
MEMORY_BYTES = 768 * 1024**2
PAGES_MAX = 100
OBJECTS_MAX = 200_000

ACTIVE = frozenset(
    {
        "/JavaScript",
        "/JS",
        "/Launch",
        "/RichMedia",
        "/XFA",
        "/SubmitForm",
        "/ImportData",
        "/GoToR",
        "/GoToE",
        "/Rendition",
        "/Movie",
        "/Sound",
        "/Screen",
        "/3D",
        "/AA",
    }
)
"""Names of what does something when a document is opened, printed or clicked."""
ATTACHED = frozenset({"/EmbeddedFiles", "/EmbeddedFile", "/EF", "/AF", "/FileAttachment"})
MISSED: list[str] = []
"""Modules that were asked for when no file could be opened any more: reading is not complete."""


class DocumentRefused(Exception):
    """The document is refused, for the reason in the text."""


def give_up_powers() -> None:
    """Give up what reading one document from memory does not need. Cannot be taken back."""
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        # What is open stays open; no file and no connection can be opened any more.
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (value, value))

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn")):
            raise DocumentRefused("active_content")
        if event == "import":
            MISSED.append(str(details[0]))

    sys.addaudithook(refuse)


def load_what_reading_needs() -> None:
    """Import pypdf and every text encoding, while files can still be opened."""
    import pypdf.generic

    for module in pkgutil.iter_modules(encodings.__path__, "encodings."):
        # Those of other systems cannot be imported here, nor asked for.
        with suppress(ImportError):
            importlib.import_module(module.name)
    # What pypdf itself imports late is there after it has read a document.
    pypdf.PdfReader(io.BytesIO(SAMPLE)).pages[0].get_object()


def look(data: bytes) -> int:
    """Return how many pages a document has. Raises ``DocumentRefused``."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise DocumentRefused("encrypted")
        for name, value in walk(reader):
            if name in ATTACHED or value in ATTACHED:
                raise DocumentRefused("attachment")
            if name in ACTIVE or value in ACTIVE:
                raise DocumentRefused("active_content")
        pages = len(reader.pages)
    except (DocumentRefused, MemoryError):
        raise
    except RecursionError:
        raise DocumentRefused("damaged") from None
    except (PyPdfError, Exception):
        raise DocumentRefused("damaged") from None
    if not 1 <= pages <= PAGES_MAX:
        raise DocumentRefused("pages")
    if MISSED:
        # pypdf passes over what it cannot read, and this document may hide something there.
        raise DocumentRefused("damaged")
    return pages


def walk(reader: Any) -> Iterator[tuple[str, str | None]]:
    """Yield each name that a dictionary of the document has, with its value where that is a name.

    Every object is looked at, also what no page leads to; no stream of data is unpacked.
    """
    from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject

    numbers = {(number, gen) for gen, found in reader.xref.items() for number in found}
    numbers |= {(number, 0) for number in reader.xref_objStm}
    waiting: list[Any] = [reader.trailer]
    waiting += [IndirectObject(number, gen, reader) for number, gen in sorted(numbers)]
    seen, count = set(), 0
    while waiting:
        count += 1
        if count > OBJECTS_MAX:
            raise DocumentRefused("too_large")
        value = waiting.pop()
        if isinstance(value, IndirectObject):
            if value.idnum in seen:
                continue
            seen.add(value.idnum)
            value = value.get_object()
        if isinstance(value, DictionaryObject):
            if "/OpenAction" in value and not is_jump(value["/OpenAction"]):
                raise DocumentRefused("active_content")
            for name, inner in value.items():
                yield str(name), str(inner) if isinstance(inner, NameObject) else None
                waiting.append(inner)
        elif isinstance(value, ArrayObject):
            waiting.extend(value)


def is_jump(action: Any) -> bool:
    """Tell whether an action on opening only goes to a page of the document itself."""
    from pypdf.generic import ArrayObject, DictionaryObject

    found = action.get_object()
    if isinstance(found, DictionaryObject):
        return str(found.get("/S")) == "/GoTo" and "/Next" not in found
    return isinstance(found, ArrayObject)


def main() -> None:
    """Look at the document on standard input."""
    data = sys.stdin.buffer.read()
    import logging

    logging.disable(logging.CRITICAL)
    load_what_reading_needs()
    give_up_powers()
    try:
        said: dict[str, Any] = {"pages": look(data)}
    except DocumentRefused as refused:
        said = {"refused": str(refused)}
    except MemoryError:
        said = {"refused": "too_large"}
    os.write(1, json.dumps(said).encode())
    os._exit(0)


SAMPLE = b"""%PDF-1.4
1 0 obj
<</Type/Catalog/Pages 2 0 R>>
endobj
2 0 obj
<</Type/Pages/Kids[3 0 R]/Count 1>>
endobj
3 0 obj
<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>
endobj
trailer
<</Root 1 0 R/Size 4>>
startxref
0
%%EOF
"""
"""A document that pypdf reads before the powers go: what it imports late is there then."""

if __name__ == "__main__":
    main()
