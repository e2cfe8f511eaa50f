"""How sure it is which model answers, as a grade: whose host the market dials. Pure.

::

    A   the maker of the model, at its own host, by one of its names for the model
    B   a known company that runs the model on machines of its own
    C   a host that has attested what it runs (nobody can yet: see ``docs/evidence.md``)
    D   any other host

A market dials every host itself over verified TLS, so A and B are facts about the host, not a
seller's word. The order is that of the letters: a minimum of ``C`` lets A, B and C through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MINIMUM_HEADER: Final = "x-market-min-grade"
"""The lowest grade that may serve a request, whatever its body says."""
GRADE_HEADER: Final = "x-market-grade"
SELLER_HEADER: Final = "x-market-seller"
HOST_HEADER: Final = "x-market-host"
_OFFER_HEADER: Final = "x-market-offer"

_LENGTH_MAX: Final = 253
_SIGNS: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:*")


class Grade(StrEnum):
    """A provenance grade."""

    MAKER = "A"
    COMPANY = "B"
    ATTESTED = "C"
    OTHER = "D"


def meets(grade: Grade, minimum: Grade) -> bool:
    """Tell whether a grade is at least ``minimum``: A is the highest."""
    return grade.value <= minimum.value


def get_stricter(one: Grade | None, other: Grade | None) -> Grade | None:
    """Return the minimum that lets through only what both let through; None lets all through."""
    stated = [grade for grade in (one, other) if grade is not None]
    return min(stated, key=lambda grade: grade.value, default=None)


def read_grade(text: str) -> Grade | None:
    """Return the grade that a text of one letter, in whatever case, states; None where none."""
    try:
        return Grade(text.strip().upper())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Who served a request, as a market states it."""

    seller: str
    """The seller's wallet, or a supplier's id."""
    offer_id: str
    host: str
    """The host that was dialled: as the market's table of companies has it, else its registrable
    name."""
    grade: Grade


def write_served_by(served: ServedBy) -> dict[str, str]:
    """Return the headers by which a market states who served."""
    return {
        SELLER_HEADER: served.seller,
        HOST_HEADER: served.host,
        GRADE_HEADER: served.grade.value,
    }


def read_served_by(get_header: Callable[[str], str | None]) -> ServedBy | None:
    """Return who served by an answer's headers; None where no market states it."""
    seller, offer_id, host, said = (
        get_header(name) for name in (SELLER_HEADER, _OFFER_HEADER, HOST_HEADER, GRADE_HEADER)
    )
    if seller is None or offer_id is None or host is None or said is None:
        return None
    grade = read_grade(said)
    if grade is None or not all(map(_is_name, (seller, offer_id, host))):
        return None
    return ServedBy(seller, offer_id, host, grade)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LENGTH_MAX and _SIGNS.issuperset(text)
