"""The receipts of a batch's usage."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import CompoundSelect, Connection, select, union_all

from ledger.spending.receipts import Receipt, read_served_note
from ledger.tables import BatchStray, Usage, table_of

_stray = table_of(BatchStray)
_usage = table_of(Usage)


def select_named(*columns: Any, batch_id: str) -> CompoundSelect[Any]:
    """Return a query for the usage that a batch's receipts name: its own, and its strays.

    In two parts, each by its index: with an OR between them PostgreSQL reads all usage.
    """
    own = select(*columns).where(_usage.c.batch_id == batch_id)
    strays = (
        select(*columns)
        .join(_stray, _stray.c.request_id == _usage.c.request_id)
        .where(_stray.c.batch_id == batch_id)
    )
    return union_all(own, strays)


def load_batch_receipts(connection: Connection, batch_id: str) -> list[Receipt]:
    """Return a batch's receipts in the order of its Merkle tree."""
    rows = connection.execute(select_named(_usage, batch_id=batch_id)).mappings()
    # Sorted again in Python: a database's collation need not be code point order.
    return sorted((receipt_of(row) for row in rows), key=lambda r: r.request_id)


def receipt_of(row: Mapping[Any, Any]) -> Receipt:
    """Build the receipt of a posted usage row."""
    note = read_served_note(row["served"])
    cached_price = row["cached_input_usdc_per_mtok"]
    return Receipt(
        request_id=row["request_id"],
        token_id=row["token_id"],
        key_epoch=row["key_epoch"],
        model=row["model"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"] or 0,
        completion_tokens=row["completion_tokens"],
        input_usdc_per_mtok=row["input_usdc_per_mtok"],
        cached_input_usdc_per_mtok=(
            row["input_usdc_per_mtok"] if cached_price is None else cached_price
        ),
        output_usdc_per_mtok=row["output_usdc_per_mtok"],
        cost_usdc=row["cost_usdc"],
        posted_at_s=row["resolved_at_s"],
        served=None if note is None else note.close(),
    )
