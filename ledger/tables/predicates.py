"""What partial indexes hold, in the words that queries must have to be given them."""

HAS_SHARES_SQLITE = f"shares > '{0:078d}'"
"""Positions without shares are due for ever and never harvested. Text on SQLite: 78 digits."""
HAS_SHARES_POSTGRES = "shares > 0"
BATCH_OPEN = "batch.state = 'planned'"
PAYOUT_BATCH_OPEN = "payout_batch.state IN ('planned', 'sent')"
INTENT_OPEN = "intent.state IN ('planned', 'simulated', 'sent', 'mined')"
JOB_OPEN = "market_job.state IN ('submitting','queued','in_progress')"
PAYMENT_OPEN = "x402_payment.state IN ('verified','sent')"
PAYMENT_YOUNG = "x402_payment.state = 'settled' AND x402_payment.is_final = false"
"""Settled in a block that a reorg may still take."""
PAYMENT_DEAD = "x402_payment.state IN ('failed','expired')"
OFFER_DELETED = "market_offer.status = 'deleted'"
OWN_PROVIDER_DELETED = "market_own_provider.status = 'deleted'"
ACCOUNT_EMPTY = "market_account.credited_usdc = 0 AND market_account.kind = 'prepaid'"
SUPPLY_OFFER_LIVE = "supply_offer.status <> 'deleted'"
SUPPLY_PROBE_DUE = "supply_offer.probe_due_s IS NOT NULL"
SUPPLY_DAY_OPEN = "supply_day.payout_id IS NULL"
SUPPLIER_PAYOUT_OPEN = (
    "supplier_payouts.status IN"
    " ('pending','address_pending_whitelist','submitted','sending','needs_operator','failed')"
)
"""Neither sent nor carried over: somebody has still to do something about it."""
SALE_RESERVED = "market_sale.state = 'reserved'"
SALE_UNPAID = "market_sale.state = 'posted' AND market_sale.payout_id IS NULL"
CALL_RESERVED = "api_call.state = 'reserved'"
CALL_UNPAID = "api_call.state = 'posted' AND api_call.payout_id IS NULL"
"""These predicates find the few open rows among many closed ones. A query must repeat the words of
the index: SQLite does not match a bound value, nor PostgreSQL ``IS false`` with ``= false``."""


def unqualified(predicate: str) -> str:
    """Return a predicate as an index has it: without the table's name."""
    table, _, _ = predicate.partition(".")
    return predicate.replace(f"{table}.", "")
