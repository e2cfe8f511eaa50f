"""Which names mean one model. Pure.

Makers and servers write one model's name in many ways: with its maker before a slash, with a date
or a version of the deployment behind, with dots or dashes, as a file with its quantization::

    gpt-4o, openai/gpt-4o, gpt-4o-2024-08-06                               one model
    claude-opus-4.6, us.anthropic.claude-opus-4-6-v1:0                     one model
    llama-3.1-8b-instruct, Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf          one model
    gpt-4o, gpt-4o-mini                                                    two models

What is sold is what answered, as far as anything can tell: an answer that names another model than
the one that was sold is not accepted, and a name that tells nothing (``default``, a file of weights
without a model's name) is no evidence of anything.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

_FILE: Final = re.compile(r"\.(?:gguf|ggml|bin|safetensors|pt|pth|onnx)$")
_CLOUD: Final = re.compile(
    r"^(?:(?:us|eu|ap|apac|jp|au|ca|global|us-gov)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|nvidia|openai"
    r"|qwen|zai)\.(?=[a-z])"
)
_DEPLOYED: Final = re.compile(
    r"(?:-v\d+:\d+|@[\w.-]+|:(?:free|nitro|floor|exacto|latest|default))$"
)
_DATE: Final = re.compile(
    r"[-_](?:20\d\d[-_.]?[01]\d[-_.]?[0-3]\d|[01]\d[-_]20\d\d|[01]\d[-_][0-3]\d|\d{4}|\d{6}|00\d"
    r"|latest)$"
)
_QUANTIZED: Final = re.compile(
    r"[-_.](?:i?q\d+(?:_[a-z0-9]+)*|w\d+a\d+|fp\d+|bf16|f16|int\d+|nf4|awq|gptq|gguf|exl2|mlx"
    r"|\d+bit)(?=$|[-_.])"
)
_CLAUDE: Final = re.compile(r"^claude-(\d+(?:-\d+)?)-(opus|sonnet|haiku)")
_WORDS: Final = re.compile(r"[a-z]+|\d+")
_USUAL: Final = frozenset({"meta", "instruct", "chat", "it", "hf"})
"""Words that open models are written with or without."""


class Named(Enum):
    """What an answer's name says of the model that was sold."""

    SAME = auto()
    OTHER = auto()
    NOTHING = auto()
    """It is no model's name that anybody knows."""


@lru_cache(maxsize=8_192)
def simplify(name: str) -> tuple[str, ...]:
    """Return a model's name as it is compared: its words, without where and when it runs."""
    text = name.strip().lower().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    text = _FILE.sub("", text)
    text = _CLOUD.sub("", text)
    while (shorter := _DATE.sub("", _DEPLOYED.sub("", _QUANTIZED.sub("", text)))) != text:
        text = shorter
    text = re.sub(r"[._\s:]", "-", text)
    text = _CLAUDE.sub(r"claude-\2-\1", text)
    words = _WORDS.findall(text)
    if not words or words[0] == "gpt":
        return tuple(words)
    return tuple(word for word in words if word not in _USUAL)


def find_date(name: str) -> str:
    """Return the digits of the date that a name ends with, empty where it has none."""
    text = _DEPLOYED.sub("", _FILE.sub("", name.strip().lower()))
    deployed = re.search(r"@([\d-]+)$", name.strip())
    found = _DATE.search(text) if deployed is None else deployed
    digits = "" if found is None else re.sub(r"\D", "", found[0])
    return digits if len(digits) >= 4 else ""


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The operator's table of models."""

    families: Sequence[str] = ()
    """Patterns of the names of well-known models, such as ``gpt-*``."""
    aliases: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    """Simplified names by the simplified names that mean the same."""

    def is_same(self, one: str, other: str) -> bool:
        """Tell whether two names mean one model. Two different dates are two different models."""
        if self._find(one) != self._find(other) or self._find(one) == ():
            return False
        dates = find_date(one), find_date(other)
        return "" in dates or dates[0] == dates[1] or len(dates[0]) != len(dates[1])

    def is_of_a_family(self, name: str) -> bool:
        """Tell whether a name is like those of a well-known family of models."""
        text = _FILE.sub("", name.strip().lower().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])
        text = _CLOUD.sub("", text)
        return any(fnmatchcase(text, pattern) for pattern in self.families)

    def judge(self, answered: str, *, sold: str, is_priced: Callable[[str], bool]) -> Named:
        """Return what an answer's own name says of the model that was sold.

        ``is_priced`` tells whether a name has a reference price.
        """
        if self.is_same(answered, sold):
            return Named.SAME
        if self.is_of_a_family(answered) or is_priced(answered):
            return Named.OTHER
        return Named.NOTHING

    def _find(self, name: str) -> tuple[str, ...]:
        words = simplify(name)
        return self.aliases.get(words, words)
