"""An intent as stored: its states, its row, and the transactions that its payload remembers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from contracts.errors import Fatal, Retryable
from ledger.tables import Intent, table_of

_intent = table_of(Intent)


class IntentState(StrEnum):
    """Where an intent stands; see the drawing in ``ledger.intents.lifecycle``."""

    PLANNED = "planned"
    SIMULATED = "simulated"
    SENT = "sent"
    MINED = "mined"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REPLACED = "replaced"
    ABANDONED = "abandoned"


FILL: Final = "fill"
"""The kind of a transaction that does nothing but use a nonce which others wait for."""

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
    """Hashes of the transactions that were replaced at a higher fee: each may still be mined."""
    cancel_tx_hashes: tuple[str, ...]
    """Hashes of the transactions that do nothing but free the intent's nonce."""
    failed_tx_hashes: tuple[str, ...]
    """Hashes of the attempts that failed deep in the chain, mined or not."""
    failed_block: int | None
    """The newest block in which an attempt was seen to have failed."""
    was_mined: bool
    """Whether the intent was once in a block that a reorg took back."""
    raw_tx: str | None
    mined_block: int | None
    mined_block_hash: str | None
    gas_used: int | None
    fee_wei: int | None
    l1_fee_wei: int | None
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
    """The block that holds a transaction, and how it went there.

    ``fee_wei`` is all that it cost: gas times price, and ``l1_fee_wei`` where a rollup takes it.
    """

    tx_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    fee_wei: int
    error: str | None
    """Why it reverted, or None for success."""
    l1_fee_wei: int = 0


def load_intent(connection: Connection, intent_id: str) -> IntentRecord | None:
    """Return an intent, or None."""
    row = (
        connection.execute(select(_intent).where(_intent.c.intent_id == intent_id))
        .mappings()
        .one_or_none()
    )
    return None if row is None else read_intent(row)


def get_intent(connection: Connection, intent_id: str) -> IntentRecord:
    intent = load_intent(connection, intent_id)
    if intent is None:
        raise Fatal(f"no intent {intent_id}")
    return intent


def read_intent(row: RowMapping) -> IntentRecord:
    stored: dict[str, Any] = json.loads(row["payload"])
    values = {**row, "state": IntentState(row["state"]), "payload": stored["action"]}
    hashes: dict[str, Any] = {name: tuple(stored.get(name, ())) for name in _HASHES}
    return IntentRecord(
        **values,
        **hashes,
        failed_block=stored.get("failed_block"),
        was_mined=stored.get("was_mined", False),
    )


_HASHES: Final = ("earlier_tx_hashes", "cancel_tx_hashes", "failed_tx_hashes")


def dump_payload(intent: IntentRecord) -> str:
    """Return what the column ``payload`` holds: the action, and the transactions of the past."""
    hashes = {name: list(getattr(intent, name)) for name in _HASHES}
    stored: dict[str, Any] = {name: found for name, found in hashes.items() if found}
    if intent.failed_block is not None:
        stored["failed_block"] = intent.failed_block
    if intent.was_mined:
        stored["was_mined"] = True
    return dump_json({"action": dict(intent.payload), **stored})


def dump_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
