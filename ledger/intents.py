"""Transactions meant, before they are sent: the keeper's memory across a crash.

::

    planned ──► simulated ──► sent ◄──reorg── mined ──► confirmed
       └────────────┴──► abandoned  │            └────► reverted
                                    └──► replaced

``planned`` and ``simulated``: nothing was signed, so nothing can land. ``sent``: the signed
transaction is stored, and it may or may not be known to any node; its outcome is found on chain,
never guessed. ``mined``: it is in a block that can still go; ``error`` says whether it reverted
there. ``confirmed``, ``reverted``: that block is deep enough. ``abandoned``: given up before
anything was signed. ``replaced``: another transaction used its nonce.

Every function works inside the caller's write transaction. A change of state names the states that
it may start from: one that finds another state changes nothing and raises ``IntentMoved``; one that
finds its own result is a repetition and harmless.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, select, update

from contracts.errors import Fatal, Retryable
from ledger.metering import insert_or_ignore
from ledger.tables import Demand, Intent, table_of

_demand = table_of(Demand)
_intent = table_of(Intent)


class IntentState(StrEnum):
    """Where an intent stands; see the module's drawing."""

    PLANNED = "planned"
    SIMULATED = "simulated"
    SENT = "sent"
    MINED = "mined"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REPLACED = "replaced"
    ABANDONED = "abandoned"


OPEN: Final = (
    IntentState.PLANNED,
    IntentState.SIMULATED,
    IntentState.SENT,
    IntentState.MINED,
)


class IntentMoved(Retryable):
    """The intent is not in a state that this change may start from: somebody else moved it."""


class IntentConflict(Fatal):
    """One intent id was used for two different things."""


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An intent as stored. ``payload`` is what the keeper needs to build its transaction again."""

    intent_id: str
    kind: str
    state: IntentState
    reason: str
    payload: Mapping[str, Any]
    sender: str | None
    nonce: int | None
    tx_hash: str | None
    earlier_tx_hashes: tuple[str, ...]
    """Hashes of the transactions that a higher fee took the place of: any of them may be mined."""
    raw_tx: str | None
    mined_block: int | None
    mined_block_hash: str | None
    gas_used: int | None
    fee_wei: int | None
    error: str | None
    created_at_s: int
    updated_at_s: int

    @property
    def tx_hashes(self) -> tuple[str, ...]:
        """Every transaction that can carry this intent out, the newest first."""
        newest = () if self.tx_hash is None else (self.tx_hash,)
        return (*newest, *self.earlier_tx_hashes)


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to be sent; ``raw_tx`` and ``tx_hash`` are 0x hex."""

    sender: str
    nonce: int
    tx_hash: str
    raw_tx: str


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The block that holds a transaction, and how it went there. ``fee_wei`` is gas times price."""

    tx_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    fee_wei: int
    error: str | None
    """Why it reverted, or None for success."""


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
        "payload": _dump({"action": dict(payload), "earlier_tx_hashes": []}),
        "created_at_s": now_s,
        "updated_at_s": now_s,
    }
    if insert_or_ignore(connection, _intent, row):
        return True
    stored = _get(connection, intent_id)
    if stored.kind != kind or dict(stored.payload) != json.loads(_dump(payload)):
        raise IntentConflict(f"intent {intent_id} stands for something else already")
    return False


def load_intent(connection: Connection, intent_id: str) -> IntentRecord | None:
    """Return an intent, or None."""
    row = (
        connection.execute(select(_intent).where(_intent.c.intent_id == intent_id))
        .mappings()
        .one_or_none()
    )
    return None if row is None else _from_row(row)


def load_open_intents(connection: Connection) -> list[IntentRecord]:
    """Return the intents whose outcome is not final: those with a nonce first, in its order."""
    rows = connection.execute(
        select(_intent)
        .where(_intent.c.state.in_([state.value for state in OPEN]))
        .order_by(
            _intent.c.nonce.is_(None), _intent.c.nonce, _intent.c.created_at_s, _intent.c.intent_id
        )
    ).mappings()
    return [_from_row(row) for row in rows]


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
    _move(
        connection,
        intent_id,
        {
            "state": IntentState.SENT,
            "sender": signed.sender,
            "nonce": signed.nonce,
            "tx_hash": signed.tx_hash,
            "raw_tx": signed.raw_tx,
        },
        allowed=(IntentState.SIMULATED,),
        now_s=now_s,
    )


def replace_transaction(
    connection: Connection, intent: IntentRecord, signed: SignedTransaction, *, now_s: int
) -> None:
    """Store a transaction with the same nonce and a higher fee beside the one that is stuck.

    Raises ``IntentMoved`` where the intent is not ``sent`` with the hash that ``intent`` names.
    """
    if signed.nonce != intent.nonce or signed.sender != intent.sender:
        raise ValueError("a replacement has the nonce and the sender of what it replaces")
    payload = {"action": dict(intent.payload), "earlier_tx_hashes": list(intent.tx_hashes)}
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
            payload=_dump(payload),
            updated_at_s=now_s,
        )
    ).rowcount
    if changed != 1:
        raise IntentMoved(f"intent {intent.intent_id} was moved meanwhile")


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
            "mined_block": None,
            "mined_block_hash": None,
            "gas_used": None,
            "fee_wei": None,
            "error": None,
        },
        allowed=(IntentState.SENT, IntentState.MINED, IntentState.CONFIRMED),
        now_s=now_s,
    )


def load_confirmed_from_nonce(
    connection: Connection, *, sender: str, nonce: int
) -> list[IntentRecord]:
    """Return confirmed intents with a nonce that the chain counts as unused: a deep reorg's."""
    rows = connection.execute(
        select(_intent)
        .where(
            _intent.c.sender == sender,
            _intent.c.nonce >= nonce,
            _intent.c.state == IntentState.CONFIRMED.value,
        )
        .order_by(_intent.c.nonce)
    ).mappings()
    return [_from_row(row) for row in rows]


def mark_final(connection: Connection, intent: IntentRecord, *, now_s: int) -> IntentState:
    """Close a mined intent whose block is deep enough: ``confirmed``, or ``reverted`` with why.

    Raises ``IntentMoved``.
    """
    state = IntentState.CONFIRMED if intent.error is None else IntentState.REVERTED
    _move(connection, intent.intent_id, {"state": state}, allowed=(IntentState.MINED,), now_s=now_s)
    return state


def mark_abandoned(connection: Connection, intent_id: str, *, error: str, now_s: int) -> None:
    """Give up an intent for which nothing was signed. Raises ``IntentMoved``."""
    _move(
        connection,
        intent_id,
        {"state": IntentState.ABANDONED, "error": error},
        allowed=(IntentState.PLANNED, IntentState.SIMULATED),
        now_s=now_s,
    )


def mark_replaced(connection: Connection, intent_id: str, *, error: str, now_s: int) -> None:
    """Close a sent intent whose nonce a transaction of somebody else used, deep in the chain.

    Raises ``IntentMoved``.
    """
    _move(
        connection,
        intent_id,
        {"state": IntentState.REPLACED, "error": error},
        allowed=(IntentState.SENT,),
        now_s=now_s,
    )


def answer_demand(connection: Connection, *, token_id: int, required_usdc: int) -> None:
    """Lower a demand to nothing required, unless it grew since the keeper read ``required_usdc``.

    Belongs in the transaction that plans the hold: what is still missing is asked for again.
    """
    connection.execute(
        update(_demand)
        .where(_demand.c.token_id == token_id, _demand.c.required_usdc == required_usdc)
        .values(required_usdc=0)
    )


def drop_demand(connection: Connection, *, wanted_before_s: int) -> int:
    """Delete demands that nobody repeated since ``wanted_before_s``; return how many."""
    return connection.execute(
        delete(_demand).where(_demand.c.wanted_at_s < wanted_before_s)
    ).rowcount


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
        return
    stored = _get(connection, intent_id)
    repeated = all(
        getattr(stored, name) == value for name, value in changes.items() if name != "error"
    )
    if not repeated:
        raise IntentMoved(f"intent {intent_id} is {stored.state}, not {' or '.join(allowed)}")


def _get(connection: Connection, intent_id: str) -> IntentRecord:
    intent = load_intent(connection, intent_id)
    if intent is None:
        raise Fatal(f"no intent {intent_id}")
    return intent


def _from_row(row: RowMapping) -> IntentRecord:
    stored: dict[str, Any] = json.loads(row["payload"])
    values = {**row, "state": IntentState(row["state"]), "payload": stored["action"]}
    return IntentRecord(**values, earlier_tx_hashes=tuple(stored["earlier_tx_hashes"]))


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
