"""The ledger's own invariants, as queries that return what breaks them.

L1 to L4, L7 to L9, R1 to R4 and S1 to S5 need the database only; what compares with the chain is in
``scripts/audit.py``.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ledger.chain.drawn import load_drawn_mismatches
from ledger.chain.event_rows import load_batch_events, load_settled_batches
from ledger.chain.placing import find_misplaced
from ledger.intents.record import OPEN
from ledger.market_audit import find_market_mismatches
from ledger.resale.call_audit import find_call_mismatches
from ledger.selling.payouts import find_payout_mismatches
from ledger.selling.refund_audit import find_refund_mismatches
from ledger.spending.archived_sums import load_archive_mismatches
from ledger.spending.batch_receipts import select_named
from ledger.spending.keys import load_child_mismatches
from ledger.suppliers.raw_audit import find_raw
from ledger.suppliers.supply_audit import find_supply_mismatches
from ledger.tables import Batch, BatchItem, Intent, Position, Usage, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_intent = table_of(Intent)
_position = table_of(Position)
_usage = table_of(Usage)


@dataclass(frozen=True, slots=True)
class Violation:
    """One row, or one pair of figures, that breaks an invariant."""

    invariant: str
    subject: str
    detail: str


def find_violations(connection: Connection) -> list[Violation]:
    """Return everything in the ledger that breaks L1 to L4, L7 to L9, R1 to R4 or S1 to S5, in one
    snapshot."""
    return [
        *_find_l1(connection),
        *_find_l2(connection),
        *_find_l3(connection),
        *_find_l4(connection),
        *_find_l7(connection),
        *_find_l8(connection),
        *(Violation("L9", *mismatch) for mismatch in find_refund_mismatches(connection)),
        *(Violation(*found) for found in find_call_mismatches(connection)),
        *(Violation(*mismatch) for mismatch in find_supply_mismatches(connection)),
        *(Violation(*mismatch) for mismatch in find_raw(connection)),
    ]


def find_stranded_batches(connection: Connection) -> list[Violation]:
    """Return planned batches that no open intent pursues: L4 would never come true for them.

    Right after a reorg one may be here until the keeper has looked.
    """
    # An intent with a batch is named after it: of a settlement, or of a day's evidence.
    intent_ids = connection.execute(
        select(_intent.c.intent_id).where(
            _intent.c.kind.in_(("settle", "evidence")),
            _intent.c.state.in_([state.value for state in OPEN]),
        )
    ).scalars()
    pursued = {intent_id.partition(":")[2] for intent_id in intent_ids}
    planned = connection.execute(
        select(_batch.c.batch_id).where(_batch.c.state == "planned")
    ).scalars()
    return [
        Violation("L4", f"batch {batch_id}", "planned, and no open intent sends it")
        for batch_id in planned
        if batch_id not in pursued
    ]


def find_bad_debt(connection: Connection) -> list[Violation]:
    """Return usage whose position is gone because a reorg took its mint away.

    Such usage breaks no invariant. If the position is minted again, it pays; else the operator
    bears the loss.
    """
    orphans = connection.execute(
        select(_usage.c.request_id, _usage.c.token_id, _usage.c.cost_usdc)
        .where(
            _usage.c.state.in_(("posted", "settling")),
            _usage.c.token_id.not_in(select(_position.c.token_id)),
        )
        .limit(100)
    ).all()
    return [
        Violation("debt", f"usage {request_id}", f"{cost_usdc} owed by position {token_id}, gone")
        for request_id, token_id, cost_usdc in orphans
    ]


def _find_l1(connection: Connection) -> list[Violation]:
    """L1: drawn = sum of ceilings of reserved usage + costs of posted and settling usage."""
    return [
        Violation("L1", f"position {token_id}", f"drawn is {drawn_usdc}, usage says {usage_usdc}")
        for token_id, drawn_usdc, usage_usdc in load_drawn_mismatches(connection)
    ]


def _find_l2(connection: Connection) -> list[Violation]:
    """L2: while a hold is being reduced, what counts of it is what the keeper asks for."""
    return [
        Violation(
            "L2",
            f"position {token_id}",
            f"hold_placing_usdc is {stored_usdc}, the placements on their way say {least_usdc}",
        )
        for token_id, stored_usdc, least_usdc in find_misplaced(connection)
    ]


def _find_l3(connection: Connection) -> list[Violation]:
    """L3: cost <= ceiling, and a cost exactly where usage was posted."""
    has_cost = _usage.c.state.not_in(("reserved", "voided"))
    rows = connection.execute(
        select(_usage.c.request_id, _usage.c.state, _usage.c.cost_usdc, _usage.c.ceiling_usdc)
        .where(
            (_usage.c.cost_usdc > _usage.c.ceiling_usdc)
            | (has_cost & _usage.c.cost_usdc.is_(None))
            | (~has_cost & _usage.c.cost_usdc.is_not(None))
        )
        .limit(100)
    ).all()
    return [
        Violation("L3", f"usage {request_id}", f"{state}: cost {cost}, ceiling {ceiling}")
        for request_id, state, cost, ceiling in rows
    ]


def _find_l4(connection: Connection) -> list[Violation]:
    """L4: a settled usage is in one settled batch; its costs are what the chain's events say."""
    stray = connection.execute(
        select(_usage.c.request_id, _usage.c.batch_id, _batch.c.state)
        .outerjoin(_batch, _batch.c.batch_id == _usage.c.batch_id)
        .where(
            (_usage.c.state == "settled")
            & func.coalesce(_batch.c.state, "").is_distinct_from("settled")
            | (_usage.c.state == "settling")
            & func.coalesce(_batch.c.state, "").is_distinct_from("planned")
        )
        .limit(100)
    ).all()
    violations = [
        Violation("L4", f"usage {request_id}", f"its batch {batch_id} is {state}")
        for request_id, batch_id, state in stray
    ]
    settled_on_chain = load_settled_batches(connection)
    batches = connection.execute(select(_batch.c.batch_id, _batch.c.state)).all()
    for batch_id, state in batches:
        if (state == "settled") != (batch_id in settled_on_chain):
            violations.append(Violation("L4", f"batch {batch_id}", f"{state}, unlike the chain"))
        if state != "abandoned":
            block_number = settled_on_chain.get(batch_id) if state == "settled" else None
            violations.extend(_compare_batch(connection, batch_id, settled_block=block_number))
    for token_id, in_batches, in_days in load_archive_mismatches(connection):
        detail = f"archived usage costs {in_batches} by its batches, {in_days} by its days"
        violations.append(Violation("L4", f"position {token_id}", detail))
    return violations


def _find_l7(connection: Connection) -> list[Violation]:
    """L7: what buyers of the market paid = sellers' earnings + fees + margin, to the unit; and
    sellers are paid what they earned, once, as the chain says."""
    mismatches = [*find_market_mismatches(connection), *find_payout_mismatches(connection)]
    return [Violation("L7", subject, detail) for subject, detail in mismatches]


def _find_l8(connection: Connection) -> list[Violation]:
    """L8: a child key's counters = the sums of its usage, of its day, month and lifetime."""
    return [
        Violation("L8", f"child key {key_id}", f"{counter} is {value}, usage says {usage}")
        for key_id, counter, value, usage in load_child_mismatches(connection)
    ]


def _compare_batch(
    connection: Connection, batch_id: str, *, settled_block: int | None
) -> list[Violation]:
    items = connection.execute(
        select(
            _batch_item.c.token_id,
            _batch_item.c.cost_usdc,
            _batch_item.c.archived_usdc - _batch_item.c.offset_usdc,
        ).where(_batch_item.c.batch_id == batch_id)
    ).all()
    planned = {int(token_id): int(cost_usdc) for token_id, cost_usdc, _ in items}
    # What it names and another batch settled is charged here too, and what is in the archive; the
    # offset is not.
    named = select_named(_usage.c.token_id, _usage.c.cost_usdc, batch_id=batch_id).subquery()
    sums = select(named.c.token_id, func.sum(named.c.cost_usdc)).group_by(named.c.token_id)
    used = {int(token_id): int(cost_usdc) for token_id, cost_usdc in connection.execute(sums)}
    for token_id, _, more_usdc in items:
        used[int(token_id)] = used.get(int(token_id), 0) + int(more_usdc)
    sources = {"its usage": used}
    if settled_block is not None:
        events = load_batch_events(connection, batch_id=batch_id, block_number=settled_block)
        sources["the chain"] = {
            event.integer("tokenId"): event.integer("cost")
            for event in events
            if event.name == "Settled"
        }
    return [
        Violation("L4", f"batch {batch_id}", f"planned {planned}, {source} says {figures}")
        for source, figures in sources.items()
        if figures != planned
    ]
