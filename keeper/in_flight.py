"""What must not be decided again: the effect of a transaction that is not mirrored yet."""

from sqlalchemy import Connection

from ledger.intents.queries import load_open_intents
from ledger.intents.record import FILL, IntentState


def load_in_flight(
    connection: Connection, *, mirrored_block: int
) -> tuple[frozenset[tuple[str, int]], frozenset[str]]:
    """Return (kind, token id) and kinds of intents without an outcome, or with one not mirrored."""
    tokens: set[tuple[str, int]] = set()
    kinds: set[str] = set()
    for intent in load_open_intents(connection):
        if (
            intent.state is IntentState.MINED
            and intent.mined_block is not None
            and intent.mined_block <= mirrored_block
        ):
            continue
        if intent.kind == FILL:
            continue  # it has no effect
        kinds.add(intent.kind)
        tokens.update((intent.kind, token_id) for token_id in intent.payload["token_ids"])
    return frozenset(tokens), frozenset(kinds)
