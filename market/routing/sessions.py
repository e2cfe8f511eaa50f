"""The turns of one conversation stay with one seller, whose provider has cached them. Pure.

A **session** is a buyer's account, a model, and what stays the same over the turns of a
conversation: a name that the request gives it, or its beginning. Rendezvous hashing (highest random
weight) gives each session an order of all sellers, so no process has to remember sessions: every
process comes to the same order, and a seller who comes or goes moves only its own sessions.

It decides only among offers that are *near*: at most ``premium_pct`` dearer than the cheapest one
that may serve the request. All rules that keep an offer out come before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Final

import orjson

from serving.dialects.endpoints import Endpoint

SESSION_HEADER: Final = b"x-session-id"
NAME_FIELDS: Final = ("prompt_cache_key", "user")
"""What a request may call its session, the field that is meant for caches first."""

BEGINNING_MAX: Final = 16_384
"""Characters of a message that count."""
TEXT_BEGINNING: Final = 256
"""Characters of a plain prompt that count: later turns only add to its end."""

_INSTRUCTING: Final = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Session:
    """Which conversation a request belongs to, and how much dearer its seller may be."""

    key: bytes
    premium_pct: int

    def weigh(self, seller: str) -> int:
        """Return a seller's weight for this session: the greatest has the session."""
        digest = blake2b(seller.encode(), key=self.key, digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def is_near(self, worth: int, *, cheapest: int) -> bool:
        """Tell whether an offer is near enough to the cheapest one, by their exact worths."""
        return worth * 100 <= cheapest * (100 + self.premium_pct)

    def arrange(self, offers: Sequence[tuple[int, str]]) -> Iterator[tuple[int, bool]]:
        """Yield the places of offers in the order in which they are tried.

        ``offers`` are (worth, seller), the cheapest first. With each place comes whether it is
        tried before a cheaper one. Of one seller's offers the cheapest comes first.
        """
        near: list[tuple[int, int]] = []
        tried = [False] * len(offers)
        cheapest = reached = 0
        for _ in offers:
            while tried[cheapest]:
                cheapest += 1
            limit = offers[cheapest][0]
            while reached < len(offers) and self.is_near(offers[reached][0], cheapest=limit):
                heappush(near, (-self.weigh(offers[reached][1]), reached))
                reached += 1
            place = heappop(near)[1]
            tried[place] = True
            yield place, place != cheapest


def make_session(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    *,
    account_id: str,
    model: str,
    name: str | None,
    premium_pct: int,
) -> Session | None:
    """Return a request's session; None where no seller is preferred.

    ``name`` is the header's, if any. With ``premium_pct`` 0 no seller is preferred.
    """
    if premium_pct == 0:
        return None
    told = _find_name(body, name)
    kind, text = ("name", told) if told is not None else ("start", _read_beginning(endpoint, body))
    if text is None:
        return None
    parts = [part.encode("utf-8", "surrogatepass") for part in (account_id, model, kind, text)]
    digest = blake2b(digest_size=16)
    for part in parts:
        # With its length: no two lists of parts make the same bytes.
        digest.update(len(part).to_bytes(8, "big") + part)
    return Session(digest.digest(), premium_pct)


def _find_name(body: Mapping[str, Any], name: str | None) -> str | None:
    told = (name, *(body.get(field) for field in NAME_FIELDS))
    return next((one for one in told if isinstance(one, str) and one), None)


def _read_beginning(endpoint: Endpoint, body: Mapping[str, Any]) -> str | None:
    """Return what all turns of a conversation begin with; None where there are no turns."""
    match endpoint:
        case Endpoint.CHAT:
            return _join(_list_first(body.get("messages")))
        case Endpoint.RESPONSES:
            given = body.get("input")
            said = [given] if isinstance(given, str) else _list_first(given)
            return _join([_read_text(body.get("instructions")), *said])
        case Endpoint.COMPLETIONS:
            prompt = body.get("prompt")
            first = prompt[0] if isinstance(prompt, list) and prompt else prompt
            return first[:TEXT_BEGINNING] if isinstance(first, str) and first else None
    return None


def _join(texts: Sequence[str]) -> str:
    return "".join(f"{len(text)}:{text[:BEGINNING_MAX]}" for text in texts)


def _list_first(messages: Any) -> list[str]:
    """Return the texts of the instructions at the start and of the first message after them."""
    texts = []
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, Mapping):
            break
        texts.append(_read_text(message.get("content")))
        if message.get("role") not in _INSTRUCTING:
            break
    return texts


def _read_text(content: Any) -> str:
    """Return the text of a message; two ways of writing one text are the same."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(_read_part(part) for part in content)


def _read_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else None
    return (
        text if isinstance(text, str) else orjson.dumps(part, option=orjson.OPT_SORT_KEYS).decode()
    )
