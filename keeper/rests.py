"""Rests: single items and whole kinds that failed in a row are left alone for a while.

Rests are in the ledger, so that a keeper under cron, or a keeper that takes over, keeps them too.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Engine

from keeper.duties.moment import Subject
from ledger.database.engine import read, write
from ledger.intents.rests import (
    WHOLE_KIND,
    Rest,
    forget_failures,
    load_rests,
    note_failure,
)

REST_DOUBLINGS_MAX: Final = 6


def get_rest_s(rest_s: int, *, failures: int) -> int:
    """Return a rest that doubles with each failure in a row before this one, up to a bound."""
    return rest_s << min(failures, REST_DOUBLINGS_MAX)


class Rests:
    """Counts failures. After ``failures_max`` in a row a kind rests ``rest_s``, then is tried once.

    An item that is refused rests as long, and twice as long each time in a row, up to a bound.
    ``kinds`` are all there are; the subjects of ``position_kinds`` are token ids.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        kinds: Sequence[str],
        position_kinds: Collection[str],
        failures_max: int,
        rest_s: int,
    ) -> None:
        self._engine = engine
        self._kinds = kinds
        self._position_kinds = position_kinds
        self._failures_max = failures_max
        self._rest_s = rest_s

    def load_resting(self, *, now_s: int) -> frozenset[Subject]:
        """Return the items to leave alone now."""
        return frozenset(
            (kind, int(subject) if kind in self._position_kinds else subject)
            for (kind, subject), rest in self._load().items()
            if subject != WHOLE_KIND and now_s < rest.until_s
        )

    def load_stopped(self, *, now_s: int) -> list[str]:
        """Return the kinds that are stopped now, in their order."""
        rests = self._load()
        return [
            kind
            for kind in self._kinds
            if (rest := rests.get((kind, WHOLE_KIND))) is not None and now_s < rest.until_s
        ]

    def _load(self) -> dict[tuple[str, str], Rest]:
        with read(self._engine) as connection:
            return load_rests(connection)

    def fail(self, kind: str, *, now_s: int) -> bool:
        """Count a failure of a kind; tell whether it is stopped by it."""
        with write(self._engine) as connection:
            rest = note_failure(
                connection, kind, WHOLE_KIND, decide_until_s=partial(self._end_kind_s, now_s)
            )
        return rest.until_s > now_s

    def refuse(self, kind: str, subjects: Iterable[int | str], *, now_s: int) -> None:
        """Leave items alone."""
        with write(self._engine) as connection:
            for subject in subjects:
                note_failure(
                    connection, kind, str(subject), decide_until_s=partial(self._end_item_s, now_s)
                )

    def succeed(self, kind: str, subjects: Collection[int | str]) -> None:
        """Forget the failures of a kind and of those items that went through."""
        with read(self._engine) as connection:
            known = {subject for other, subject in load_rests(connection) if other == kind}
        over = known & {WHOLE_KIND, *map(str, subjects)}
        if over:
            with write(self._engine) as connection:
                forget_failures(connection, kind, over)

    def _end_kind_s(self, now_s: int, failures: int) -> int:
        return now_s + self._rest_s if failures >= self._failures_max else now_s

    def _end_item_s(self, now_s: int, failures: int) -> int:
        return now_s + get_rest_s(self._rest_s, failures=failures - 1)
