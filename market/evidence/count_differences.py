"""Whether an offer reports more prompt tokens than it was sent, by differences. Pure.

A model's template adds tokens that nobody but its server can count. Between two requests of one
shape (as many messages by the same roles, with tools or without) it adds the same, so the
difference of what was reported is the difference of the texts' own tokens::

    reported 2 - reported 1   ≈   counted 2 - counted 1

A seller who adds a share to each report shows it in every difference. A seller who adds a constant
does not: the constant looks like a template. So a constant is bounded by what is paid for, not
found here (``market.text.metering``).
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

DIFFERENCE_MIN: Final = 64
"""Counted tokens between two prompts that a difference needs to say anything."""

EXACT_TOLERANCE: Final = 0.03
"""How far a difference may be off where the model's own tokenizer counts."""

ESTIMATE_TOLERANCE: Final = 0.5
"""The same where only an estimate by the text's kind counts."""

HONEST_RATE: Final = 0.05
"""The most differences of an honest offer that lie beyond the tolerance: some templates cut or
clean the text."""

SHAPES_MAX: Final = 256


@dataclass(slots=True)
class CountWatch:
    """What one offer has reported of one model."""

    tolerance: float = ESTIMATE_TOLERANCE
    part_min: float = 0.0
    """How large a part of the longer prompt a difference must be: what is counted of each is off by
    a part of itself."""
    last: dict[Hashable, tuple[int, int]] = field(default_factory=dict)
    """The last request of each shape: counted and reported."""

    def note(self, shape: Hashable, *, counted: int, reported: int) -> bool | None:
        """Take in a request; tell whether it was reported too high, None where nothing can be told.

        Each request stands in one difference at most, so that differences are independent.
        """
        before = self.last.pop(shape, None)
        if before is None or abs(counted - before[0]) < max(
            DIFFERENCE_MIN, self.part_min * max(counted, before[0])
        ):
            if len(self.last) < SHAPES_MAX:
                self.last[shape] = (counted, reported)
            return None
        expected, found = counted - before[0], reported - before[1]
        if expected < 0:
            expected, found = -expected, -found
        return found > expected * (1 + self.tolerance)
