"""What an operator sees: for accounts with the role ``operator``, and read-only."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from sqlalchemy import Connection

from ledger.audit import find_violations
from ledger.chain.mirror import load_mirror
from ledger.intents.queries import load_senders
from ledger.spending.debts import load_debts
from ledger.suppliers.callers import SupplierCaller
from ledger.suppliers.mails import load_outbox_state
from ledger.suppliers.reviews import load_queue_state
from market.http.dependencies import ServicesDep
from market.http.operator.schemas import AlarmView, AuditView, OperatorOverview, ViolationView
from market.http.supply.dependencies import SESSION, SIGNED, SessionDep
from market.records.standing_records import (
    gather_chain,
    gather_keeper,
    gather_market,
    gather_positions,
    gather_processes,
    gather_usage,
)
from market.standing_alarms import Signs, decide_standing_alarms
from market.suppliers.reviewing import role_missing

router = APIRouter(tags=["operation"])

AUDIT_TIMEOUT_S: Final = 120.0
SHOWN_MAX: Final = 100


async def _get_operator(caller: SessionDep) -> SupplierCaller:
    if caller.supplier.role != "operator":
        raise role_missing("operator")
    return caller


OperatorDep = Annotated[SupplierCaller, Depends(_get_operator)]


@router.get(
    "/v1/operator/overview",
    responses=SIGNED,
    dependencies=SESSION,
    name="get_operator_overview",
)
async def get_overview(
    services: ServicesDep,
    operator: OperatorDep,  # noqa: ARG001 - it checks who asks
) -> OperatorOverview:
    """Return how the deployment stands, as its ledger has it, and what a person must look at."""
    now_s = services.database.now_s()
    facts = await services.database.read(lambda connection: _gather(connection, now_s))
    senders = facts.pop("senders")
    sight = await services.chain_watch.fetch(senders)
    facts["chain"] |= {
        "head_block": None if sight is None else sight.head_block,
        "head_age_s": None if sight is None else max(0, now_s - sight.head_at_s),
    }
    balances = {} if sight is None else sight.balances_wei
    facts["keeper"]["accounts"] = [
        {"address": one, "ether_wei": str(balances[one]) if one in balances else None}
        for one in senders
    ]
    signs = Signs(**facts.pop("signs"))
    return OperatorOverview.model_validate(
        {
            **facts,
            "at": now_s,
            "chain_id": services.chain_id,
            "alarms": [
                AlarmView(name=alarm.name, detail=alarm.detail)
                for alarm in decide_standing_alarms(signs)
            ],
        }
    )


@router.get("/v1/operator/audit", responses=SIGNED, dependencies=SESSION, name="run_operator_audit")
async def run_audit(
    services: ServicesDep,
    operator: OperatorDep,  # noqa: ARG001 - it checks who asks
) -> AuditView:
    """Check the ledger's invariants now, in one snapshot. It reads much: ask for it by hand."""
    found = await services.database.read(find_violations, timeout_s=AUDIT_TIMEOUT_S)
    return AuditView(
        violations=[
            ViolationView(invariant=one.invariant, subject=one.subject, detail=one.detail)
            for one in found[:SHOWN_MAX]
        ],
        count=len(found),
        ran_at=services.database.now_s(),
    )


def _gather(connection: Connection, now_s: int) -> dict[str, Any]:
    chain = gather_chain(load_mirror(connection), now_s)
    usage = gather_usage(connection, now_s)
    keeper = gather_keeper(connection, now_s)
    market = gather_market(connection, now_s)
    processes = gather_processes(connection, now_s)
    queue, outbox = load_queue_state(connection), load_outbox_state(connection)
    silent_s: dict[str, int] = {}
    for one in processes:
        silent_s[one["role"]] = max(silent_s.get(one["role"], 0), one["silent_s"] or 0)
    waiting = {
        "reviews": queue.waiting,
        "review_oldest_s": None if queue.oldest_at_s is None else now_s - queue.oldest_at_s,
        "mails": outbox.waiting,
        "mail_oldest_s": None if outbox.oldest_at_s is None else now_s - outbox.oldest_at_s,
        "mails_failed": outbox.failed,
    }
    return {
        "chain": chain,
        "positions": gather_positions(connection, now_s),
        "usage": usage,
        "keeper": keeper,
        "senders": load_senders(connection),
        "market": market,
        "waiting": waiting,
        "processes": processes,
        "signs": {
            "mirror_age_s": chain["age_s"],
            "silent_s": silent_s,
            "posted_oldest_s": usage["posted_oldest_s"],
            "stopped_kinds": keeper["stopped_kinds"],
            "debt_usdc": sum(debt.debt_usdc for debt in load_debts(connection, now_s=now_s)),
            "payouts_oldest_s": market["payouts_oldest_s"],
            "supplier_payouts": market["supplier_payouts"],
            "mails_failed": outbox.failed,
            "mail_oldest_s": waiting["mail_oldest_s"],
            "review_oldest_s": waiting["review_oldest_s"],
        },
    }
