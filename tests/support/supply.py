"""Suppliers, their offers and sales in the ledger, for tests below HTTP."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from contracts.units import utc_day
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key
from ledger.selling.sale_records import NewSale, SaleFigures
from ledger.selling.sales import post_sale, reserve_sale
from ledger.selling.sealed_keys import SealedKey
from ledger.suppliers.accounts import open_supplier, set_kyb_status
from ledger.suppliers.saved_addresses import SavedAddress, save_address
from ledger.suppliers.settlement import NetworkTerms, SettlementTerms
from ledger.suppliers.supply_offers import Listing, NewSupplyOffer, save_supply_offer
from ledger.suppliers.supply_probes import note_probe
from ledger.tables import MarketOffer, SupplierPayout, table_of
from tests.support.ledgers import NOW_S

TODAY: Final = utc_day(NOW_S)
ADDRESS: Final = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
TERMS: Final = SettlementTerms(
    fee_bps=1_500,
    networks={
        "base": NetworkTerms("chain", "USDC", 10_000),
        "trc20": NetworkTerms("nowpayments", "USDT", 1_000_000),
        "bep20": NetworkTerms("manual", "USDT", 1),
    },
    default_network="base",
    usd_rate="1",
    usd_rate_source="par",
)

_numbers: Final = itertools.count()


def put_supplier(
    connection: Connection, supplier_id: str = "s", *, is_approved: bool = True, now_s: int = 1_000
) -> None:
    """Open a supplier's account, approved long ago unless told otherwise."""
    open_supplier(
        connection,
        supplier_id=supplier_id,
        change_id=f"{supplier_id}-0",
        email=f"{supplier_id}@company.example",
        password_hash=None,
        now_s=now_s,
    )
    if is_approved:
        set_kyb_status(
            connection, supplier_id, "approved", change_id=f"{supplier_id}-1", now_s=now_s + 1
        )


def put_supply_offer(
    connection: Connection,
    supply_offer_id: str = "so",
    *,
    supplier_id: str = "s",
    models: Sequence[str] = ("m",),
    is_probed: bool = True,
    now_s: int = 1_000,
    **changes: Any,
) -> None:
    """List an offer at 0.15 USD for a million tokens, without ceilings; it serves already."""
    values: dict[str, Any] = {
        "provider_type": "openai_compatible",
        "bid_usdc_per_mtok": 150_000,
        "base_url": "https://s.example/v1",
        "rate_limit_rpm": None,
        "quota_tokens": None,
        "legal_basis": None,
        **changes,
    }
    offer = NewSupplyOffer(
        supply_offer_id=supply_offer_id,
        supplier_id=supplier_id,
        model_list=json.dumps(models),
        models_digest=hashlib.sha256(json.dumps(sorted(models)).encode()).hexdigest(),
        **values,
    )
    listings = [
        Listing(f"{supply_offer_id}-{model}", model, SealedKey(b"c", b"w", "kms"))
        for model in models
    ]
    save_supply_offer(connection, offer, listings, now_s=now_s)
    if is_probed:
        report = [{"model": model, "ok": True} for model in models]
        note_probe(connection, supply_offer_id, key_version=0, report=report, now_s=now_s)


def put_buyer(connection: Connection, *, credit_usdc: int = 10**15) -> None:
    """Open a buyer's account ``b`` with a key ``k`` and much credit."""
    save_account(connection, account_id="b", kind="prepaid", wallet="0xb", now_s=1_000)
    add_credit(
        connection,
        credit_id="c",
        account_id="b",
        amount_usdc=credit_usdc,
        source="test",
        now_s=1_000,
    )
    save_key(connection, NewKey("k", "h", "buyer", "b", "", None), now_s=1_000)


def make_sale(
    connection: Connection,
    *,
    supply_offer_id: str = "so",
    supplier_id: str = "s",
    model: str = "m",
    bound_tokens: int = 1_000_000,
    bid: int = 150_000,
) -> NewSale:
    """Return a sale of an offer as it is now."""
    table = table_of(MarketOffer)
    offer_id = f"{supply_offer_id}-{model}"
    version = connection.execute(
        select(table.c.version).where(table.c.offer_id == offer_id)
    ).scalar_one()
    return NewSale(
        request_id=f"r{next(_numbers):08d}",
        attempt=0,
        account_id="b",
        key_id="k",
        offer_id=offer_id,
        offer_version=version,
        seller=supplier_id,
        payout_address="",
        endpoint="chat/completions",
        model=model,
        input_usdc_per_mtok=bid,
        output_usdc_per_mtok=bid,
        fee_bps=1_500,
        ceiling_usdc=-(-bound_tokens * bid // 1_000_000),
        supply_offer_id=supply_offer_id,
        bound_tokens=bound_tokens,
    )


def reserve(connection: Connection, sale: NewSale, *, now_s: int = NOW_S) -> None:
    """Reserve a sale for an hour."""
    reserve_sale(connection, sale, now_s=now_s, lease_expires_at_s=now_s + 3_600)


def post(connection: Connection, sale: NewSale, tokens: int, *, now_s: int = NOW_S) -> None:
    """Post a sale of so many tokens, a fifth of them of the answer."""
    cost = min(-(-tokens * sale.input_usdc_per_mtok // 1_000_000), sale.ceiling_usdc)
    fee = cost * sale.fee_bps // 10_000
    figures = SaleFigures(
        prompt_tokens=tokens - tokens // 5,
        completion_tokens=tokens // 5,
        cost_usdc=cost,
        earning_usdc=cost - fee,
        fee_usdc=fee,
        margin_usdc=0,
        input_usdc_per_mtok=sale.input_usdc_per_mtok,
        output_usdc_per_mtok=sale.output_usdc_per_mtok,
    )
    post_sale(connection, sale.sale_id, figures, now_s=now_s)


def sell(connection: Connection, tokens: int, *, now_s: int = NOW_S, **changes: Any) -> NewSale:
    """Sell so many tokens."""
    sale = make_sale(connection, **{"bound_tokens": tokens, **changes})
    reserve(connection, sale, now_s=now_s)
    post(connection, sale, tokens, now_s=now_s)
    return sale


def put_address(
    connection: Connection,
    supplier_id: str = "s",
    *,
    network: str = "base",
    address: str = ADDRESS,
    counts_from_s: int = 1_000,
    now_s: int = 1_000,
) -> None:
    """Save an address, and choose its network."""
    saved = SavedAddress(
        f"{supplier_id}-{next(_numbers):08d}", supplier_id, network, address, counts_from_s
    )
    save_address(connection, saved, is_preferred=True, now_s=now_s)


def list_payouts(connection: Connection) -> list[dict[str, Any]]:
    """Return all suppliers' payouts by their ids."""
    table = table_of(SupplierPayout)
    rows = connection.execute(select(table).order_by(table.c.payout_id)).mappings()
    return [dict(row) for row in rows]
