"""What the documents lead to is there: pages, headings, files, make targets, commands.

::

    a document
    ├── links: the file is there, and the heading
    ├── paths in code: the file is there, or something matches
    ├── `make …`: a target; and each target is named
    └── `current …`: a command with these options; and each command is named
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from scripts.cli import commands
from scripts.stack.anvil_path import ROOT
from tests.support.documents import Document, find_commands, load_documents

DOCUMENTS = [pytest.param(document, id=document.name) for document in load_documents()]
PATH = re.compile(
    r"(?:\.\./)?(?:bench|contracts|docs|indexer|keeper|ledger|market|proxy|scripts|serving|tests|web)"
    r"/[\w.{},/*-]*"
)
FILE = re.compile(r"[\w-]+\.(?:py|vy|md|toml|lock|cjs|lua|ts|tsx)")
MADE_BY_RUNNING = ("bench/results/",)


SOURCES = ("*.md", "docs/**/*.md", "*/*.py", "*/*/*.py", "*/*/*/*.py", "scripts/*.sh", "Makefile")
OUR_NAME_ELSEWHERE = re.compile(r"pip3? install[^\n]*?[\s'\"]current\b(?!-)")
"""The package of this name on PyPI is a stranger's."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pip install 'current[otel]'", True),
        ("pip install -U current", True),
        (".venv/bin/pip install '.[otel]' in the project's folder", False),
    ],
)
def test_our_name_elsewhere__is_found(text: str, expected: bool) -> None:
    assert (OUR_NAME_ELSEWHERE.search(text) is not None) is expected


def test_texts__nobody_is_told_to_install_the_strangers_package() -> None:
    here = Path(__file__)
    found = [
        str(path.relative_to(ROOT))
        for pattern in SOURCES
        for path in ROOT.glob(pattern)
        if path != here
        and not path.relative_to(ROOT).parts[0].startswith((".", "node_modules"))
        and OUR_NAME_ELSEWHERE.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links__relative__lead_to_a_file_and_a_heading_of_it(document: Document) -> None:
    broken = []
    for link in document.links():
        name, _, anchor = link.partition("#")
        path = (document.path.parent / name).resolve() if name else document.path
        if not path.exists():
            broken.append(link)
        elif anchor and path.suffix == ".md":
            target = Document(path, path.read_text(encoding="utf-8"))
            broken += [] if anchor in target.anchors() else [link]

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code__names_of_files__are_files_of_the_project(document: Document) -> None:
    missing = []
    for code in document.spans():
        if PATH.fullmatch(code) and not code.startswith(MADE_BY_RUNNING):
            where = document.path.parent if code.startswith("../") else ROOT
            found = (where / code).exists() or any(where.glob(code))
            missing += [] if found else [code]
        elif FILE.fullmatch(code):
            missing += [] if any(_find_files(code)) else [code]

    assert missing == []


@cache
def _find_files(name: str) -> tuple[str, ...]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [path for path in (ROOT / name,) if path.exists()]
    for folder in folders:
        if folder.name != "node_modules":
            found += [path for path in folder.rglob(name) if "node_modules" not in path.parts]
    return tuple(map(str, found))


def test_make__targets__are_named_and_those_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", makefile, re.M))
    named = {
        words[0]
        for document in load_documents()
        for words in find_commands(document, "make")
        if words and not words[0].startswith("-")
    }

    assert named - targets == set()
    assert targets - named == set()


def test_current__each_command_line__is_one_that_the_program_takes() -> None:
    wrong = [
        (document.name, f"current {' '.join(words)}", problem)
        for document in load_documents()
        for words in find_commands(document, "current")
        if (problem := _find_problem(words)) is not None
    ]

    assert wrong == []


def test_current__each_command__is_named_in_a_document() -> None:
    named = {path for document in load_documents() for path in _named_commands(document)}

    assert [" ".join(path) for path in _walk(commands) if path not in named] == []


def _named_commands(document: Document) -> Iterator[tuple[str, ...]]:
    for words in find_commands(document, "current"):
        command: click.Command = commands
        path: list[str] = []
        for word in _plain(words):
            if not isinstance(command, click.Group) or word not in command.commands:
                break
            command = command.commands[word]
            path.append(word)
            yield tuple(path)


def _find_problem(words: list[str]) -> str | None:
    """Tell what the program would not take of a command line, None where it takes it."""
    command: click.Command = commands
    for word in _plain(words):
        if word.startswith("-"):
            known = {option for param in command.params for option in param.opts}
            if word not in known | {"--help", "-h"}:
                return f"no option {word}"
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return f"no command {word}"
            command = command.commands[word]
    return None


def _plain(words: list[str]) -> list[str]:
    """Return the words without brackets, values and what stands for something else."""
    return [plain for word in words if (plain := word.strip("[]").split("=")[0]) not in ("", "…")]


def _walk(group: click.Group) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield (name,)
        if isinstance(command, click.Group):
            yield from ((name, *path) for path in _walk(command))
