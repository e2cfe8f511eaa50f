"""Names under which calls are sold, and that nobody sells an invented API under a known one. Pure.

An API's own name (``nansen``) is for connections whose owner the operator has approved for it;
every connection is sold under its owner's, as ``~{owner}/{name}``. A name that looks like a known
one and is not it is refused.
"""

from collections.abc import Iterable
from typing import Final

from market.resale.operations import TermsRefused
from market.resale.presets import PRESETS
from serving.models.names import find_look_alike, fold, index_looks

WORD_MIN: Final = 5
"""A shorter name is in too many words to be looked for in them."""


def check_connection_name(name: str, approved: Iterable[str]) -> None:
    """Refuse a name that looks like a preset's or an approved one. Raises ``TermsRefused``."""
    known = {*PRESETS, *approved}
    if name in known:
        return
    found = find_look_alike(name, index_looks(known))
    bare = _bare(name)
    for one in sorted(known):
        if found is not None:
            break
        # "nansen-official": a known name with an addition.
        is_like = bare == _bare(one) or one in name.split("-")
        if one.isalpha() and len(one) >= WORD_MIN:
            # "thenansen", "arkham2", "nannsen": in a word, or one slip away from it.
            is_like = is_like or _bare(one) in bare or _is_slip(bare, _bare(one))
        found = one if is_like else None
    if found is not None:
        raise TermsRefused(
            f"looks like the known API {found!r} and is not it: use that name", "name"
        )


def _bare(name: str) -> str:
    return fold(name).replace("-", "")


def _is_slip(text: str, word: str) -> bool:
    """Tell whether a letter too many, too few, another one or two in turn make the difference."""
    if abs(len(text) - len(word)) > 1:
        return False
    first = next(
        (i for i, (a, b) in enumerate(zip(text, word, strict=False)) if a != b),
        min(len(text), len(word)),
    )
    rest, other = text[first:], word[first:]
    return (
        rest[1:] == other
        or rest == other[1:]
        or rest[1:] == other[1:]
        or (rest[1::-1] == other[:2] and rest[2:] == other[2:])
    )


def sold_under(name: str, owner: str, *, is_approved: bool) -> str:
    """Return the part of a call's path that names a connection."""
    return name if is_approved else f"~{owner}/{name}"
