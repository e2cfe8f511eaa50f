"""What NOWPayments posts to us when a payout moves, and whether it is really theirs. Pure.

The signature is HMAC-SHA512 over the body written again: keys sorted at every depth, no spaces,
each number as it was spelled. A notice is a hint only: the state of a payout is what their API
answers when it is asked.
"""

import hmac
import json
import re
from collections.abc import Iterator
from hashlib import sha512
from typing import Any, Final

BYTES_MAX: Final = 64 * 1024
_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{128}")

RANKS: Final = {
    "creating": 0,
    "waiting": 1,
    "processing": 2,
    "sending": 3,
    "failed": 4,
    "rejected": 4,
    "finished": 5,
}
"""How far a payout has come: news of a lower rank are old. A failed one may still be sent."""


class NoticeInvalid(ValueError):
    """The body is not a notice: not JSON of one meaning, or without an id."""


class _Number(str):
    """A number as it was spelled."""

    __slots__ = ()


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise NoticeInvalid("a name stands twice")
    return dict(pairs)


_DECODER: Final = json.JSONDecoder(
    parse_float=_Number,
    parse_int=_Number,
    parse_constant=_Number,
    object_pairs_hook=_refuse_twice,
)


def parse_notice(raw: bytes) -> dict[str, Any]:
    """Return the object, its numbers as they are spelled. Raises ``NoticeInvalid``."""
    if len(raw) > BYTES_MAX:
        raise NoticeInvalid("too long")
    try:
        body = _DECODER.decode(raw.decode())
        write_sorted(body).encode()
    except NoticeInvalid:
        raise
    except (ValueError, RecursionError):
        raise NoticeInvalid("not JSON") from None
    if not isinstance(body, dict):
        raise NoticeInvalid("not an object")
    return body


def write_sorted(value: Any) -> str:
    """Return JSON as it is signed: keys sorted at every depth, no spaces, numbers unchanged."""
    return "".join(_write(value))


def _write(value: Any) -> Iterator[str]:
    if isinstance(value, _Number):
        yield str(value)
    elif isinstance(value, dict):
        yield "{"
        # By UTF-16 units, as JavaScript sorts.
        for place, name in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
            yield ("," if place else "") + json.dumps(name, ensure_ascii=False) + ":"
            yield from _write(value[name])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield "," if place else ""
            yield from _write(item)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def sign(raw: bytes, secret: str) -> str:
    """Return the signature of a body, in hex. Raises ``NoticeInvalid``."""
    text = write_sorted(parse_notice(raw))
    return hmac.new(secret.encode(), text.encode(), sha512).hexdigest()


def is_signed(raw: bytes, signature: str | None, secret: str) -> bool:
    """Tell whether a body was signed with a secret, in a time that does not depend on how nearly.

    Nothing is signed with an empty secret.
    """
    if not secret or signature is None or _SIGNATURE.fullmatch(signature) is None:
        return False
    try:
        expected = sign(raw, secret)
    except NoticeInvalid:
        return False
    return hmac.compare_digest(expected, signature.lower())


def read_state(value: Any) -> str | None:
    """Return a state in lower case, None where it is none that is known."""
    state = str(value).strip().lower() if isinstance(value, str) else ""
    return state if state in RANKS else None


def is_news(known: str | None, state: str) -> bool:
    """Tell whether a state says more than the known one. ``finished`` is the last word; of two of
    the same rank the first stays."""
    return known is None or known not in RANKS or RANKS[state] > RANKS[known]
