"""S5: no raw identity number, provider key, API key of ours or document in any table of suppliers.

Texts are looked through for what keys, tokens and fields of requests look like, sealed bytes for
what was never sealed: the beginning of a document, or nothing but readable characters. What is
found is named by its place: the audit's own output repeats none of it.
"""

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, LargeBinary, String, Table, TypeDecorator, or_, select

from ledger.tables import (
    AuditEntry,
    KybDecision,
    KybDocument,
    KybIdentity,
    KybOwner,
    KybSection,
    KybSubmission,
    MarketOfferKey,
    MarketPayout,
    OutboxMail,
    PayoutItem,
    Supplier,
    SupplierApplication,
    SupplierKey,
    SupplierPayout,
    SupplierSession,
    SupplyAccount,
    SupplyAddress,
    SupplyDay,
    SupplyOffer,
    table_of,
)

TABLES: Final = tuple(
    table_of(kind)
    for kind in (
        Supplier,
        SupplierApplication,
        SupplierKey,
        SupplierSession,
        KybSection,
        KybOwner,
        KybIdentity,
        KybDocument,
        KybSubmission,
        KybDecision,
        AuditEntry,
        OutboxMail,
        SupplyOffer,
        SupplyDay,
        SupplyAccount,
        SupplyAddress,
        SupplierPayout,
        MarketPayout,
        PayoutItem,
        MarketOfferKey,
    )
)
SHOWN_MAX: Final = 100

_MARKS: Final = ("si_supply_", "sk-", "eyJ", "earer ", "id_number", "%PDF-")
"""Every text that ``_RAW`` finds has one of them: the database picks the rows by these."""
_RAW: Final = re.compile(
    r"si_supply_[\w-]{20}|\bsk-[\w-]{16}|\beyJ[\w-]{10,}\.[\w-]{10,}\.|[Bb]earer [\w-]{16}"
    r"|\"id_number\": ?\"|%PDF-"
)
_DOCUMENTS: Final = (b"%PDF-", b"\x89PNG\r\n", b"\xff\xd8\xff")
_SEALED_MIN: Final = 16
"""Of so many random bytes it does not happen that all are readable."""

Mismatch = tuple[str, str, str]
"""The invariant, the subject and what is wrong."""


def find_raw(connection: Connection) -> list[Mismatch]:
    """Return the places of what breaks S5, at most ``SHOWN_MAX``."""
    found = [mismatch for table in TABLES for mismatch in _find_in(connection, table)]
    return found[:SHOWN_MAX]


def _find_in(connection: Connection, table: Table) -> Iterator[Mismatch]:
    key = list(table.primary_key.columns)
    for column in table.columns:
        kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
        if isinstance(kind, String):
            is_marked = or_(*(column.contains(mark, autoescape=True) for mark in _MARKS))
            query = select(column, *key).where(is_marked)
        elif isinstance(kind, LargeBinary):
            query = select(column, *key).where(column.is_not(None))
        else:
            continue
        for value, *place in connection.execute(query.execution_options(yield_per=100)):
            if _is_raw(value):
                named = " ".join(str(part) for part in place)
                what = "is not sealed" if isinstance(value, bytes) else "has a key or a number"
                yield ("S5", f"{table.name} {named[:120]}", f"{column.name} {what}")


def _is_raw(value: str | bytes) -> bool:
    if isinstance(value, str):
        return _RAW.search(value) is not None
    if value.startswith(_DOCUMENTS):
        return True
    return len(value) >= _SEALED_MIN and all(32 <= byte < 127 for byte in value)
