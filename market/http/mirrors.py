"""Paths below ``/min{N}``: the grammar, and which paths are mirrored."""

import re
from typing import Any, Final

from starlette.types import Scope

from market.media.requests import ASYNCHRONOUS, Medium

MIRRORED: Final = re.compile(r"/(min[^/]*)(/v1/.*)")
_SEGMENT: Final = re.compile(r"min(0|[1-9][0-9]?|100)")
_CALLS: Final = frozenset(f"/v1/{medium}" for medium in Medium)
_JOBS: Final = tuple(f"/v1/{medium}/" for medium in sorted(ASYNCHRONOUS))
_KEY: Final = "current.mirror"


def read_minimum(segment: str) -> int | None:
    """Return N of ``min{N}``, or None where the segment is not by the grammar."""
    match = _SEGMENT.fullmatch(segment)
    return None if match is None else int(match[1])


def is_medium(path: str) -> bool:
    """Tell whether a path, without its segment, is one of the mirrored ones of media."""
    if path in _CALLS:
        return True
    return any(path.startswith(one) and "/" not in path[len(one) :] for one in _JOBS)


def mirror(scope: Scope, path: str, segment: str, minimum_pct: int) -> None:
    """Take the segment out of a request's path; its scope remembers both."""
    fact: tuple[str, int, Any] = (segment, minimum_pct, scope["path"])
    scope[_KEY] = fact
    scope["path"], scope["raw_path"] = path, path.encode()


def get_segment(scope: Scope) -> str:
    """Return the segment that a request came with, empty without one."""
    return str(scope[_KEY][0]) if _KEY in scope else ""


def get_minimum(scope: Scope) -> int | None:
    """Return the minimum discount that a request came with, in per cent."""
    return int(scope[_KEY][1]) if _KEY in scope else None


def get_path(scope: Scope) -> str:
    """Return the path that a request came with."""
    return str(scope[_KEY][2]) if _KEY in scope else str(scope["path"])
