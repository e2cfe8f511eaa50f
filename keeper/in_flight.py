"""Items in flight: a transaction's effect that is not mirrored yet is not decided again."""

from sqlalchemy import Connection

from ledger.chain.mirror import find_mirrored
from ledger.intents.queries import load_open_intents
from ledger.intents.record import FILL, IntentRecord, IntentState


def load_in_flight(
    connection: Connection, *, mirrored_block: int
) -> tuple[frozenset[tuple[str, int]], frozenset[str]]:
    """Return (kind, token id) and kinds of intents without an outcome, or with one not mirrored.

    An outcome is mirrored where the mirrored chain has its block, by the block's hash: a
    transaction whose block a reorg took is on its way again, whatever number is mirrored.
    """
    intents = [intent for intent in load_open_intents(connection) if intent.kind != FILL]
    outcomes = {intent.intent_id: block for intent in intents if (block := _get_outcome(intent))}
    mirrored = find_mirrored(connection, outcomes.values(), mirrored_block=mirrored_block)
    tokens: set[tuple[str, int]] = set()
    kinds: set[str] = set()
    for intent in intents:
        if outcomes.get(intent.intent_id) in mirrored:
            continue
        kinds.add(intent.kind)
        tokens.update((intent.kind, token_id) for token_id in intent.payload["token_ids"])
    return frozenset(tokens), frozenset(kinds)


def _get_outcome(intent: IntentRecord) -> tuple[int, str] | None:
    """Return the block that an intent was seen in, as (number, hash)."""
    if intent.state is not IntentState.MINED:
        return None
    assert intent.mined_block is not None and intent.mined_block_hash is not None
    return intent.mined_block, intent.mined_block_hash
