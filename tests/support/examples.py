"""How many examples a property is tried with: a part in the quick run, all of them in the long."""

import os
from typing import Final

IS_LONG: Final = "ALL_EXAMPLES" in os.environ
"""Whether ``make test-all`` runs."""


def games(count: int) -> int:
    """Return how many games a state machine plays, of seconds each: a sixth in the quick run, and
    at least one."""
    return count if IS_LONG else max(1, count // 6)


def examples(count: int) -> int:
    """Return ``count`` where ``make test-all`` runs, else a third of it, and at least 20."""
    return count if IS_LONG else min(count, max(20, count // 3))
