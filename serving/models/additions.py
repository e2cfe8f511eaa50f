"""The fields that a server adds to a client's request, and which models refuse them.

Two things are added: an output limit where the request names none, and in streams the wish for a
usage report. Fields that a client's own dialect has, and only some models know, are left out in the
same way. A model that refuses such a field is asked once more without it. That is remembered for as
long as the process lives, but of a client's field only where the model does not know it: what one
client has put into it is no reason to take it from all others.
"""

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from serving.models.failures import KNOWN_CODES, UpstreamRejected

T = TypeVar("T")

REMEMBERED_MAX: Final = 10_000
_STATUSES: Final = frozenset({400, 422})
_USAGE: Final = "stream_options"
_UNKNOWN_FIELD: Final = re.compile(
    r"extra (?:inputs?|fields?|parameters?)|(?:unknown|unrecognized|unsupported|unexpected|invalid)"
    r" (?:request )?(?:fields?|parameters?|arguments?|propert|keys?|keyword|name)"
    r"|not permitted|additional propert|unexpected keyword"
)
"""A complaint about a field, in the words of common validators."""

_UNKNOWN_CODES: Final = frozenset({"unsupported_parameter", "unknown_parameter", "extra_forbidden"})
_BAD_VALUE: Final = re.compile(
    r"\bvalues?\b|must be|should be|one of|at (?:most|least)|max(?:imum)?\b|min(?:imum)?\b"
    r"|too (?:long|large|many|big|high|low|small|short)|expected|found \d|got \d|greater|less than"
)
"""A complaint about what a field holds."""

_OF_FIELD: Final = (
    r"(?<!\w){name}['\"`]*:? (?:is |are |was )?(?:not|un)[- ]?(?:currently |yet )?"
    r"(?:supported|known|recogni[sz]ed|permitted|allowed|accepted|available)"
    r"(?! (?:when|if|unless))",
    r"(?:does not|doesn't|cannot|can't) (?:support|accept|take)s? (?:the )?"
    r"(?:field |parameter |argument )?['\"`]*(?:[\w.]*\.)?{name}(?![\w=])['\"`]*(?! *[\w'\"=])",
)
"""Complaints that a model does not have the field ``name`` at all."""


class Additions:
    """Remembers which additions are refused, by provider and model."""

    def __init__(self) -> None:
        self._refused: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    async def send(
        self,
        key: tuple[str, str],
        added: frozenset[str],
        post: Callable[[frozenset[str]], Awaitable[T]],
        *,
        clients: frozenset[str] = frozenset(),
    ) -> T:
        """Return what ``post`` does, given the additions to leave out.

        ``key`` is where it goes and which model is asked; ``added`` are the fields that may have
        been added; ``clients`` are those of them whose values are the client's. Raises what
        ``post`` raises.
        """
        without = known = self._refused.get(key, frozenset())
        while True:
            try:
                answer = await post(without)
            except UpstreamRejected as error:
                refused = find_refused_addition(error, added - without)
                if refused is None:
                    raise
                without |= {refused}
                if refused not in clients or is_unknown(error, refused):
                    known |= {refused}
                continue
            self._remember(key, known)
            return answer

    def _remember(self, key: tuple[str, str], refused: frozenset[str]) -> None:
        before = self._refused.get(key, frozenset())
        if refused <= before:
            return
        self._refused[key] = before | refused
        if len(self._refused) > REMEMBERED_MAX:
            self._refused.popitem(last=False)


def find_refused_addition(error: UpstreamRejected, added: frozenset[str]) -> str | None:
    """Return the added field that a provider refuses, None where it refuses something else."""
    if error.status not in _STATUSES or error.code in KNOWN_CODES:
        return None
    said = _read(error)
    found = ((re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said), name) for name in added)
    named = [(match.start(), name) for match, name in found if match is not None]
    if named:
        return min(named)[1]
    if _USAGE in added and "include_usage" in said:
        return _USAGE
    if error.param is None and _UNKNOWN_FIELD.search(said) is not None:
        return _USAGE if _USAGE in added else None
    return None


def is_unknown(error: UpstreamRejected, name: str) -> bool:
    """Tell whether a refusal means that the model has no such field, whatever is in it."""
    said = _read(error)
    if _BAD_VALUE.search(said) is not None:
        return False
    complaint = _UNKNOWN_FIELD.search(said)
    if error.code in _UNKNOWN_CODES:
        return True
    if complaint is not None and not complaint.group().startswith("invalid"):
        return True
    return any(re.search(text.format(name=re.escape(name)), said) for text in _OF_FIELD)


def _read(error: UpstreamRejected) -> str:
    return " ".join(part for part in (error.param, error.message, error.code) if part).lower()
