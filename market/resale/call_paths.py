"""Paths of calls: taken apart strictly, held against templates, written again. Pure.

Our matcher and the API's server must not disagree about a path, so everything that servers read in
different ways is refused: ``..``, ``.``, empty segments, backslashes, ``;``, encoded slashes,
percent signs that are themselves encoded, control characters, bytes that are not UTF-8, and letters
that some normalisation turns into a dot or a slash. What passes is decoded once, matched segment by
segment, and encoded again from the decoded segments: nothing of the consumer's spelling is left.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

PATH_MAX: Final = 2_000
SEGMENTS_MAX: Final = 32
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]{1,200}")
_FORBIDDEN: Final = frozenset("/\\;%")


class PathRefused(ValueError):
    """A path that servers may read in different ways, or that is no template. Says why."""


def split_path(raw: str) -> tuple[str, ...]:
    """Return the decoded segments of a percent-encoded path. Raises ``PathRefused``."""
    if not raw.startswith("/") or len(raw) > PATH_MAX:
        raise PathRefused(f"the path must begin with / and have at most {PATH_MAX} characters")
    if not raw.isascii() or not raw.isprintable() or " " in raw:
        raise PathRefused("the path has characters that must be percent-encoded")
    if _ESCAPE.search(raw) is not None:
        raise PathRefused("the path has a percent sign that encodes nothing")
    parts = raw[1:].split("/")
    if len(parts) > SEGMENTS_MAX:
        raise PathRefused(f"the path has more than {SEGMENTS_MAX} segments")
    return tuple(_decode(part) for part in parts)


def _decode(part: str) -> str:
    try:
        segment = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise PathRefused("the path is not UTF-8") from None
    # A compatibility form of a dot or a slash becomes one where a server normalises.
    folded = unicodedata.normalize("NFKC", segment)
    if not segment:
        raise PathRefused("the path has an empty segment")
    if folded.strip(" .") == "" or segment in (".", ".."):
        raise PathRefused("the path has a segment of dots")
    if _FORBIDDEN & (set(segment) | set(folded)):
        raise PathRefused("the path has a slash, backslash, semicolon or percent sign in a segment")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in segment):
        raise PathRefused("the path has a control character")
    return segment


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """``/v1/wallets/{address}``: literal segments, and parameters that are one segment each."""

    text: str
    parts: tuple[tuple[str, bool], ...]
    """(literal or parameter's name, whether it is a parameter)."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(name for name, is_parameter in self.parts if is_parameter)

    @property
    def rank(self) -> tuple[bool, ...]:
        """Sorts templates that match the same path: literal segments come first."""
        return tuple(is_parameter for _, is_parameter in self.parts)

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return the parameters of a path that this template has, else None."""
        if len(segments) != len(self.parts):
            return None
        found: dict[str, str] = {}
        for (text, is_parameter), segment in zip(self.parts, segments, strict=True):
            if is_parameter:
                found[text] = segment
            elif text != segment:
                return None
        return found


def parse_template(text: str) -> PathTemplate:
    """Return a template. Raises ``PathRefused``."""
    if not text.startswith("/") or len(text) > PATH_MAX:
        raise PathRefused("the path of an operation must begin with /")
    parts: list[tuple[str, bool]] = []
    for part in text[1:].split("/"):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is not None:
            parts.append((parameter[1], True))
        elif _LITERAL.fullmatch(part) is not None and part.strip(".") != "":
            parts.append((part, False))
        else:
            raise PathRefused(f"{part[:60]!r} is neither a plain segment nor one {{parameter}}")
    names = [name for name, is_parameter in parts if is_parameter]
    if len(parts) > SEGMENTS_MAX or len(set(names)) != len(names):
        raise PathRefused("the path has too many segments, or names a parameter twice")
    return PathTemplate(text, tuple(parts))


def find_shadows(template: PathTemplate, paths: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Return what matches the ``paths`` that a template has too, though they are others.

    ``/users/{id}`` has ``/users/me`` as well: to the API that is another operation. Where two
    templates meet and neither is the narrower one, the API's choice is unknown: a shadow too.
    Letters of either case and an extension (``me.json``) are the same path to some servers.
    """
    shadows = []
    for text in paths:
        parts = text.strip("/").split("/")
        if len(parts) != len(template.parts):
            continue
        is_narrower = False
        patterns = []
        for part, (own, is_parameter) in zip(parts, template.parts, strict=True):
            pieces = re.split(r"\{[^{}]*\}", part)
            if len(pieces) == 1 and not is_parameter and part.lower() != own.lower():
                break
            is_narrower = is_narrower or (is_parameter and pieces != ["", ""])
            patterns.append("[^/]+".join(map(re.escape, pieces)))
        else:
            if is_narrower:
                pattern = "/".join(patterns) + r"(?:\.\w{1,8})?"
                shadows.append(re.compile(pattern, re.IGNORECASE))
    return tuple(shadows)
