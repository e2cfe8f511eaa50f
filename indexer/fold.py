"""What a block's events do to the ledger, and how that is taken back."""

from collections.abc import Sequence

from sqlalchemy import Connection

from contracts.events import ChainEvent
from indexer.project import live_hold_usdc, project, project_all
from ledger.chain import event_rows, holds, mirror, position_rows
from ledger.database.notify import notify_positions
from ledger.selling.payouts import reopen_payouts
from ledger.spending.batches import close_batch, reopen_batch


def apply_events(
    connection: Connection, events: Sequence[ChainEvent], *, unconfirmed_above: int
) -> list[int]:
    """Fold new events into the projections, in chain order; return the positions that changed.

    Holds raised above block ``unconfirmed_above`` are noted as not spendable yet.
    """
    touched = {event.token_id for event in events if event.token_id is not None}
    states = position_rows.load_states(connection, touched)
    raises: list[holds.HoldRaised] = []
    for event in events:
        token_id = event.token_id
        if token_id is None:
            continue
        before = states.get(token_id)
        after = project(before, event)
        if after is not None:
            states[token_id] = after
        if event.name == "HoldPlaced" and event.block_number > unconfirmed_above:
            assert before is not None
            live_usdc = live_hold_usdc(before, now_s=event.block_timestamp_s)
            raises.append(
                holds.HoldRaised(
                    token_id=token_id,
                    block_number=event.block_number,
                    log_index=event.log_index,
                    raised_usdc=max(0, event.integer("granted") - live_usdc),
                    expires_before_s=before.hold_expires_at_s if live_usdc > 0 else 0,
                )
            )
    position_rows.save_states(connection, states.values())
    holds.save_hold_raises(connection, raises)
    for event in events:
        if event.name == "BatchSettled":
            close_batch(
                connection,
                event.text("batchId"),
                block_number=event.block_number,
                tx_hash=event.tx_hash,
            )
    return sorted(states)


def rewind_to(connection: Connection, block_number: int) -> None:
    """Take back every chain-derived row above ``block_number``.

    The positions that had events there are folded again from the events that remain.
    """
    token_ids, batch_ids = mirror.delete_above(connection, block_number=block_number)
    reopen_payouts(connection, above_block=block_number)
    for batch_id in batch_ids:
        reopen_batch(connection, batch_id)
    for token_id in token_ids:
        state = project_all(event_rows.load_events(connection, token_id=token_id))
        if state is None:
            position_rows.delete_position(connection, token_id)
        else:
            position_rows.save_states(connection, [state])
    # A shorter chain confirms nothing new; only the changed positions are counted again.
    holds.confirm_holds(connection, confirmed_block=-1, changed_tokens=token_ids)
    notify_positions(connection, token_ids)


def forget(connection: Connection) -> None:
    """Delete every chain-derived row, so that the mirror starts over from the deployment block.

    Usage, batches and intents stay: what they say of the chain is closed again as it is read.
    """
    rewind_to(connection, -1)
    mirror.delete_cursor(connection)
