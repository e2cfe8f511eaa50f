"""The tables. Each says which process causes its writes; all writes go through ``ledger``.

Chain-derived tables (``event``, ``block``, ``mirror``, and every column of ``position`` but
``drawn_usdc`` and ``hold_placing_usdc``) are written only from events and can be rebuilt from them.
Table classes do not validate: decode and check before constructing rows.
"""

from sqlalchemy import Table
from sqlmodel import SQLModel

from ledger.tables.archives import UsageDay
from ledger.tables.batches import Batch, BatchItem, BatchStray, Demand
from ledger.tables.buyers import (
    MarketAccount,
    MarketCredit,
    MarketOwnProvider,
    MarketOwnProviderKey,
    MarketWithdrawal,
    PaymentFloor,
    X402Payment,
)
from ledger.tables.chain import Block, Deployment, Event, HoldRaise, Mirror, Position
from ledger.tables.convictions import MarketConviction, MarketRefund
from ledger.tables.disputes import MarketDispute, MarketProbeTurn
from ledger.tables.evidence import MarketEvidence
from ledger.tables.holders import LeaseHolder
from ledger.tables.keeper import (
    HoldPlacement,
    Intent,
    KeeperDay,
    KeeperRest,
    PayoutBatch,
    PayoutItem,
)
from ledger.tables.kept_answers import KeptAnswer
from ledger.tables.keys import ApiKey, ChildKey, KeyPolicy, UsedNonce, WalletSession
from ledger.tables.kyb import (
    AuditEntry,
    KybDecision,
    KybDocument,
    KybIdentity,
    KybOwner,
    KybSection,
    KybSubmission,
)
from ledger.tables.mails import OutboxMail
from ledger.tables.predicates import (
    ACCOUNT_EMPTY,
    BATCH_OPEN,
    CALL_RESERVED,
    CALL_UNPAID,
    HAS_SHARES_POSTGRES,
    HAS_SHARES_SQLITE,
    INTENT_OPEN,
    JOB_OPEN,
    OFFER_DELETED,
    OWN_PROVIDER_DELETED,
    PAYMENT_DEAD,
    PAYMENT_OPEN,
    PAYMENT_YOUNG,
    PAYOUT_BATCH_OPEN,
    SALE_RESERVED,
    SALE_UNPAID,
    SUPPLIER_PAYOUT_OPEN,
    SUPPLY_DAY_OPEN,
    SUPPLY_OFFER_LIVE,
    SUPPLY_PROBE_DUE,
)
from ledger.tables.resale import (
    ApiCall,
    ApiConnection,
    ApiConnectionKey,
    ApiFlag,
    ApiName,
    ApiPeriod,
)
from ledger.tables.restores import LedgerRestore
from ledger.tables.sales import MarketArtifact, MarketJob, MarketPayout, MarketSale
from ledger.tables.schema_promises import SchemaPromise
from ledger.tables.sellers import (
    MarketKey,
    MarketLapse,
    MarketNonce,
    MarketOffer,
    MarketOfferKey,
    MarketSeller,
)
from ledger.tables.suppliers import (
    KYB_STATUSES,
    Supplier,
    SupplierApplication,
    SupplierKey,
    SupplierSession,
    SupplierStatusChange,
    SupplierThrottle,
    SupplierToken,
)
from ledger.tables.supply import (
    SupplierPayout,
    SupplyAccount,
    SupplyAddress,
    SupplyDay,
    SupplyOffer,
)
from ledger.tables.upstream_lists import UpstreamList
from ledger.tables.usage import Usage
from ledger.tables.webhooks import Webhook, WebhookDelivery

__all__ = [
    "ACCOUNT_EMPTY",
    "BATCH_OPEN",
    "CALL_RESERVED",
    "CALL_UNPAID",
    "HAS_SHARES_POSTGRES",
    "HAS_SHARES_SQLITE",
    "INTENT_OPEN",
    "JOB_OPEN",
    "KYB_STATUSES",
    "OFFER_DELETED",
    "OWN_PROVIDER_DELETED",
    "PAYMENT_DEAD",
    "PAYMENT_OPEN",
    "PAYMENT_YOUNG",
    "PAYOUT_BATCH_OPEN",
    "SALE_RESERVED",
    "SALE_UNPAID",
    "SUPPLIER_PAYOUT_OPEN",
    "SUPPLY_DAY_OPEN",
    "SUPPLY_OFFER_LIVE",
    "SUPPLY_PROBE_DUE",
    "ApiCall",
    "ApiConnection",
    "ApiConnectionKey",
    "ApiFlag",
    "ApiKey",
    "ApiName",
    "ApiPeriod",
    "AuditEntry",
    "Batch",
    "BatchItem",
    "BatchStray",
    "Block",
    "ChildKey",
    "Demand",
    "Deployment",
    "Event",
    "HoldPlacement",
    "HoldRaise",
    "Intent",
    "KeeperDay",
    "KeeperRest",
    "KeptAnswer",
    "KeyPolicy",
    "KybDecision",
    "KybDocument",
    "KybIdentity",
    "KybOwner",
    "KybSection",
    "KybSubmission",
    "LeaseHolder",
    "LedgerRestore",
    "MarketAccount",
    "MarketArtifact",
    "MarketConviction",
    "MarketCredit",
    "MarketDispute",
    "MarketEvidence",
    "MarketJob",
    "MarketKey",
    "MarketLapse",
    "MarketNonce",
    "MarketOffer",
    "MarketOfferKey",
    "MarketOwnProvider",
    "MarketOwnProviderKey",
    "MarketPayout",
    "MarketProbeTurn",
    "MarketRefund",
    "MarketSale",
    "MarketSeller",
    "MarketWithdrawal",
    "Mirror",
    "OutboxMail",
    "PaymentFloor",
    "PayoutBatch",
    "PayoutItem",
    "Position",
    "SchemaPromise",
    "Supplier",
    "SupplierApplication",
    "SupplierKey",
    "SupplierPayout",
    "SupplierSession",
    "SupplierStatusChange",
    "SupplierThrottle",
    "SupplierToken",
    "SupplyAccount",
    "SupplyAddress",
    "SupplyDay",
    "SupplyOffer",
    "UpstreamList",
    "Usage",
    "UsageDay",
    "UsedNonce",
    "WalletSession",
    "Webhook",
    "WebhookDelivery",
    "X402Payment",
    "table_of",
]


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table of a SQLModel class."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table
