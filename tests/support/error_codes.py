"""Which error codes a part of the code answers with, read from its source.

A code is the first text that an error is built of; where a function builds the error, whoever calls
it, however far away in the market and the server, answers with its code too. Methods of objects are
not followed: a part names the modules of those that it calls.
"""

import ast
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.stack.anvil_path import ROOT

ROOMS: Final = ("market", "serving")
STATUS_FIRST: Final = frozenset({"RequestRejected", "TryLater", "ApiError"})
FIXED: Final = {"bad_request": 400, "unauthorized": 401, "unavailable": 503}
"""Functions whose first argument is the code, and the status that they give it."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code with its status. ``code`` ends in ``*`` where its end is only known at run time."""

    code: str
    status: int


@dataclass(frozen=True, slots=True)
class _Function:
    module: str
    tree: ast.AST


def find_error_codes(*parts: str) -> set[ErrorCode]:
    """Return the codes of packages, modules and functions.

    A part is a path below the repository; ``path:name`` or ``path:Class.name`` is one function.
    """
    return {found for part in parts for found in _find_in_part(part)}


def _find_in_part(part: str) -> Iterator[ErrorCode]:
    place, _, name = part.partition(":")
    for path in _list_files(place):
        tree: ast.AST = _parse(path)
        for step in name.split(".") if name else ():
            assert isinstance(tree, ast.Module | ast.ClassDef)
            tree = next(node for node in tree.body if getattr(node, "name", None) == step)
        yield from _find_in(_name_of(path), tree, frozenset())


def _list_files(place: str) -> list[Path]:
    path = ROOT / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files, place
    return files


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _index() -> dict[tuple[str, str], _Function]:
    """Return all functions of the rooms by module and name."""
    return {
        (_name_of(path), node.name): _Function(_name_of(path), node)
        for room in ROOMS
        for path in _list_files(room)
        for node in _parse(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@functools.cache
def _names_of(module: str) -> dict[str, tuple[str, str]]:
    """Return what a module's names are elsewhere: (module, name)."""
    tree = _parse(ROOT / Path(*module.split(".")).with_suffix(".py"))
    found = {name: (module, name) for (owner, name) in _index() if owner == module}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for one in node.names:
                found[one.asname or one.name] = (node.module, one.name)
    return found


def _find_in(module: str, tree: ast.AST, on_the_way: frozenset[object]) -> Iterator[ErrorCode]:
    names, assigned = _names_of(module), _assigned_in(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call | ast.Name):
            continue
        callee = node.func if isinstance(node, ast.Call) else node
        if not isinstance(callee, ast.Name):
            continue
        if isinstance(node, ast.Call) and callee.id in STATUS_FIRST | FIXED.keys():
            yield from _build(callee.id, node.args, assigned)
            continue
        # A function that is handed over is called too.
        target = names.get(callee.id)
        if target is None or target in on_the_way or target[1] in FIXED:
            continue
        function = _index().get(target)
        if function is not None and function.tree is not tree:
            yield from _codes_of(target)


@functools.cache
def _codes_of(target: tuple[str, str]) -> frozenset[ErrorCode]:
    function = _index()[target]
    return frozenset(_find_in(function.module, function.tree, frozenset({target})))


def _build(
    name: str, arguments: Sequence[ast.expr], assigned: dict[str, ast.expr]
) -> list[ErrorCode]:
    has_status = name in STATUS_FIRST
    if len(arguments) < 1 + has_status:
        return []
    said = arguments[1] if has_status else arguments[0]
    status = arguments[0] if has_status else ast.Constant(FIXED[name])
    if isinstance(said, ast.Name):
        said = assigned.get(said.id, said)
    code = _spell(said)
    if code is None or not isinstance(status, ast.Constant) or not isinstance(status.value, int):
        return []
    return [ErrorCode(code, status.value)]


def _spell(said: ast.expr) -> str | None:
    if isinstance(said, ast.Constant) and isinstance(said.value, str):
        return said.value
    if isinstance(said, ast.JoinedStr):
        head = _spell(said.values[0])
        return None if head is None else f"{head}*"
    return None


def _assigned_in(tree: ast.AST) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
