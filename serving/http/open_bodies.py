"""Bodies that are being read: how many bytes of them are kept, with a key and without. Pure.

Each counts with its bytes, and with a least size: a thousand bodies that never come cost too. An
account, or an address without a key, gets a quarter of the whole; those that never paid get three
quarters together, so that who has paid is read. Counts stand until the body of a known key has
been read, until a request without a key is authenticated, or until it is answered.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from serving.http.errors import overloaded, rate_limited

LEAST_BYTES: Final = 16 * 1024
"""What a body counts for at least."""
OWNER_PART: Final = 4
"""One owner may have this part of the whole, one of so many; as much is for the proven only."""
RETRY_S: Final = 5

_KEPT: Final = "current.open_body"


@dataclass(frozen=True, slots=True)
class BodyOwner:
    """Whose body it is."""

    name: Hashable
    """An account with a key, an address without."""
    has_key: bool = False
    is_proven: bool = False
    """Whether it has paid before."""


@dataclass(frozen=True, slots=True)
class _Kept:
    owner: BodyOwner
    size: int


@dataclass(slots=True)
class OpenBodies:
    """What is kept for whom, of ``bytes_max`` in all."""

    bytes_max: int
    _bytes: int = 0
    _unproven_bytes: int = 0
    _by_owner: Counter[tuple[bool, Hashable]] = field(default_factory=Counter)

    @property
    def kept_bytes(self) -> int:
        """How many bytes are counted now."""
        return self._bytes

    def keep(self, scope: Any, owner: BodyOwner, size: int) -> None:
        """Count a request's body with ``size`` bytes so far, in place of what it had before.

        One body of a key alone may be longer than its account's part as far as there is room, and
        than the whole where no other is read: how long a body may be is not decided here.
        Raises 429 ``rate_limited`` where the owner has too much open, 503 ``overloaded`` where all
        of its kind have.
        """
        counted = max(size, LEAST_BYTES)
        kept: _Kept | None = scope.get(_KEPT)
        before = 0 if kept is None else kept.size
        others = self._by_owner[owner.has_key, owner.name] - before
        is_alone = owner.has_key and others == 0
        part = max(self.bytes_max // OWNER_PART, LEAST_BYTES)
        if not is_alone and others + counted > part:
            what = "of this account" if owner.has_key else "without a key from this address"
            raise rate_limited(RETRY_S, f"{what} are being read")
        is_full = _is_over(self._bytes - before, counted, self.bytes_max)
        if not owner.is_proven:
            unproven_max = self.bytes_max - self.bytes_max // OWNER_PART
            is_full = is_full or _is_over(self._unproven_bytes - before, counted, unproven_max)
        if is_full:
            raise overloaded()
        scope[_KEPT] = _Kept(owner, counted)
        self._count(owner, counted - before)

    def release(self, scope: Any) -> None:
        """Count a body no more: it was read, or authenticated, or answered. Idempotent."""
        kept: _Kept | None = scope.pop(_KEPT, None)
        if kept is not None:
            self._count(kept.owner, -kept.size)

    def _count(self, owner: BodyOwner, size: int) -> None:
        name = (owner.has_key, owner.name)
        self._bytes += size
        self._by_owner[name] += size
        if not owner.is_proven:
            self._unproven_bytes += size
        if not self._by_owner[name]:
            del self._by_owner[name]


def _is_over(others: int, size: int, size_max: int) -> bool:
    return others > 0 and others + size > size_max
