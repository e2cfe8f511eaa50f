"""Searching answers for the credential, in the spellings in which servers echo it. Pure.

Searched for: the key as it is; percent-encoded, once and twice; as JSON and HTML escape it; in
base64 at each of its three alignments, both alphabets; in hex; the `Basic` form: each also escaped,
and broken into lines. Letters of escapes may be of either case. What is transformed otherwise
(hashed, encrypted, cut in pieces) is not found.
"""

import html
import re
from base64 import b64encode
from typing import Final
from urllib.parse import unquote

_UNICODE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_HEX: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")


_BREAK: Final = re.compile(r"=?(?<!\\)\\++[nrt]|=\r?\n")
"""Breaks of lines as JSON escapes them, and those of quoted-printable. Each run of backslashes is
read once: megabytes of them take no longer than other text."""
_LONG_NUMBER: Final = re.compile(r"&#([0-9]{9,})")
"""HTML's escapes whose number is long: Python refuses to read those of thousands of digits."""
SQUEEZED_MIN: Final = 8
"""Shorter spellings are not looked for where blanks are taken out: they would be in any text."""


class LeakSearch:
    """Knows one credential in the spellings that are searched for. Shows nothing in its repr."""

    __slots__ = ("_needles", "_squeezed", "overlap")

    def __init__(self, *secrets: str) -> None:
        plain = [secret for secret in secrets if secret]
        needles: set[str] = set()
        for secret in plain:
            raw = secret.encode()
            needles.add(secret)
            needles |= {raw.hex(), raw.hex().upper()}
            for form in _list_base64(raw):
                needles |= {form, form.replace("+", "-").replace("/", "_")}
        squeezed = {one for one in map(_squeeze, needles) if len(one) >= SQUEEZED_MIN}
        self._needles = tuple(sorted(needles))
        self._squeezed = tuple(sorted(squeezed))
        self.overlap = max((12 * len(secret) for secret in plain), default=0)
        """How many bytes of a stream are held back at least, so that no credential passes in two
        pieces."""

    def __repr__(self) -> str:
        return "LeakSearch(…)"

    def is_in(self, data: bytes) -> bool:
        """Tell whether a credential is in an answer's bytes."""
        text = data.decode("latin-1")
        for form in (
            text,
            data.decode("utf-8", "replace"),
            data.replace(b"\0", b"").decode("latin-1"),
        ):
            if any(needle in form for needle in self._needles):
                return True
        # Whatever the escapes and the breaks of lines, in them every spelling is looked for.
        for drops in (False, True):
            unescaped = _unescape(_BREAK.sub("", text) if drops else text)
            if any(needle in unescaped for needle in self._needles):
                return True
            tight = _squeeze(unescaped)
            if any(needle in tight for needle in self._squeezed):
                return True
        return False

    def is_in_text(self, text: str) -> bool:
        """Tell whether a credential is in a header's value."""
        return self.is_in(text.encode("utf-8", "replace"))


def _unescape(text: str) -> str:
    """Return a text without the escapes of URLs, JSON and HTML, each undone twice."""
    for _ in range(2):
        if "%" in text:
            text = unquote(text, encoding="latin-1")
        if "\\" in text:
            text = _UNICODE.sub(lambda found: chr(int(found[1], 16)), text)
            text = _HEX.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")
        if "&" in text:
            text = html.unescape(_LONG_NUMBER.sub(_shorten, text))
    return text


def _shorten(found: re.Match[str]) -> str:
    return f"&#{found[1].lstrip('0')[:8] or '0'}"


def _squeeze(text: str) -> str:
    """Return a text without blanks, breaks of lines and backslashes: as if it were not wrapped."""
    return "".join(text.split()).replace("\\", "")


def _list_base64(raw: bytes) -> list[str]:
    """Return what a text's base64 has wherever the text begins in what was encoded."""
    forms = []
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + raw).decode().rstrip("=")
        start = (shift * 8 + 5) // 6
        whole = (shift + len(raw)) * 8 // 6
        form = encoded[start:whole]
        if len(form) >= 8:
            forms.append(form)
    return forms
