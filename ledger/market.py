"""The market's money and state: keys, accounts, offers, sales, payouts. One transaction each.

A sale is one attempt of one offer at one request: **reserve** the most that it can cost, then
**post** what it did cost or **void** it. Reserving counts against the buyer's credit and against
the offer's daily cap and total quota in the statements that check them, so that neither is passed
however many requests and processes there are. A sale's price, fee and payee are those of its
reservation: a seller cannot reprice a request in flight.

::

    reserved ──post──► posted ──planned──► part of a payout
        └──void / lease ran out──► voided

Locks are taken in this order: ``market_sale``, ``market_account``, ``market_offer``, each ascending
by id. Amounts are in 1e-6 USDC. Every function takes the connection of an open write transaction;
what raises has written nothing only where the caller rolls back, as ``ledger.writer`` does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from contracts.errors import Rejected
from contracts.units import USDC_MAX, utc_day
from ledger.engine import is_postgres
from ledger.metering import insert_or_ignore
from ledger.tables import (
    MarketAccount,
    MarketCredit,
    MarketKey,
    MarketNonce,
    MarketOffer,
    MarketOfferKey,
    MarketPayout,
    MarketSale,
    MarketSeller,
    table_of,
)

_account = table_of(MarketAccount)
_credit = table_of(MarketCredit)
_key = table_of(MarketKey)
_nonce = table_of(MarketNonce)
_offer = table_of(MarketOffer)
_offer_key = table_of(MarketOfferKey)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)

KEYS_MAX: Final = 25
"""Live keys of one owner."""

OFFERS_MAX: Final = 1_000
"""Offers of one seller that are not deleted."""


class SaleDenial(StrEnum):
    """Why a sale cannot be reserved."""

    KEY_REVOKED = "key_revoked"
    CREDIT_SPENT = "credit_spent"
    OFFER_CHANGED = "offer_changed"
    CAP_REACHED = "cap_reached"
    QUOTA_SPENT = "quota_spent"


class SaleRefused(Rejected):
    """A sale does not fit the buyer's credit or the offer's limits as they are now.

    ``available_usdc`` is the buyer's free credit where that is what lacks.
    """

    def __init__(self, reason: SaleDenial, available_usdc: int | None = None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.available_usdc = available_usdc


class SaleResolved(Rejected):
    """The sale has already left the state that the call expects, or was never there."""


class TooMany(Rejected):
    """The owner has as many keys or offers as are allowed."""


class IdempotencyConflict(Rejected):
    """The idempotency key stands for a request with another content."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be stored: its hash only."""

    key_id: str
    key_hash: str
    kind: str
    owner: str
    label: str
    expires_at_s: int | None


@dataclass(frozen=True, slots=True)
class NewOffer:
    """An offer to be stored. Prices in 1e-6 USDC per 1e6 tokens, the multiplier in 1e-6."""

    offer_id: str
    seller: str
    model: str
    upstream_model: str
    provider: str
    seller_base_url: str
    price_input_usdc_per_mtok: int | None
    price_output_usdc_per_mtok: int | None
    cost_multiplier_ppm: int | None
    cap_daily_usdc: int | None
    quota_total_usdc: int | None
    rate_limit_rpm: int | None
    payout_address: str
    idempotency_key: str | None
    request_digest: str | None


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A provider key, encrypted under a data key that is itself wrapped by a KMS key."""

    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str


@dataclass(frozen=True, slots=True)
class NewSale:
    """What is reserved for one attempt. ``offer_version`` is the one whose price is named."""

    request_id: str
    attempt: int
    account_id: str
    key_id: str
    offer_id: str
    offer_version: int
    seller: str
    payout_address: str
    endpoint: str
    model: str
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    fee_bps: int
    ceiling_usdc: int

    @property
    def sale_id(self) -> str:
        """The attempt's own id."""
        return f"{self.request_id}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a sale came to. ``cost = earning + fee + margin``."""

    prompt_tokens: int
    completion_tokens: int
    cost_usdc: int
    earning_usdc: int
    fee_usdc: int
    margin_usdc: int


@dataclass(frozen=True, slots=True)
class Used:
    """How much of an offer's limits is used after a call, and the buyer's free credit."""

    offer_id: str
    day: int
    day_used_usdc: int
    total_used_usdc: int
    available_usdc: int


# ------------------------------------------------------------------------------ keys and accounts


def use_nonce(connection: Connection, *, nonce: str, expires_at_s: int, now_s: int) -> bool:
    """Use a sign-in nonce up; tell whether it was unused. Forgets those that have expired."""
    connection.execute(delete(_nonce).where(_nonce.c.expires_at_s <= now_s))
    return insert_or_ignore(connection, _nonce, {"nonce": nonce, "expires_at_s": expires_at_s})


def save_key(connection: Connection, key: NewKey, *, now_s: int) -> None:
    """Store a new key. Raises ``TooMany`` where the owner has ``KEYS_MAX`` live ones."""
    _lock_owner(connection, key.kind, key.owner)
    live = connection.execute(
        select(func.count()).where(
            _key.c.kind == key.kind, _key.c.owner == key.owner, _is_live(now_s)
        )
    ).scalar_one()
    if live >= KEYS_MAX:
        raise TooMany(f"{KEYS_MAX} keys are live")
    connection.execute(insert(_key).values(**asdict(key), created_at_s=now_s))


def revoke_key(connection: Connection, *, kind: str, owner: str, key_id: str, now_s: int) -> bool:
    """Revoke an owner's key for good; tell whether there is one. Again is harmless."""
    is_theirs = (_key.c.key_id == key_id) & (_key.c.kind == kind) & (_key.c.owner == owner)
    changed = connection.execute(
        update(_key).where(is_theirs).values(revoked_at_s=func.coalesce(_key.c.revoked_at_s, now_s))
    )
    return changed.rowcount == 1


def _is_live(now_s: int) -> Any:
    return _key.c.revoked_at_s.is_(None) & or_(
        _key.c.expires_at_s.is_(None), _key.c.expires_at_s > now_s
    )


def _lock_owner(connection: Connection, kind: str, owner: str) -> None:
    """Let one transaction at a time count what an owner has."""
    if not is_postgres(connection):
        return
    if kind == "seller":
        connection.execute(select(_seller.c.address).where(_seller.c.address == owner)
                           .with_for_update())  # fmt: skip
    else:
        connection.execute(select(_account.c.account_id).where(_account.c.account_id == owner)
                           .with_for_update())  # fmt: skip


def save_seller(connection: Connection, *, address: str, now_s: int) -> None:
    """Record a seller. Again is harmless."""
    values = {
        "address": address,
        "payout_policy": "at_once",
        "is_trusted": False,
        "created_at_s": now_s,
    }
    insert_or_ignore(connection, _seller, values)


def set_seller_terms(
    connection: Connection,
    *,
    address: str,
    fee_bps: int | None = None,
    is_trusted: bool | None = None,
    payout_policy: str | None = None,
    now_s: int,
) -> bool:
    """Change what was agreed with a seller, for sales from now on; tell whether there is one."""
    values = {"fee_bps": fee_bps, "is_trusted": is_trusted, "payout_policy": payout_policy}
    given = {name: value for name, value in values.items() if value is not None}
    changed = connection.execute(
        update(_seller).where(_seller.c.address == address).values(address=address, **given)
    )
    # Markets look for changed offers.
    connection.execute(update(_offer).where(_offer.c.seller == address).values(changed_at_s=now_s))
    return changed.rowcount == 1


def save_account(
    connection: Connection, *, account_id: str, kind: str, wallet: str | None, now_s: int
) -> str:
    """Open an account without credit, or find the wallet's; return its id."""
    values = {
        "account_id": account_id,
        "kind": kind,
        "wallet": wallet,
        "credited_usdc": 0,
        "spent_usdc": 0,
        "reserved_usdc": 0,
        "created_at_s": now_s,
    }
    if insert_or_ignore(connection, _account, values) or wallet is None:
        return account_id
    found = connection.execute(select(_account.c.account_id).where(_account.c.wallet == wallet))
    return str(found.scalar_one())


def add_credit(
    connection: Connection,
    *,
    credit_id: str,
    account_id: str,
    amount_usdc: int,
    source: str,
    now_s: int,
) -> bool:
    """Add prepaid money to an account, once for each ``credit_id``; tell whether it was new.

    Raises ``ValueError`` for an amount that is not positive, or more than an account can hold.
    """
    if not 0 < amount_usdc <= USDC_MAX:
        raise ValueError(f"not an amount to credit: {amount_usdc}")
    values = {
        "credit_id": credit_id,
        "account_id": account_id,
        "amount_usdc": amount_usdc,
        "source": source,
        "credited_at_s": now_s,
    }
    known = select(_account.c.account_id).where(_account.c.account_id == account_id)
    if connection.execute(known).one_or_none() is None:
        raise ValueError(f"no account {account_id}")
    if not insert_or_ignore(connection, _credit, values):
        return False
    changed = connection.execute(
        update(_account)
        .where(
            _account.c.account_id == account_id,
            _account.c.credited_usdc <= USDC_MAX - amount_usdc,
        )
        .values(credited_usdc=_account.c.credited_usdc + amount_usdc)
    )
    if changed.rowcount != 1:
        raise ValueError(f"account {account_id} cannot hold so much")
    return True


# ------------------------------------------------------------------------------------------ offers


def save_offer(connection: Connection, offer: NewOffer, sealed: SealedKey, *, now_s: int) -> str:
    """Store an offer with its sealed key; return its id, or the one that was made before.

    The same idempotency key with the same digest finds the first offer. Raises
    ``IdempotencyConflict`` where the digest differs, ``TooMany`` above ``OFFERS_MAX``.
    """
    _lock_owner(connection, "seller", offer.seller)
    if offer.idempotency_key is not None:
        stored = connection.execute(
            select(_offer.c.offer_id, _offer.c.request_digest).where(
                _offer.c.seller == offer.seller,
                _offer.c.idempotency_key == offer.idempotency_key,
            )
        ).one_or_none()
        if stored is not None:
            if stored.request_digest != offer.request_digest:
                raise IdempotencyConflict("the idempotency key was used for another offer")
            return str(stored.offer_id)
    listed = connection.execute(
        select(func.count()).where(_offer.c.seller == offer.seller, _offer.c.status != "deleted")
    ).scalar_one()
    if listed >= OFFERS_MAX:
        raise TooMany(f"{OFFERS_MAX} offers are listed")
    values = {
        **asdict(offer),
        "status": "active",
        "version": 0,
        "day": 0,
        "day_used_usdc": 0,
        "total_used_usdc": 0,
        "created_at_s": now_s,
        "changed_at_s": now_s,
    }
    connection.execute(insert(_offer).values(values))
    connection.execute(insert(_offer_key).values(offer_id=offer.offer_id, **asdict(sealed)))
    return offer.offer_id


def change_offer(
    connection: Connection,
    *,
    offer_id: str,
    seller: str,
    changes: Mapping[str, Any],
    sealed: SealedKey | None,
    now_s: int,
) -> bool:
    """Change an offer of a seller's, and its sealed key; tell whether there is one.

    Sales from now on are at the new terms, those in flight at the old ones.
    """
    changed = connection.execute(
        update(_offer)
        .where(
            _offer.c.offer_id == offer_id,
            _offer.c.seller == seller,
            _offer.c.status != "deleted",
        )
        .values(**changes, version=_offer.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    if sealed is not None:
        connection.execute(
            update(_offer_key).where(_offer_key.c.offer_id == offer_id).values(**asdict(sealed))
        )
    return True


def delete_offer(connection: Connection, *, offer_id: str, seller: str, now_s: int) -> bool:
    """Take an offer down and erase its key; tell whether there is one. Again is harmless.

    On SQLite the erased bytes are overwritten with zeros; ``scrub`` empties the log of writes.
    """
    if not is_postgres(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    changed = connection.execute(
        update(_offer)
        .where(_offer.c.offer_id == offer_id, _offer.c.seller == seller)
        .values(status="deleted", version=_offer.c.version + 1, changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    connection.execute(delete(_offer_key).where(_offer_key.c.offer_id == offer_id))
    return True


def replace_sealed_key(
    connection: Connection, *, offer_id: str, before: SealedKey, after: SealedKey
) -> bool:
    """Put a key that was wrapped anew in place of ``before``; tell whether that was still there."""
    changed = connection.execute(
        update(_offer_key)
        .where(
            _offer_key.c.offer_id == offer_id,
            _offer_key.c.wrapped_key == before.wrapped_key,
            _offer_key.c.ciphertext == before.ciphertext,
        )
        .values(**asdict(after))
    )
    return changed.rowcount == 1


# ------------------------------------------------------------------------------------------- sales


# The request path's statements, built once: building one anew costs more than running it.

_FREE_USDC: Final = _account.c.credited_usdc - _account.c.spent_usdc - _account.c.reserved_usdc
_CEILING: Final = bindparam("ceiling", type_=BigInteger)
_KEY_IS_LIVE: Final = (
    select(_key.c.key_id)
    .where(
        _key.c.key_id == bindparam("key"),
        _key.c.owner == _account.c.account_id,
        _key.c.revoked_at_s.is_(None),
        or_(_key.c.expires_at_s.is_(None), _key.c.expires_at_s > bindparam("now")),
    )
    .exists()
)
_RESERVE_CREDIT: Final = (
    update(_account)
    .where(_account.c.account_id == bindparam("account"), _FREE_USDC >= _CEILING, _KEY_IS_LIVE)
    .values(reserved_usdc=_account.c.reserved_usdc + _CEILING)
    .returning(_FREE_USDC)
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
_USE_OFFER: Final = (
    update(_offer)
    .where(_OFFER_IS_CURRENT, _FITS_DAY, _FITS_QUOTA)
    .values(day=_TODAY, day_used_usdc=_TODAY_USDC, total_used_usdc=_TOTAL_USDC)
    .returning(_offer.c.day_used_usdc, _offer.c.total_used_usdc)
)
_EXPLAIN_OFFER: Final = select(_FITS_DAY, _FITS_QUOTA).where(_OFFER_IS_CURRENT)
_INSERT_SALE: Final = insert(_sale)
_FIGURES: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cost_usdc",
    "earning_usdc",
    "fee_usdc",
    "margin_usdc",
)
_POST_SALE: Final = (
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
            **{name: bindparam(f"new_{name}") for name in _FIGURES},
        }
    )
    .returning(_sale.c.account_id, _sale.c.offer_id, _sale.c.ceiling_usdc, _sale.c.day)
)
_FREED: Final = bindparam("freed", type_=BigInteger)
_CHANGE_ACCOUNT: Final = (
    update(_account)
    .where(_account.c.account_id == bindparam("account"))
    .values(
        reserved_usdc=_account.c.reserved_usdc - _FREED,
        spent_usdc=_account.c.spent_usdc + bindparam("spent", type_=BigInteger),
    )
    .returning(_FREE_USDC)
)
_FREE_OFFER: Final = (
    update(_offer)
    .where(_offer.c.offer_id == bindparam("offer"))
    .values(
        # What was reserved on an earlier day counts against no cap any more.
        day_used_usdc=case(
            (_offer.c.day == _TODAY, _offer.c.day_used_usdc - _FREED),
            else_=_offer.c.day_used_usdc,
        ),
        total_used_usdc=_offer.c.total_used_usdc - _FREED,
    )
    .returning(_offer.c.day, _offer.c.day_used_usdc, _offer.c.total_used_usdc)
)


def reserve_sale(
    connection: Connection, sale: NewSale, *, now_s: int, lease_expires_at_s: int
) -> Used:
    """Reserve a sale's ceiling against the buyer's credit and the offer's limits.

    Raises ``SaleRefused`` with the first reason that applies; then nothing may be kept of it.
    """
    assert sale.ceiling_usdc >= 0
    available_usdc = _reserve_credit(connection, sale, now_s=now_s)
    day = utc_day(now_s)
    used = _use_offer(connection, sale, day=day)
    row = {
        "sale_id": sale.sale_id,
        "request_id": sale.request_id,
        "attempt": sale.attempt,
        "account_id": sale.account_id,
        "key_id": sale.key_id,
        "offer_id": sale.offer_id,
        "seller": sale.seller,
        "payout_address": sale.payout_address,
        "endpoint": sale.endpoint,
        "model": sale.model,
        "input_usdc_per_mtok": sale.input_usdc_per_mtok,
        "output_usdc_per_mtok": sale.output_usdc_per_mtok,
        "fee_bps": sale.fee_bps,
        "ceiling_usdc": sale.ceiling_usdc,
        "state": "reserved",
        "is_seller_failure": False,
        "day": day,
        "reserved_at_s": now_s,
        "lease_expires_at_s": lease_expires_at_s,
    }
    connection.execute(_INSERT_SALE, row)
    return Used(sale.offer_id, day, *used, available_usdc)


def _reserve_credit(connection: Connection, sale: NewSale, *, now_s: int) -> int:
    """Return the credit that is left."""
    values = {
        "account": sale.account_id,
        "key": sale.key_id,
        "ceiling": sale.ceiling_usdc,
        "now": now_s,
    }
    left = connection.execute(_RESERVE_CREDIT, values).scalar_one_or_none()
    if left is not None:
        return int(left)
    available = connection.execute(
        select(_FREE_USDC).where(_account.c.account_id == sale.account_id, _KEY_IS_LIVE), values
    ).scalar_one_or_none()
    if available is None:
        raise SaleRefused(SaleDenial.KEY_REVOKED)
    raise SaleRefused(SaleDenial.CREDIT_SPENT, int(available))


def _use_offer(connection: Connection, sale: NewSale, *, day: int) -> tuple[int, int]:
    """Return what is used of the day's cap and of the quota."""
    values = {
        "offer": sale.offer_id,
        "at_version": sale.offer_version,
        "today": day,
        "ceiling": sale.ceiling_usdc,
    }
    used = connection.execute(_USE_OFFER, values).one_or_none()
    if used is not None:
        return int(used[0]), int(used[1])
    found = connection.execute(_EXPLAIN_OFFER, values).one_or_none()
    if found is None:
        raise SaleRefused(SaleDenial.OFFER_CHANGED)
    raise SaleRefused(SaleDenial.QUOTA_SPENT if found[0] else SaleDenial.CAP_REACHED)


def post_sale(connection: Connection, sale_id: str, figures: Figures, *, now_s: int) -> Used:
    """Turn a reservation into a sale. The same post again is harmless.

    Raises ``SaleResolved`` where it was voided, was posted otherwise or is unknown, and
    ``ValueError`` for figures that do not add up or pass the ceiling.
    """
    parts_usdc = figures.earning_usdc + figures.fee_usdc + figures.margin_usdc
    if figures.cost_usdc != parts_usdc:
        raise ValueError(f"a cost of {figures.cost_usdc} of parts that make {parts_usdc}")
    values = {f"new_{name}": getattr(figures, name) for name in _FIGURES}
    row = connection.execute(_POST_SALE, {"sale": sale_id, "now": now_s, **values}).one_or_none()
    if row is not None:
        account_id, offer_id, ceiling_usdc, day = row
        available = _change_account(
            connection, account_id, freed_usdc=ceiling_usdc, spent_usdc=figures.cost_usdc
        )
        freed_usdc = ceiling_usdc - figures.cost_usdc
        return _free_offer(connection, offer_id, day, freed_usdc, available)
    return _repeat_post(connection, sale_id, figures)


def _repeat_post(connection: Connection, sale_id: str, figures: Figures) -> Used:
    stored = (
        connection.execute(select(_sale).where(_sale.c.sale_id == sale_id)).mappings().one_or_none()
    )
    if stored is None:
        raise SaleResolved(f"no sale {sale_id}")
    if stored["state"] == "reserved":
        raise ValueError(f"cost {figures.cost_usdc} is above {stored['ceiling_usdc']}")
    is_same = all(stored[name] == value for name, value in asdict(figures).items())
    if stored["state"] != "posted" or not is_same:
        raise SaleResolved(f"sale {sale_id} is already {stored['state']}")
    available = _change_account(connection, stored["account_id"], freed_usdc=0, spent_usdc=0)
    return _free_offer(connection, stored["offer_id"], stored["day"], 0, available)


def void_sale(
    connection: Connection,
    sale_id: str,
    *,
    reason: str,
    is_seller_failure: bool,
    now_s: int,
) -> Used | None:
    """Give a whole reservation back; return what is used now, None where it had been given back.

    Raises ``SaleResolved`` where the sale was posted or is unknown.
    """
    voided = _void(
        connection,
        _sale.c.sale_id == sale_id,
        reason=reason,
        is_seller_failure=is_seller_failure,
        now_s=now_s,
    )
    if voided:
        return voided[0]
    state = connection.execute(
        select(_sale.c.state).where(_sale.c.sale_id == sale_id)
    ).scalar_one_or_none()
    if state != "voided":
        raise SaleResolved(f"sale {sale_id} is {state or 'unknown'}")
    return None


def renew_sale(connection: Connection, sale_id: str, *, lease_expires_at_s: int) -> None:
    """Extend a live reservation's lease. Raises ``SaleResolved`` where it is not live."""
    changed = connection.execute(
        update(_sale)
        .where(_sale.c.sale_id == sale_id, _sale.c.state == "reserved")
        .values(lease_expires_at_s=lease_expires_at_s)
    )
    if changed.rowcount != 1:
        raise SaleResolved(f"sale {sale_id} is not reserved")


def sweep_sales(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose process is dead; return how many were found."""
    is_expired = (_sale.c.state == "reserved") & (_sale.c.lease_expires_at_s <= now_s)
    found = (
        connection.execute(
            select(_sale.c.sale_id)
            .where(is_expired)
            .order_by(_sale.c.sale_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        .scalars()
        .all()
    )
    if not found:
        return 0
    _void(
        connection,
        _sale.c.sale_id.in_(found) & is_expired,
        reason="lease_expired",
        is_seller_failure=False,
        now_s=now_s,
    )
    return len(found)


def _void(
    connection: Connection, which: Any, *, reason: str, is_seller_failure: bool, now_s: int
) -> list[Used]:
    voided = connection.execute(
        update(_sale)
        .where(which, _sale.c.state == "reserved")
        .values(
            state="voided",
            void_reason=reason,
            is_seller_failure=is_seller_failure,
            resolved_at_s=now_s,
        )
        .returning(_sale.c.account_id, _sale.c.offer_id, _sale.c.ceiling_usdc, _sale.c.day)
    ).all()
    by_account: dict[str, int] = defaultdict(int)
    by_offer: dict[tuple[str, int], int] = defaultdict(int)
    for account_id, offer_id, ceiling_usdc, day in voided:
        by_account[account_id] += ceiling_usdc
        by_offer[offer_id, day] += ceiling_usdc
    available_usdc = 0
    for account_id, freed_usdc in sorted(by_account.items()):
        available_usdc = _change_account(
            connection, account_id, freed_usdc=freed_usdc, spent_usdc=0
        )
    return [
        _free_offer(connection, offer_id, day, freed_usdc, available_usdc)
        for (offer_id, day), freed_usdc in sorted(by_offer.items())
    ]


def _change_account(
    connection: Connection, account_id: str, *, freed_usdc: int, spent_usdc: int
) -> int:
    """Return the account's free credit."""
    values = {"account": account_id, "freed": freed_usdc, "spent": spent_usdc}
    return int(connection.execute(_CHANGE_ACCOUNT, values).scalar_one())


def _free_offer(
    connection: Connection, offer_id: str, day: int, freed_usdc: int, available_usdc: int
) -> Used:
    values = {"offer": offer_id, "today": day, "freed": freed_usdc}
    row = connection.execute(_FREE_OFFER, values).one()
    return Used(offer_id, int(row[0]), int(row[1]), int(row[2]), available_usdc)


# ----------------------------------------------------------------------------------------- payouts


def plan_payouts(
    connection: Connection,
    *,
    policies: Iterable[str],
    until_s: int,
    now_s: int,
    make_id: Callable[[], str],
    minimum_usdc: int = 1,
    limit: int = 1_000,
) -> list[str]:
    """Gather the unpaid earnings of sales posted by ``until_s``, one payout to a payee and seller.

    Returns the ids of the payouts. Of sellers with one of ``policies``; what is below
    ``minimum_usdc`` waits. A sale is in one payout for good: it is named in the statement that
    finds it unpaid.
    """
    is_due = (
        (_sale.c.state == "posted")
        & _sale.c.payout_id.is_(None)
        & (_sale.c.earning_usdc > 0)
        & (_sale.c.resolved_at_s <= until_s)
    )
    payees = connection.execute(
        select(_sale.c.seller, _sale.c.payout_address)
        .join(_seller, _seller.c.address == _sale.c.seller)
        .where(is_due, _seller.c.payout_policy.in_(list(policies)))
        .group_by(_sale.c.seller, _sale.c.payout_address)
        .having(func.sum(_sale.c.earning_usdc) >= max(1, minimum_usdc))
        .order_by(_sale.c.seller, _sale.c.payout_address)
        .limit(limit)
    ).all()
    planned = []
    for seller, payee in payees:
        payout_id = make_id()
        earned = (
            connection.execute(
                update(_sale)
                .where(is_due, _sale.c.seller == seller, _sale.c.payout_address == payee)
                .values(payout_id=payout_id)
                .returning(_sale.c.earning_usdc)
            )
            .scalars()
            .all()
        )
        if not earned:
            continue  # another process was faster
        connection.execute(
            insert(_payout).values(
                payout_id=payout_id,
                seller=seller,
                payee=payee,
                amount_usdc=sum(earned),
                planned_at_s=now_s,
            )
        )
        planned.append(payout_id)
    return planned


# --------------------------------------------------------------------------------------- invariant


def find_market_mismatches(connection: Connection) -> list[tuple[str, str]]:
    """Return what breaks L7, as (subject, detail): the market's money adds up to the unit.

    Sum of buyers' cost = sum of sellers' earnings + fees + margin, over all sales; and each
    account, offer and payout holds what its credits and sales say.
    """
    return [
        *_find_total(connection),
        *_find_accounts(connection),
        *_find_offers(connection),
        *_find_payouts(connection),
    ]


def _find_total(connection: Connection) -> list[tuple[str, str]]:
    columns = (_sale.c.cost_usdc, _sale.c.earning_usdc, _sale.c.fee_usdc, _sale.c.margin_usdc)
    sums = [func.coalesce(func.sum(column), 0) for column in columns]
    row = connection.execute(select(*sums).where(_sale.c.state == "posted")).one()
    cost, earning, fee, margin = (int(value) for value in row)
    spent = int(
        connection.execute(select(func.coalesce(func.sum(_account.c.spent_usdc), 0))).scalar_one()
    )
    if cost == spent == earning + fee + margin:
        return []
    detail = f"buyers spent {spent}, sales cost {cost} = {earning} + {fee} + {margin}"
    return [("market", detail)]


def _find_accounts(connection: Connection) -> list[tuple[str, str]]:
    reserved = case((_sale.c.state == "reserved", _sale.c.ceiling_usdc), else_=0)
    sums = (
        select(
            _sale.c.account_id,
            func.sum(func.coalesce(_sale.c.cost_usdc, 0)).label("spent"),
            func.sum(reserved).label("reserved"),
        )
        .group_by(_sale.c.account_id)
        .subquery()
    )
    credits = (
        select(_credit.c.account_id, func.sum(_credit.c.amount_usdc).label("credited"))
        .group_by(_credit.c.account_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _account.c.account_id,
            _account.c.credited_usdc,
            _account.c.spent_usdc,
            _account.c.reserved_usdc,
            func.coalesce(credits.c.credited, 0),
            func.coalesce(sums.c.spent, 0),
            func.coalesce(sums.c.reserved, 0),
        )
        .outerjoin(sums, sums.c.account_id == _account.c.account_id)
        .outerjoin(credits, credits.c.account_id == _account.c.account_id)
    )
    return [
        (f"account {row[0]}", f"holds {tuple(map(int, row[1:4]))}, rows say {found}")
        for row in rows
        if tuple(map(int, row[1:4])) != (found := tuple(map(int, row[4:])))
    ]


def _find_offers(connection: Connection) -> list[tuple[str, str]]:
    used = case(
        (_sale.c.state == "reserved", _sale.c.ceiling_usdc),
        else_=func.coalesce(_sale.c.cost_usdc, 0),
    )
    today = case((_sale.c.day == _offer.c.day, used), else_=0)
    rows = connection.execute(
        select(
            _offer.c.offer_id,
            _offer.c.total_used_usdc,
            _offer.c.day_used_usdc,
            func.coalesce(func.sum(used), 0),
            func.coalesce(func.sum(today), 0),
        )
        .outerjoin(_sale, _sale.c.offer_id == _offer.c.offer_id)
        .group_by(_offer.c.offer_id)
    )
    return [
        (f"offer {offer_id}", f"used {total} and {day} today, sales say {sales} and {sales_today}")
        for offer_id, total, day, sales, sales_today in rows
        if (int(total), int(day)) != (int(sales), int(sales_today))
    ]


def _find_payouts(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        select(
            _payout.c.payout_id,
            _payout.c.amount_usdc,
            func.coalesce(func.sum(_sale.c.earning_usdc), 0),
        )
        .outerjoin(_sale, _sale.c.payout_id == _payout.c.payout_id)
        .group_by(_payout.c.payout_id)
    )
    return [
        (f"payout {payout_id}", f"is of {amount}, its sales earned {earned}")
        for payout_id, amount, earned in rows
        if int(amount) != int(earned)
    ]
