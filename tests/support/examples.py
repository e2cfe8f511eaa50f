"""How many examples a property is tried with: a third in the quick run, all of them in the long."""

import os


def games(count: int) -> int:
    """Return how many games a state machine plays, of seconds each: a third in the quick run, and
    at least 2."""
    return count if "ALL_EXAMPLES" in os.environ else max(2, count // 3)


def examples(count: int) -> int:
    """Return ``count`` where ``make test-all`` runs, else a third of it, and at least 20."""
    return count if "ALL_EXAMPLES" in os.environ else min(count, max(20, count // 3))
