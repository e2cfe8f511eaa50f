"""A server's documentation for programs that read: an index, all of it, each page as Markdown.

::

    /llms.txt            what there is, with a link and a sentence for each page
    /llms-full.txt       all of the pages, one after the other
    /docs/<page>.md      one page, as its author wrote it

The pages are the files of ``docs/``: of the clone, or those that the wheel carries. Where there are
none, the paths answer 404.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from serving.http.errors import RequestRejected

INDEX_PATH: Final = "/llms.txt"
FULL_PATH: Final = "/llms-full.txt"
_INSTALLED: Final = Path(__file__).parents[1] / "docs"
FOLDER: Final = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "docs"
_MARKDOWN: Final = "text/markdown; charset=utf-8"
_HEADING: Final = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TextPage:
    """One page."""

    name: str
    text: str

    @property
    def title(self) -> str:
        """Its heading, or its name without one."""
        found = _HEADING.search(self.text)
        return self.name if found is None else found[1].strip()

    @property
    def summary(self) -> str:
        """The first sentence below its heading, on one line."""
        _, _, rest = self.text.partition("\n\n")
        paragraph = " ".join(rest.partition("\n\n")[0].split())
        return paragraph.partition(". ")[0].rstrip(".")


def load_pages(names: Sequence[str], folder: Path = FOLDER) -> list[TextPage]:
    """Return the pages that there are, in the order of their names here."""
    paths = [(name, folder / f"{name}.md") for name in names]
    return [TextPage(name, path.read_text("utf-8")) for name, path in paths if path.is_file()]


def write_index(title: str, about: str, pages: Sequence[TextPage]) -> str:
    """Return ``/llms.txt``, in the shape that https://llmstxt.org describes."""
    links = [f"- [{page.title}](/docs/{page.name}.md): {page.summary}" for page in pages]
    more = ["- [OpenAPI](/openapi.json): every path, its fields and its errors, with examples"]
    return "\n".join([f"# {title}", "", f"> {about}", "", "## Pages", "", *links, *more, ""])


def build_text_router(title: str, about: str, names: Sequence[str]) -> APIRouter:
    """Return the routes. ``about``: what the server is, in a sentence; ``names``: of its pages."""
    router = APIRouter(include_in_schema=False)
    pages = load_pages(names)
    by_name: Mapping[str, TextPage] = {page.name: page for page in pages}
    index = write_index(title, about, pages)
    full = "\n\n".join(page.text.strip() for page in pages) + "\n"

    @router.get(INDEX_PATH, response_class=PlainTextResponse)
    async def tell_index() -> str:
        _check(pages)
        return index

    @router.get(FULL_PATH, response_class=PlainTextResponse)
    async def tell_all() -> str:
        _check(pages)
        return full

    @router.get("/docs/{name}.md")
    async def tell_page(name: str) -> Response:
        page = by_name.get(name)
        if page is None:
            raise _missing()
        return Response(page.text, media_type=_MARKDOWN)

    return router


def _check(pages: Sequence[TextPage]) -> None:
    if not pages:
        raise _missing()


def _missing() -> RequestRejected:
    return RequestRejected(404, "not_found", "This server has no such page.")
