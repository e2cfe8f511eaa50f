"""Decided actions as intents in the ledger."""

import hashlib
import json
from typing import Any

from sqlalchemy import Connection

from keeper.budgets import find_fund, get_release_account
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action
from keeper.duties.registry import AnyDuty
from keeper.snapshot import Snapshot
from keeper.worth import RELEASE
from ledger.intents.lifecycle import plan_intent


def build_intent_id(kind: str, call: ChainCall, *, block_hash: str) -> str:
    """Return the id of an action: its kind and its batch, or else what it does at which block.

    Deciding the same at the same block gives the same id.
    """
    if call.batch_id is not None:
        return f"{kind}:{call.batch_id}"
    meaning = json.dumps([block_hash, call.payload()], sort_keys=True)
    return f"{kind}:{hashlib.sha256(meaning.encode()).hexdigest()[:32]}"


def plan(
    connection: Connection, duty: AnyDuty, action: Action, snapshot: Snapshot, *, now_s: int
) -> str | None:
    """Write an action's intent, and its batch with it; return its id, None for nothing to do.

    The same decision at the same block is one intent, however often it is made.
    """
    call = duty.build(connection, action.items, now_s=now_s)
    if call is None:
        return None
    intent_id = build_intent_id(action.kind, call, block_hash=snapshot.moment.block_hash)
    is_new = plan_intent(
        connection,
        intent_id=intent_id,
        kind=action.kind,
        reason=action.reason,
        payload={**call.payload(), **_build_budget(action, snapshot)},
        now_s=now_s,
    )
    if not is_new:
        return None
    facts: Any = snapshot.facts[action.kind]
    duty.note_planned(connection, action.items, facts, intent_id=intent_id, now_s=now_s)
    return intent_id


def _build_budget(action: Action, snapshot: Snapshot) -> dict[str, Any]:
    """Return what an intent stores of whose budget it is of, and whose releases it answers."""
    fund = find_fund(action.kind, action.items, snapshot.moment.gas_price)
    released = [
        get_release_account(item.account) for item in action.items if item.reason == RELEASE
    ]
    return {"fund": fund, "released": released}
