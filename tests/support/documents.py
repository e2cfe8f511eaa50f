"""What the documents name: code, links, routes, commands, settings. Pure, but for reading files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from scripts.stack.anvil_path import ROOT

METHODS: Final = "GET|POST|PUT|PATCH|DELETE"
_FENCE: Final = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
_INLINE: Final = re.compile(r"`([^`]+)`")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_ROUTE: Final = re.compile(rf"\b((?:{METHODS})(?:, (?:{METHODS}))*) (/[^\s?#`]*)")
_SETTING: Final = re.compile(r"\b(?:INDEXER|KEEPER|MARKET|PROXY)_[A-Z0-9_]*[A-Z0-9]\b")
_METRIC: Final = re.compile(
    r"\b(current_(?:indexer|keeper|market|proxy)_[a-z_]+)(?:\{([a-z_,=\"]+)\})?"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One Markdown file of the project."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The path below the project's folder."""
        return str(self.path.relative_to(ROOT))

    @property
    def prose(self) -> str:
        """The text without fenced code."""
        return _FENCE.sub("", self.text)

    @property
    def fenced(self) -> str:
        """The fenced code alone."""
        return "\n".join(_FENCE.findall(self.text))

    def spans(self) -> list[str]:
        """Return each inline code, its line breaks taken for spaces."""
        return [" ".join(found.split()) for found in _INLINE.findall(self.prose)]

    def links(self) -> list[str]:
        """Return each link's and picture's target that is not an address."""
        targets = [link or picture for link, picture in _LINK.findall(self.prose)]
        return [target for target in targets if "://" not in target]

    def anchors(self) -> set[str]:
        """Return what ``#…`` may lead to here: the headings, as GitHub writes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.M)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def section(self, heading: str) -> str:
        """Return what stands below a heading, up to the next of its rank.

        Raises ``LookupError`` where there is no such heading.
        """
        match = re.search(rf"^(#+) {re.escape(heading)}$", self.text, re.M)
        if match is None:
            raise LookupError(f"{self.name} has no heading {heading!r}")
        rest = self.text[match.end() :]
        after = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.M)
        return rest if after is None else rest[: after.start()]


@cache
def load_documents() -> tuple[Document, ...]:
    """Return README and every page of ``docs/``; what is past (CHANGELOG) is left out."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return tuple(Document(path, path.read_text(encoding="utf-8")) for path in paths)


def find_document(name: str) -> Document:
    """Return one document by its path below the project's folder."""
    (found,) = (document for document in load_documents() if document.name == name)
    return found


def first_cells(table: str) -> list[str]:
    """Return the inline code in the first cell of each row of the tables in ``table``."""
    rows = re.findall(r"^\| *(.*?) *\|", table, re.M)
    return [code for cell in rows for code in _INLINE.findall(cell)]


def find_routes(document: Document) -> Iterator[tuple[str, str]]:
    """Yield each ``METHOD /path`` that a document names, the path's parameters as ``{}``.

    ``GET, DELETE /path`` stands for both.
    """
    for code in [*document.spans(), document.fenced]:
        for methods, path in _ROUTE.findall(code):
            for method in methods.split(", "):
                yield method, normalize_path(path.rstrip(".,;:)"))


def normalize_path(path: str) -> str:
    """Return a path with ``{}`` for each parameter, whatever it is called."""
    return re.sub(r"\{[^}]*\}|<[^>]*>|0x…|…", "{}", path)


def find_settings(document: Document) -> set[str]:
    """Return each name of a setting that a document names."""
    return set(_SETTING.findall(document.text))


def find_metrics(document: Document) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each metric that a document names, with the labels in its braces."""
    for name, labels in _METRIC.findall(document.text):
        yield name, frozenset(re.findall(r"[a-z_]+(?=[=,]|$)", re.sub(r'="[^"]*"', "", labels)))


def find_commands(document: Document, program: str) -> Iterator[list[str]]:
    """Yield the words after ``program`` in each command line that a document names."""
    line = re.compile(rf"(?:^|&& |; )(?:\$ |\.venv/bin/)?{program} ([^#&|;\n]*)", re.M)
    for code in [*document.spans(), document.fenced]:
        for words in line.findall(code):
            yield words.split()


def expand_range(first: str, last: str) -> list[str]:
    """Return the invariants from ``first`` to ``last``: P1, P3 -> P1, P2, P3."""
    return [f"{first[0]}{n}" for n in range(int(first[1:]), int(last[1:]) + 1)]
