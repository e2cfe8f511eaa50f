"""The fields that a server adds to a client's request, and which models refuse them.

Two things are added: an output limit where the request names none, and in streams the wish for a
usage report. A model that refuses an addition is asked once more without it, and that is remembered
for as long as the process lives.
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


class Additions:
    """Remembers which additions are refused, by provider and model."""

    def __init__(self) -> None:
        self._refused: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    async def send(
        self,
        key: tuple[str, str],
        added: frozenset[str],
        post: Callable[[frozenset[str]], Awaitable[T]],
    ) -> T:
        """Return what ``post`` does, given the additions to leave out.

        ``key`` is where it goes and which model is asked; ``added`` are the fields that may have
        been added. Raises what ``post`` raises.
        """
        without = self._refused.get(key, frozenset())
        while True:
            try:
                answer = await post(without)
            except UpstreamRejected as error:
                refused = find_refused_addition(error, added - without)
                if refused is None:
                    raise
                without |= {refused}
                continue
            if without and self._refused.get(key) != without:
                self._remember(key, without)
            return answer

    def _remember(self, key: tuple[str, str], refused: frozenset[str]) -> None:
        self._refused[key] = refused
        if len(self._refused) > REMEMBERED_MAX:
            self._refused.popitem(last=False)


def find_refused_addition(error: UpstreamRejected, added: frozenset[str]) -> str | None:
    """Return the added field that a provider refuses, None where it refuses something else."""
    if error.status not in _STATUSES or error.code in KNOWN_CODES:
        return None
    said = " ".join(part for part in (error.param, error.message, error.code) if part).lower()
    named = [(said.find(name), name) for name in added if name in said]
    if named:
        return min(named)[1]
    if _USAGE in added and "include_usage" in said:
        return _USAGE
    if error.param is None and _UNKNOWN_FIELD.search(said) is not None:
        return _USAGE if _USAGE in added else None
    return None
