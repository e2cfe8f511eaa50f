"""What partial indexes hold, in the words that queries must have to be given them."""

HAS_SHARES_SQLITE = f"shares > '{0:078d}'"
"""Positions without shares are due for ever and never harvested. Text on SQLite: 78 digits."""
HAS_SHARES_POSTGRES = "shares > 0"
BATCH_OPEN = "batch.state = 'planned'"
PAYOUT_BATCH_OPEN = "payout_batch.state IN ('planned', 'sent')"
INTENT_OPEN = "intent.state IN ('planned', 'simulated', 'sent', 'mined')"
"""What is looked for in every round, among what is over: written in queries as their indexes have
it, or SQLite would not use them."""


def unqualified(predicate: str) -> str:
    """Return a predicate as an index has it: without the table's name."""
    return predicate.partition(".")[2]
