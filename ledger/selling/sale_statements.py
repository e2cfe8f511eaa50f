"""The statements of sales, built once: to build one takes longer than to run it.

What they check they check in the statement that changes it, so that no limit is passed however many
requests and processes there are. Amounts are in 1e-6 USDC.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    String,
    bindparam,
    case,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from ledger.tables import (
    MarketAccount,
    MarketKey,
    MarketOffer,
    MarketSale,
    table_of,
)

_account = table_of(MarketAccount)
_key = table_of(MarketKey)
_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)

FREE_USDC: Final = _account.c.credited_usdc - _account.c.spent_usdc - _account.c.reserved_usdc
_CEILING: Final = bindparam("ceiling", type_=BigInteger)
KEY_IS_LIVE: Final = (
    select(_key.c.key_id)
    .where(
        _key.c.key_id == bindparam("key"),
        _key.c.owner == _account.c.account_id,
        _key.c.revoked_at_s.is_(None),
        or_(_key.c.expires_at_s.is_(None), _key.c.expires_at_s > bindparam("now")),
    )
    .exists()
)
RESERVE_CREDIT: Final = (
    update(_account)
    .where(_account.c.account_id == bindparam("account"), FREE_USDC >= _CEILING, KEY_IS_LIVE)
    .values(reserved_usdc=_account.c.reserved_usdc + _CEILING)
    .returning(FREE_USDC)
)
PAID_KEY_ID: Final = "x402"
"""Stands for the key of a request that is paid for by itself: no key has this id."""

RESERVE_PAID: Final = (
    update(_account)
    .where(_account.c.account_id == bindparam("account"), FREE_USDC >= _CEILING)
    .values(reserved_usdc=_account.c.reserved_usdc + _CEILING)
    .returning(FREE_USDC)
)
_TODAY: Final = bindparam("today", type_=BigInteger)
_TODAY_USDC: Final = case((_offer.c.day == _TODAY, _offer.c.day_used_usdc), else_=0) + _CEILING
_TOTAL_USDC: Final = _offer.c.total_used_usdc + _CEILING
_OFFER_IS_CURRENT: Final = (
    (_offer.c.offer_id == bindparam("offer"))
    & (_offer.c.version == bindparam("at_version"))
    & (_offer.c.status == "active")
    # A clock that runs behind another process's must not open an earlier day's cap again.
    & (_offer.c.day <= _TODAY)
)
_FITS_DAY: Final = or_(_offer.c.cap_daily_usdc.is_(None), _offer.c.cap_daily_usdc >= _TODAY_USDC)
_FITS_QUOTA: Final = or_(
    _offer.c.quota_total_usdc.is_(None), _offer.c.quota_total_usdc >= _TOTAL_USDC
)
USE_OFFER: Final = (
    update(_offer)
    .where(_OFFER_IS_CURRENT, _FITS_DAY, _FITS_QUOTA)
    .values(day=_TODAY, day_used_usdc=_TODAY_USDC, total_used_usdc=_TOTAL_USDC)
    .returning(_offer.c.day_used_usdc, _offer.c.total_used_usdc)
)
EXPLAIN_OFFER: Final = select(_FITS_DAY, _FITS_QUOTA).where(_OFFER_IS_CURRENT)
TERMS: Final = (
    "sale_id",
    "request_id",
    "attempt",
    "account_id",
    "key_id",
    "offer_id",
    "seller",
    "payout_address",
    "endpoint",
    "model",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
    "per_request_usdc",
    "unit",
    "fee_bps",
    "vesting_s",
    "ceiling_usdc",
)
"""What a reserved sale takes from its ``NewSale``: attributes there, columns here."""

INSERT_SALE: Final = insert(_sale)
FIGURES: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
    "per_request_usdc",
    "cost_usdc",
    "earning_usdc",
    "fee_usdc",
    "margin_usdc",
    "is_cut",
)
# As text: in a RETURNING on SQLite, SQLAlchemy leaves the tables' names out, and so would compare
# the offer's id with itself.
QUOTA_IS_TAKEN: Final = (
    "(SELECT its.used_tokens + its.reserved_tokens >= its.quota_tokens FROM supply_offer AS its"
    " WHERE its.supply_offer_id = market_sale.supply_offer_id)"
)
"""Whether a supplier's offer has no tokens but reserved ones: a post may end it then."""
POST_SALE: Final = (
    update(_sale)
    .where(
        _sale.c.sale_id == bindparam("sale"),
        _sale.c.state == "reserved",
        _sale.c.ceiling_usdc >= bindparam("new_cost_usdc"),
    )
    .values(
        {
            "state": "posted",
            "resolved_at_s": bindparam("now"),
            # A supplier's sale counts for its day, and is no seller's unpaid earning.
            "payout_id": case(
                (
                    _sale.c.supply_offer_id.is_not(None),
                    _sale.c.supply_offer_id + bindparam("day_mark", type_=String),
                ),
                else_=_sale.c.payout_id,
            ),
            **{name: bindparam(f"new_{name}") for name in FIGURES},
        }
    )
    .returning(
        _sale.c.account_id,
        _sale.c.offer_id,
        _sale.c.ceiling_usdc,
        _sale.c.day,
        _sale.c.supply_offer_id,
        _sale.c.bound_tokens,
        literal_column(QUOTA_IS_TAKEN),
    )
)
MOVE_SALE: Final = (
    update(_sale)
    .where(_sale.c.sale_id == bindparam("sale"))
    .values(payout_id=bindparam("new_payout_id"))
)
_FREED: Final = bindparam("freed", type_=BigInteger)
CHANGE_ACCOUNT: Final = (
    update(_account)
    .where(_account.c.account_id == bindparam("account"))
    .values(
        reserved_usdc=_account.c.reserved_usdc - _FREED,
        spent_usdc=_account.c.spent_usdc + bindparam("spent", type_=BigInteger),
    )
    .returning(FREE_USDC)
)
FREE_OFFER: Final = (
    update(_offer)
    .where(_offer.c.offer_id == bindparam("offer"))
    .values(
        # A reservation of an earlier day counts against no cap any more.
        day_used_usdc=case(
            (_offer.c.day == _TODAY, _offer.c.day_used_usdc - _FREED),
            else_=_offer.c.day_used_usdc,
        ),
        total_used_usdc=_offer.c.total_used_usdc - _FREED,
    )
    .returning(_offer.c.day, _offer.c.day_used_usdc, _offer.c.total_used_usdc)
)
