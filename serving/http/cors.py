"""Which web pages may ask this server from a browser: those whose origin the operator has listed.

Nothing is allowed unless it is listed. Keys travel in headers that a page sets itself, never in
cookies, so a page can only use a key that it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Scope, Send

from serving.http.answers import Answer
from serving.http.bodies import find_header

ANY: Final = "*"
ALLOWED: Final = "access-control-allow-origin"
"""The mark without which a browser shows an answer to no page."""
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE_S: Final = 600
"""How long a browser remembers a preflight's answer, in seconds."""

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]+)?")
_NAMES: Final = re.compile(r"[A-Za-z0-9_, -]{0,2000}")
_EXPOSED: Final = (
    b"x-request-id",
    b"x-current-",
    b"x-market-",
    b"x-should-retry",
    b"x-payment-",
    b"payment-",
    b"retry-after",
    b"idempotent-replayed",
    b"www-authenticate",
)
"""How the names of headers begin that a page may read, beside those that any page may."""


def parse_origins(text: str) -> frozenset[str]:
    """Return the origins of a list separated by white space or commas; ``*`` alone is any.

    Raises ``ValueError``.
    """
    origins = frozenset(text.replace(",", " ").split())
    if ANY in origins:
        if len(origins) > 1:
            raise ValueError("'*' is any origin: list no other beside it")
        return origins
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None:
            raise ValueError(f"not an origin such as https://app.example: {origin!r}")
    return origins


@dataclass(frozen=True, slots=True)
class CorsRules:
    """Who may ask from a browser."""

    origins: frozenset[str]
    """``{"*"}``: any."""
    has_credentials: bool
    """Whether pages may send cookies and client certificates along; never with any origin."""


class Cors:
    """Answers browsers' preflights, and marks answers as readable for the pages that may ask."""

    def __init__(self, rules: CorsRules) -> None:
        self._rules = rules

    def find_marks(self, scope: Scope) -> Mapping[str, str]:
        """Return the headers for an answer; ``ALLOWED`` is among them if the page may ask.

        A request that names no origin gets them too: a cache would otherwise hand its answer,
        without ``ALLOWED``, to a page that may ask. So with listed origins every answer varies.
        """
        origin = find_header(scope, b"origin")
        if ANY in self._rules.origins:
            return {ALLOWED: ANY}
        marks = {"vary": "origin"}
        if origin is None or origin not in self._rules.origins:
            return marks
        marks[ALLOWED] = origin
        if self._rules.has_credentials:
            marks["access-control-allow-credentials"] = "true"
        return marks

    def answer_preflight(self, scope: Scope, marks: Mapping[str, str]) -> Answer | None:
        """Return the answer to a page's preflight; None for all other requests."""
        if scope["method"] != "OPTIONS" or ALLOWED not in marks:
            return None
        if find_header(scope, b"access-control-request-method") is None:
            return None
        headers = {
            **marks,
            "access-control-allow-methods": METHODS,
            "access-control-max-age": str(MAX_AGE_S),
        }
        wanted = find_header(scope, b"access-control-request-headers")
        if wanted is not None and _NAMES.fullmatch(wanted) is not None:
            headers["access-control-allow-headers"] = wanted
        return Answer(204, headers, b"")


def mark(send: Send, marks: Mapping[str, str]) -> Send:
    """Return what sends an answer with ``marks``; a page that may ask can read our headers too."""
    added = [(name.encode(), value.encode()) for name, value in marks.items()]

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *added]
            if ALLOWED in marks:
                names = sorted({name for name, _ in headers if name.lower().startswith(_EXPOSED)})
                headers.append((b"access-control-expose-headers", b", ".join(names)))
            message = {**message, "headers": headers}
        await send(message)

    return send_marked
