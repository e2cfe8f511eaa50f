"""Names of models that a stranger may give: which characters, and which look like others. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

NAME_LENGTH_MAX: Final = 200
NAME_RULE: Final = "a model's name: letters, digits and . _ : / @ + - only, at most 200"

_NAME: Final = re.compile(rf"[A-Za-z0-9._:/@+-]{{1,{NAME_LENGTH_MAX}}}")
_ALIKE: Final = str.maketrans({"0": "o", "1": "l", "i": "l", "_": "-", ".": "-"})
"""Characters of a name in lower case that look like another one: a capital I is an l to the eye."""


def is_model_name(text: str) -> bool:
    """Tell whether a text may name a model: it stands in headers, paths, pages and terminals."""
    return _NAME.fullmatch(text) is not None


def fold(name: str) -> str:
    """Return what a reader sees of a name: the same for all names that look alike."""
    seen = name.lower().translate(_ALIKE)
    return seen.replace("rn", "m").replace("vv", "w")


def index_looks(names: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the names by what a reader sees of them."""
    looks: dict[str, set[str]] = {}
    for name in names:
        looks.setdefault(fold(name), set()).add(name)
    return {look: frozenset(alike) for look, alike in looks.items()}


def find_look_alike(name: str, looks: Mapping[str, frozenset[str]]) -> str | None:
    """Return the known name that ``name`` only looks like; None for a known or a distinct name.

    A dot for a dash, as in versions, is another spelling of a known name. Of several known names
    the first in the alphabet is returned.
    """
    alike = looks.get(fold(name))
    if not alike or _spell(name) in map(_spell, alike):
        return None
    return min(alike)


def _spell(name: str) -> str:
    return name.replace(".", "-")
