"""Transactions meant, before they are sent: the keeper's memory across a crash.

::

       ┌──────── tried again ◄──────┬────────────┬─────────────── any end, after a deep reorg
       ▼                            │            │
    planned ──► simulated ──► sent ◄──reorg── mined ──► confirmed
       └────────────┴──► abandoned  │            └────► reverted
                    └──► replaced ◄─┘

``planned`` and ``simulated``: nothing is signed that can still land. ``sent``: the signed
transaction is stored, and it may or may not be known to any node; its outcome is found on chain,
never guessed. ``mined``: it is in a block that can still go; ``error`` says whether it reverted
there. ``confirmed``, ``reverted``: that block is deep enough. ``abandoned``: given up.
``replaced``: another transaction used its nonce, or had its effect.

A transaction with a batch id is tried again under the same intent, with another nonce: the id
counts once on chain, so whichever attempt lands, the others have no effect.

Every function works inside the caller's write transaction. A change of state names the states that
it may start from: a change that finds another state does nothing and raises ``IntentMoved``; a
change that finds its own result is a repetition and harmless.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.chain.placing import refresh_placing
from ledger.database.statements import insert_or_ignore
from ledger.intents.record import (
    FILL,
    OPEN,
    Inclusion,
    IntentConflict,
    IntentMoved,
    IntentRecord,
    IntentState,
    SignedTransaction,
    dump_json,
    dump_payload,
    get_intent,
)
from ledger.tables import Intent, table_of

_intent = table_of(Intent)


_ENDED: Final = (
    IntentState.SENT,
    IntentState.MINED,
    IntentState.CONFIRMED,
    IntentState.REVERTED,
    IntentState.REPLACED,
)
"""From where an intent may be tried again; from the last three after a reorg only."""


def plan_intent(
    connection: Connection,
    *,
    intent_id: str,
    kind: str,
    reason: str,
    payload: Mapping[str, Any],
    now_s: int,
) -> bool:
    """Write an intent down before anything is done for it; tell whether it is new.

    Raises ``IntentConflict`` where the id stands for something else.
    """
    row = {
        "intent_id": intent_id,
        "kind": kind,
        "state": IntentState.PLANNED.value,
        "reason": reason,
        "payload": dump_json({"action": dict(payload)}),
        "created_at_s": now_s,
        "updated_at_s": now_s,
    }
    if insert_or_ignore(connection, _intent, row):
        return True
    stored = get_intent(connection, intent_id)
    if stored.kind != kind or dict(stored.payload) != json.loads(dump_json(payload)):
        raise IntentConflict(f"intent {intent_id} stands for something else already")
    return False


def mark_simulated(connection: Connection, intent_id: str, *, now_s: int) -> None:
    """Note that the call would succeed as things stand. Raises ``IntentMoved``."""
    _move(
        connection,
        intent_id,
        {"state": IntentState.SIMULATED},
        allowed=(IntentState.PLANNED, IntentState.SIMULATED),
        now_s=now_s,
    )


def mark_sent(
    connection: Connection, intent_id: str, signed: SignedTransaction, *, now_s: int
) -> None:
    """Store a signed transaction; the caller sends it only after this is committed.

    Raises ``IntentMoved``, also where another intent of this sender holds the nonce already.
    """
    taken = connection.execute(
        select(_intent.c.intent_id).where(
            _intent.c.sender == signed.sender,
            _intent.c.nonce == signed.nonce,
            _intent.c.intent_id != intent_id,
            # A confirmed one too: if its nonce is unused, a reorg took it back meanwhile.
            _intent.c.state.in_([state.value for state in (*OPEN, IntentState.CONFIRMED)]),
        )
    ).scalar()
    if taken is not None:
        raise IntentMoved(f"nonce {signed.nonce} belongs to intent {taken}")
    changes = {
        "state": IntentState.SENT,
        "sender": signed.sender,
        "nonce": signed.nonce,
        "tx_hash": signed.tx_hash,
        "raw_tx": signed.raw_tx,
    }
    try:
        _move(connection, intent_id, changes, allowed=(IntentState.SIMULATED,), now_s=now_s)
    except IntegrityError as error:
        # Another keeper stored its own since we looked; this transaction must roll back.
        raise IntentMoved(f"nonce {signed.nonce} was taken meanwhile") from error


def plan_fill(connection: Connection, signed: SignedTransaction, *, now_s: int) -> str:
    """Store a signed transaction that does nothing, as an intent of its own; return its id.

    The caller sends it only after this is committed. Raises ``IntentMoved`` where an open intent
    has its nonce.
    """
    intent_id = f"{FILL}:{signed.tx_hash}"
    row = {
        "intent_id": intent_id,
        "kind": FILL,
        "state": IntentState.SENT.value,
        "reason": f"nonce {signed.nonce} is missing below one that is sent",
        "payload": dump_json({"action": {"token_ids": []}}),
        "sender": signed.sender,
        "nonce": signed.nonce,
        "tx_hash": signed.tx_hash,
        "raw_tx": signed.raw_tx,
        "created_at_s": now_s,
        "updated_at_s": now_s,
    }
    try:
        connection.execute(insert(_intent).values(row))
    except IntegrityError as error:
        raise IntentMoved(f"nonce {signed.nonce} was taken meanwhile") from error
    return intent_id


def replace_transaction(
    connection: Connection,
    intent: IntentRecord,
    signed: SignedTransaction,
    *,
    cancels: bool = False,
    now_s: int,
) -> None:
    """Store a transaction with the same nonce and a higher fee beside the one that is stuck.

    ``cancels`` says that it does nothing. Raises ``IntentMoved`` where the intent is not ``sent``
    with the hash that ``intent`` names.
    """
    if signed.nonce != intent.nonce or signed.sender != intent.sender:
        raise ValueError("a replacement has the nonce and the sender of what it replaces")
    cancelled = (signed.tx_hash, *intent.cancel_tx_hashes) if cancels else intent.cancel_tx_hashes
    changed = connection.execute(
        update(_intent)
        .where(
            _intent.c.intent_id == intent.intent_id,
            _intent.c.state == IntentState.SENT.value,
            _intent.c.tx_hash == intent.tx_hash,
        )
        .values(
            tx_hash=signed.tx_hash,
            raw_tx=signed.raw_tx,
            payload=dump_payload(
                replace(intent, earlier_tx_hashes=intent.tx_hashes, cancel_tx_hashes=cancelled)
            ),
            updated_at_s=now_s,
        )
    ).rowcount
    if changed != 1:
        raise IntentMoved(f"intent {intent.intent_id} was moved meanwhile")


def try_again(
    connection: Connection, intent: IntentRecord, *, failed_block: int, now_s: int
) -> None:
    """Plan an intent again whose transactions failed, or can never land, as of ``failed_block``.

    Only for transactions that count once on chain however often they are sent. Raises
    ``IntentMoved`` where the stored intent differs from ``intent``.
    """
    payload = replace(
        intent,
        earlier_tx_hashes=(),
        cancel_tx_hashes=(),
        failed_tx_hashes=(*intent.tx_hashes, *intent.failed_tx_hashes),
        failed_block=failed_block,
        was_mined=False,
    )
    changed = connection.execute(
        update(_intent)
        .where(
            _intent.c.intent_id == intent.intent_id,
            _intent.c.state == intent.state.value,
            _intent.c.state.in_([state.value for state in _ENDED]),
            _intent.c.tx_hash.is_not_distinct_from(intent.tx_hash),
        )
        .values(
            state=IntentState.PLANNED.value,
            payload=dump_payload(payload),
            sender=None,
            nonce=None,
            tx_hash=None,
            raw_tx=None,
            mined_block=None,
            mined_block_hash=None,
            gas_used=None,
            fee_wei=None,
            l1_fee_wei=None,
            error=None,
            updated_at_s=now_s,
        )
    ).rowcount
    if changed != 1:
        raise IntentMoved(f"intent {intent.intent_id} was moved meanwhile")


def plan_abandoned_again(connection: Connection, intent_id: str, *, now_s: int) -> bool:
    """Plan an intent again that was given up for good; tell whether it was.

    Only for a batch whose id and content follow from something else, so that no other batch can
    take its place. What it has tried counts no more: nothing of it can still land.
    """
    signed = ("sender", "nonce", "tx_hash", "raw_tx")
    outcome = ("mined_block", "mined_block_hash", "gas_used", "fee_wei", "l1_fee_wei", "error")
    changed = connection.execute(
        update(_intent)
        .where(
            _intent.c.intent_id == intent_id,
            _intent.c.state.in_([IntentState.ABANDONED.value, IntentState.REVERTED.value]),
        )
        .values(
            state=IntentState.PLANNED.value,
            updated_at_s=now_s,
            **dict.fromkeys((*signed, *outcome)),
        )
    ).rowcount
    return changed == 1


def mark_mined(connection: Connection, intent_id: str, inclusion: Inclusion, *, now_s: int) -> None:
    """Note the block that holds the transaction now. Raises ``IntentMoved``."""
    _move(
        connection,
        intent_id,
        {
            "state": IntentState.MINED,
            "mined_block": inclusion.block_number,
            "mined_block_hash": inclusion.block_hash,
            "gas_used": inclusion.gas_used,
            "fee_wei": inclusion.fee_wei,
            "l1_fee_wei": inclusion.l1_fee_wei,
            "error": inclusion.error,
        },
        allowed=(IntentState.SENT, IntentState.MINED),
        now_s=now_s,
    )


def unmine(connection: Connection, intent_id: str, *, now_s: int) -> None:
    """Take ``mined`` or ``confirmed`` back to ``sent``: a reorg dropped the block.

    Raises ``IntentMoved``.
    """
    _move(
        connection,
        intent_id,
        {
            "state": IntentState.SENT,
            "payload": dump_payload(replace(get_intent(connection, intent_id), was_mined=True)),
            "mined_block": None,
            "mined_block_hash": None,
            "gas_used": None,
            "fee_wei": None,
            "l1_fee_wei": None,
            "error": None,
        },
        allowed=(IntentState.SENT, IntentState.MINED, IntentState.CONFIRMED),
        now_s=now_s,
    )


def mark_final(connection: Connection, intent: IntentRecord, *, now_s: int) -> IntentState:
    """Close a mined intent whose block is deep enough: ``confirmed``, or ``reverted`` with why.

    Raises ``IntentMoved``.
    """
    state = IntentState.CONFIRMED if intent.error is None else IntentState.REVERTED
    _move(connection, intent.intent_id, {"state": state}, allowed=(IntentState.MINED,), now_s=now_s)
    return state


def mark_abandoned(connection: Connection, intent_id: str, *, error: str, now_s: int) -> None:
    """Give up an intent of which nothing can land any more. Raises ``IntentMoved``."""
    _move(
        connection,
        intent_id,
        {"state": IntentState.ABANDONED, "error": error},
        allowed=(IntentState.PLANNED, IntentState.SIMULATED),
        now_s=now_s,
    )


def mark_replaced(connection: Connection, intent_id: str, *, error: str, now_s: int) -> None:
    """Close an intent whose nonce, or whose effect, another transaction took, deep in the chain.

    Raises ``IntentMoved``.
    """
    _move(
        connection,
        intent_id,
        {"state": IntentState.REPLACED, "error": error},
        allowed=(
            IntentState.PLANNED,
            IntentState.SIMULATED,
            IntentState.SENT,
            IntentState.MINED,
        ),
        now_s=now_s,
    )


def _move(
    connection: Connection,
    intent_id: str,
    changes: Mapping[str, Any],
    *,
    allowed: Sequence[IntentState],
    now_s: int,
) -> None:
    values = {**changes, "state": IntentState(changes["state"]).value, "updated_at_s": now_s}
    moved = connection.execute(
        update(_intent)
        .where(
            _intent.c.intent_id == intent_id,
            _intent.c.state.in_([state.value for state in allowed]),
        )
        .values(values)
    ).rowcount
    if moved == 1:
        refresh_placing(connection, intent_id)
        return
    stored = get_intent(connection, intent_id)
    repeated = all(
        getattr(stored, name) == value for name, value in changes.items() if name != "error"
    )
    if not repeated:
        raise IntentMoved(f"intent {intent_id} is {stored.state}, not {' or '.join(allowed)}")
