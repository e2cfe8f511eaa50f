"""Checks, what they find, and going through them.

A check is one function that yields findings of a ``Patient``, registered by ``@check``; one more
check is one more function. A check that raises one of our errors has found that something does not
answer; any other exception is a bug of the check, and told as one without ending the others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.errors import CurrentError
from scripts.doctor.patient import Absent, Patient


class Level(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    ADVICE = "advice"
    """Works, and could work better or safer."""
    BAD = "bad"
    """Something does not work, or is about to fail."""
    UNKNOWN = "unknown"
    """Could not be looked at; ``mend`` says what it would need."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found of one subject, and the line that mends it."""

    level: Level
    subject: str
    says: str
    mend: str = ""

    def __post_init__(self) -> None:
        assert self.mend or self.level is Level.GOOD, "whatever is wrong has a line that mends it"


@dataclass(frozen=True, slots=True)
class Reported:
    """A finding with the check that made it."""

    check: str
    finding: Finding


Look = Callable[[Patient], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be wrong. ``name`` is ``<part>.<what>``."""

    name: str
    look: Look

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]


CHECKS: Final[list[Check]] = []
"""Every check, in the order in which they are made."""


def check(name: str) -> Callable[[Look], Look]:
    """Register a check under ``<part>.<what>``."""

    def register(look: Look) -> Look:
        assert all(one.name != name for one in CHECKS), name
        CHECKS.append(Check(name, look))
        return look

    return register


def good(subject: str, says: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(Level.GOOD, subject, says)


def bad(subject: str, says: str, mend: str) -> Finding:
    """Return a finding of something that is wrong."""
    return Finding(Level.BAD, subject, says, mend)


def advise(subject: str, says: str, mend: str) -> Finding:
    """Return a finding of something that should be better."""
    return Finding(Level.ADVICE, subject, says, mend)


def unknown(subject: str, says: str, mend: str) -> Finding:
    """Return a finding of something that could not be looked at."""
    return Finding(Level.UNKNOWN, subject, says, mend)


def examine(patient: Patient, checks: Sequence[Check]) -> Iterator[Reported]:
    """Make the checks one after the other. Never raises for what is wrong with the patient."""
    for one in checks:
        try:
            for finding in one.look(patient):
                yield Reported(one.name, finding)
        except Absent:
            continue  # what it looks at is not configured, or was told as wrong by another check
        except CurrentError as error:
            yield Reported(
                one.name, bad(one.part, str(error), "mend what the sentence names, and look again")
            )
        except Exception as error:
            says = f"the check itself failed: {type(error).__name__}: {error}"
            yield Reported(one.name, unknown(one.part, says, "report it as a bug of Current"))
