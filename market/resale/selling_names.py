"""Names under which calls are sold, and that nobody sells an invented API under a known one. Pure.

An API's own name (``nansen``) is for connections whose owner the operator has approved for it;
every connection is sold under its owner's, as ``~{owner}/{name}``. A name that looks like a known
one and is not it is refused.
"""

from collections.abc import Iterable

from market.resale.operations import TermsRefused
from market.resale.presets import PRESETS
from serving.models.names import find_look_alike, index_looks


def check_connection_name(name: str, approved: Iterable[str]) -> None:
    """Refuse a name that looks like a preset's or an approved one. Raises ``TermsRefused``."""
    known = {*PRESETS, *approved}
    if name in known:
        return
    looks = index_looks(known)
    found = find_look_alike(name, looks)
    bare = name.replace("-", "")
    if found is None and bare in known:
        found = bare
    for one in known:
        # "nansen-official", "my-nansen": a known name with an addition.
        if found is None and one in name.split("-"):
            found = one
    if found is not None:
        raise TermsRefused(
            f"looks like the known API {found!r} and is not it: use that name", "name"
        )


def sold_under(name: str, owner: str, *, is_approved: bool) -> str:
    """Return the part of a call's path that names a connection."""
    return name if is_approved else f"~{owner}/{name}"
