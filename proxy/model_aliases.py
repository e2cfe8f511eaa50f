"""Names that clients ask for, and the models that the operator means by them. Pure.

Coding agents offer only models whose names they know; an alias lets them ask for another model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from serving.models.names import is_model_name

_PATTERN: Final = re.compile(r"[A-Za-z0-9._:/@+*-]{1,200}")


@dataclass(frozen=True, slots=True)
class ModelAliases:
    """The operator's aliases. A name that is listed comes before a pattern that fits it."""

    names: Mapping[str, str] = field(default_factory=dict)
    patterns: tuple[tuple[str, str], ...] = ()

    def resolve(self, name: str) -> str:
        """Return the model that a name means; the name itself where it is no alias."""
        if not self.names and not self.patterns:
            return name
        known = self.names.get(name)
        if known is not None:
            return known
        return next((to for pattern, to in self.patterns if fnmatchcase(name, pattern)), name)


def parse_aliases(text: str) -> ModelAliases:
    """Return the aliases of ``name=model`` pairs, separated by white space or commas.

    A ``*`` in a name stands for any text. Raises ``ValueError``.
    """
    names: dict[str, str] = {}
    patterns: list[tuple[str, str]] = []
    for pair in text.replace(",", " ").split():
        name, equals, model = pair.partition("=")
        if not equals or _PATTERN.fullmatch(name) is None or not is_model_name(model):
            raise ValueError(f"not an alias such as claude-sonnet-4-5=deepseek-chat: {pair!r}")
        if "*" in name:
            patterns.append((name, model))
        elif name in names:
            raise ValueError(f"the alias {name!r} is there twice")
        else:
            names[name] = model
    aliases = ModelAliases(names, tuple(patterns))
    for model in (*names.values(), *(to for _, to in patterns)):
        # Only the first step is taken: a chain would end where nobody meant it to.
        if aliases.resolve(model) != model:
            raise ValueError(f"{model!r}, the model of an alias, is an alias itself")
    return aliases
