"""Probes of suppliers' offers: which are due, and what one found.

Every function is part of the caller's transaction. Times are Unix seconds.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from ledger.database.engine import is_postgres
from ledger.selling.ceilings import lock_listings
from ledger.suppliers.supply_offers import move_supply_offer
from ledger.tables import SupplyOffer, table_of

_offer = table_of(SupplyOffer)


def take_due_probe(
    connection: Connection, *, claim_s: int, now_s: int, but_not: Collection[str] = ()
) -> RowMapping | None:
    """Return an offer that is to be probed now, which no other process probes for ``claim_s``.

    ``but_not``: suppliers of which none is taken.
    """
    query = (
        select(_offer)
        .where(_offer.c.probe_due_s.is_not(None), _offer.c.probe_due_s <= now_s)
        .where(_offer.c.supplier_id.not_in(sorted(but_not)))
        .order_by(_offer.c.probe_due_s)
        .limit(1)
    )
    if is_postgres(connection):
        query = query.with_for_update(skip_locked=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is not None:
        connection.execute(
            update(_offer)
            .where(_offer.c.supply_offer_id == row["supply_offer_id"])
            .values(probe_due_s=now_s + claim_s)
        )
    return row


def note_probe(
    connection: Connection,
    supply_offer_id: str,
    *,
    key_version: int,
    report: Sequence[Mapping[str, Any]],
    now_s: int,
) -> str | None:
    """Write down what a probe found, and let the offer serve or not; return its status.

    None: nothing was written, as key or address are others by now, or the offer is gone. ``report``
    has an object with ``ok`` for each model.
    """
    lock_listings(connection, supply_offer_id)
    query = select(_offer).where(_offer.c.supply_offer_id == supply_offer_id)
    if is_postgres(connection):
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None or row["status"] == "deleted" or row["key_version"] != key_version:
        return None
    is_ok = all(one["ok"] for one in report)
    status = str(row["status"])
    if status in ("pending_probe", "active"):
        status = "active" if is_ok else "probe_failed"
    quota = row["quota_tokens"]
    if status == "active" and quota is not None and quota <= row["used_tokens"]:
        status = "exhausted"
    values = {
        "probe_ok": is_ok,
        "probe_report": json.dumps(list(report)),
        "probed_at_s": now_s,
        "probe_due_s": None,
    }
    if status == row["status"]:
        connection.execute(
            update(_offer).where(_offer.c.supply_offer_id == supply_offer_id).values(values)
        )
    else:
        move_supply_offer(connection, supply_offer_id, status, now_s=now_s, **values)
    return status
