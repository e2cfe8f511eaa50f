"""Which names mean one model. Pure.

Makers and servers write one model's name in many ways: with its maker before a slash, a dot or a
dash, with a date or a version of the deployment behind, with dots, dashes or nothing between a
version's digits, as a file with its quantization::

    gpt-4o, openai/gpt-4o, gpt-4o-2024-08-06                               one model
    claude-opus-4.6, claude-opus-46, us.anthropic.claude-opus-4-6-v1:0     one model
    llama-3.3-70b, llama-v3p3-70b-instruct, Llama-3.3-70B-Instruct-Turbo   one model
    gemini-flash-latest, answered by gemini-2.5-flash                      one of its family
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
    r"(?:(?:ai21|amazon|anthropic|cohere|google|meta|minimax|mistral|moonshot(?:ai)?|nvidia|openai"
    r"|qwen|zai)\.(?=[a-z])|(?=deepseek\.))"
)
"""A cloud's region and the maker. Bedrock's ``deepseek.r1`` is no whole name without its maker."""
_MAKER: Final = re.compile(
    r"^(?:alibaba|anthropic|cohere|databricks|deepseek(?:-ai)?|google|meta-llama|minimax(?:ai)?|mistral(?:ai)?"
    r"|moonshot(?:ai)?|nvidia|openai|qwen|x-?ai|z-?ai(?:-org)?)-"
    r"(?=chatgpt|claude|codestral|command|deepseek|devstral|gemini|gemma|glm|gpt|grok|kimi|llama"
    r"|magistral|meta-llama|minimax|ministral|mistral|mixtral|nemotron|o[134](?:-|$)|pixtral|qwen"
    r"|qwq|text-embedding)"
)
"""A maker and a dash, before what is a model's whole name."""
_DEPLOYED: Final = re.compile(
    r"(?:-v?\d+:\d+|@[\w.-]+|:(?:free|nitro|floor|exacto|extended|beta|latest|default)|-maas"
    r"|[-:]cloud)$"
)
_DATE: Final = re.compile(
    r"[-_](?:20\d\d[-_.]?[01]\d[-_.]?[0-3]\d|[01]\d[-_]20\d\d|[01]\d[-_][0-3]\d|\d{4}|\d{6}"
    r"|(?<!embedding[-_])00\d|latest)$"
)
_LATEST: Final = re.compile(r"[-_:]latest$")
_EARLY: Final = re.compile(r"[-_](?:preview|exp|beta)$")
_SOLD_EARLY: Final = ("gemini", "grok", "kimi", "qwen")
"""Families whose models keep ``preview`` in their names, or lose it, without being others. Not so
OpenAI's: ``o1-preview`` is not ``o1``."""
_QUANTIZED: Final = re.compile(
    r"[-_.:](?:i?q\d+(?:_[a-z0-9]+)*|w\d+a\d+|(?:mx|nv)?fp\d+(?:-dynamic)?|bnb|ud|bf16|f16|int\d+|nf4|awq|gptq|gguf|exl2|mlx"
    r"|\d+bit)(?=$|[-_.])"
)
_CLAUDE: Final = re.compile(r"^claude-(\d+(?:-\d+)?)-(opus|sonnet|haiku)")
_CLAUDE_DEPLOYED: Final = re.compile(r"^(claude-.*\d)-v\d$")
_CLAUDE_ZERO: Final = re.compile(r"^(claude-[a-z]+-\d)-0$")
_DENSE: Final = re.compile(
    r"^(claude-(?:opus-|sonnet-|haiku-)?|gemini-|glm-|gpt-|grok-|kimi-k|minimax-m)([1-9])(\d)(?=-|$)"
)
"""A version of two digits without a dot, as Azure (``gpt-35-turbo``) and Venice write it."""
_ACTIVE: Final = re.compile(r"(?<=\db)-a\d+(?:-\d+)?b(?=-|$)|-\d+b-\d+e(?=-|$)")
"""How much of a mixture of experts works at once: behind its size, or in its place."""
_VERSION_SIGN: Final = re.compile(r"(?<![a-z0-9])v(?=\d)")
_POINT: Final = re.compile(r"(?<=\d)p(?=\d)")
_SIZE: Final = re.compile(r"(?<![a-z0-9])(?:\d+x)?\d+b(?![a-z0-9])")
_WORDS: Final = re.compile(r"[a-z]+|[0-9]+")
_USUAL: Final = frozenset({"meta", "instruct", "chat", "it", "hf"})
"""Words that open models are written with or without."""
_SERVED: Final = frozenset({"turbo", "versatile", "instant", "specdec", "tput", "fast"})
"""Words for how a server runs an open model, whose name has its size."""
_OPEN: Final = frozenset({"deepseek", "kimi"})
"""Open models whose names have no size."""
_TELLING: Final = frozenset(
    {"mini", "nano", "micro", "tiny", "lite", "small", "medium", "large", "max", "plus", "pro"}
    | {"ultra", "flash", "opus", "sonnet", "haiku", "air", "chat", "codex", "coder", "code", "oss"}
    | {"distill", "thinking", "non", "reasoner", "vision", "vl", "audio", "image", "realtime"}
    | {"tts", "transcribe", "diarize", "search", "research", "embed", "embedding", "guard", "ocr"}
)
"""Words that make another model of one, whatever it costs."""


class Named(Enum):
    """What an answer's name says of the model that was sold."""

    SAME = auto()
    OTHER = auto()
    NOTHING = auto()
    """It is no model's name that anybody knows."""


FindId = Callable[[str], str | None]
"""Returns the id of the model that a public list of models takes a name for; None: for none."""


def know_no_id(_: str) -> str | None:
    """Know no list of models."""
    return None


def _strip(name: str) -> str:
    """Return a name in lower case, without its path, its file's ending and its maker."""
    text = name.strip().lower().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return _MAKER.sub("", _CLOUD.sub("", _FILE.sub("", text)))


@lru_cache(maxsize=8_192)
def simplify(name: str) -> tuple[str, ...]:
    """Return a model's name as it is compared: its words, without where and when it runs."""
    text = _strip(name)
    while (shorter := _shorten(text)) != text:
        text = shorter
    text = re.sub(r"[._\s:]", "-", _VERSION_SIGN.sub("", _POINT.sub(".", text)))
    text = _DENSE.sub(r"\1\2-\3", _ACTIVE.sub("", text))
    text = _CLAUDE_ZERO.sub(r"\1", _CLAUDE.sub(r"claude-\2-\1", text))
    words = _WORDS.findall(text)
    if not words or words[0] == "gpt":
        return tuple(words)
    left_out = _USUAL | _SERVED if _SIZE.search(text) or words[0] in _OPEN else _USUAL
    return tuple(word for word in words if word not in left_out)


def _shorten(text: str) -> str:
    text = _DATE.sub("", _DEPLOYED.sub("", _QUANTIZED.sub("", text)))
    text = _CLAUDE_DEPLOYED.sub(r"\1", text)
    return _EARLY.sub("", text) if text.startswith(_SOLD_EARLY) else text


def find_date(name: str) -> str:
    """Return the digits of the date that a name ends with, empty where it has none."""
    text = _DEPLOYED.sub("", _FILE.sub("", name.strip().lower()))
    deployed = re.search(r"@([\d-]+)$", name.strip())
    found = _DATE.search(_EARLY.sub("", text)) if deployed is None else deployed
    digits = "" if found is None else re.sub(r"\D", "", found[0])
    return digits if len(digits) >= 4 else ""


def _tell(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return a name's sizes, and its words that make another model of one."""
    text = re.sub(r"[._\s:]", "-", _POINT.sub(".", _strip(name)))
    words = frozenset(_WORDS.findall(text)) & _TELLING
    return frozenset(_SIZE.findall(_ACTIVE.sub("", text))), words


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The operator's table of models."""

    families: Sequence[str] = ()
    """Patterns of the names of well-known models, such as ``gpt-*``."""
    aliases: Mapping[tuple[str, ...], frozenset[tuple[str, ...]]] = field(default_factory=dict)
    """By a simplified name: those that it may stand for. Two of these are not each other's."""

    def is_same(self, one: str, other: str, *, find_id: FindId = know_no_id) -> bool:
        """Tell whether two names mean one model. Two different dates are two different models.

        Names that ``find_id`` takes for one model are the same, unless a size or a word tells them
        apart: a list of prices has one entry for models of one price.
        """
        dates = find_date(one), find_date(other)
        if "" not in dates and dates[0] != dates[1] and len(dates[0]) == len(dates[1]):
            return False
        words, others = simplify(one), simplify(other)
        if not words or not others:
            return False
        if words == others or others in self._list(words) or words in self._list(others):
            return True
        found = find_id(one)
        return found is not None and found == find_id(other) and _tell(one) == _tell(other)

    def is_of_a_family(self, name: str) -> bool:
        """Tell whether a name is like those of a well-known family of models."""
        text = _strip(name)
        return any(fnmatchcase(text, pattern) for pattern in self.families)

    def judge(
        self,
        answered: str,
        *,
        sold: str,
        is_priced: Callable[[str], bool],
        find_id: FindId = know_no_id,
    ) -> Named:
        """Return what an answer's own name says of the model that was sold.

        ``is_priced`` tells whether a name has a reference price; ``find_id``: see ``is_same``.
        """
        if self.is_same(answered, sold, find_id=find_id) or is_member(answered, family=sold):
            return Named.SAME
        if self.is_of_a_family(answered) or is_priced(answered):
            return Named.OTHER
        return Named.NOTHING

    def _list(self, words: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
        return self.aliases.get(words, frozenset())


def is_member(name: str, *, family: str) -> bool:
    """Tell whether a name is that of one model of a family, such as ``gemini-flash-latest``.

    A family's name has no number; its models' names have the same words, and numbers.
    """
    words = simplify(family)
    is_family = not any(word.isdecimal() for word in words) and (
        len(words) > 1 or (len(words) == 1 and _LATEST.search(family.strip().lower()) is not None)
    )
    return is_family and words == tuple(word for word in simplify(name) if not word.isdecimal())
