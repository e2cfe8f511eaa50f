"""Forgetting what strangers left behind: it costs them nothing, so it must not stay for ever.

Purged is what has ended, or never began, ``before_s`` or earlier, and that no money ever touched:
keys that are revoked or have expired, deleted offers that never sold, deleted own providers,
payments that failed or expired, live keys of whoever never did anything, and then accounts and
sellers that nothing is left of. What a sale, a credit or a payment that settled names stays.

Each function is one short statement by an index, on PostgreSQL two, part of the caller's
transaction; it deletes at most ``limit`` rows and returns how many. Idempotent. An account or a
seller that somebody signs in as meanwhile stays: see ``ledger.selling.accounts``.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, or_, select, text

from ledger.database.engine import is_postgres
from ledger.tables import (
    ACCOUNT_EMPTY,
    OFFER_DELETED,
    OWN_PROVIDER_DELETED,
    PAYMENT_DEAD,
    ApiCall,
    ApiConnection,
    MarketAccount,
    MarketCredit,
    MarketDispute,
    MarketEvidence,
    MarketJob,
    MarketKey,
    MarketLapse,
    MarketOffer,
    MarketOwnProvider,
    MarketSale,
    MarketSeller,
    X402Payment,
    table_of,
)

_account = table_of(MarketAccount)
_call = table_of(ApiCall)
_connection = table_of(ApiConnection)
_credit = table_of(MarketCredit)
_job = table_of(MarketJob)
_key = table_of(MarketKey)
_dispute = table_of(MarketDispute)
_lapse = table_of(MarketLapse)
_evidence = table_of(MarketEvidence)
_offer = table_of(MarketOffer)
_payment = table_of(X402Payment)
_provider = table_of(MarketOwnProvider)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)

UNUSED_S: Final = 60 * 86_400
"""For how much longer than what has ended a live key is kept that nothing was done with."""

Purge = Callable[[Connection, int, int], int]
"""Takes the connection, ``before_s`` and ``limit``."""


def purge_revoked_keys(connection: Connection, before_s: int, limit: int) -> int:
    """Forget keys that were revoked long ago."""
    return _delete(connection, _key, _key.c.key_id, _key.c.revoked_at_s < before_s, limit)


def purge_expired_keys(connection: Connection, before_s: int, limit: int) -> int:
    """Forget keys that expired long ago."""
    return _delete(connection, _key, _key.c.key_id, _key.c.expires_at_s < before_s, limit)


def _is_unsold_offer(before_s: int) -> ColumnElement[bool]:
    """Tell of an offer whether it was deleted before, never sold anything and was never probed, nor
    to be probed."""
    return and_(
        text(OFFER_DELETED),
        _offer.c.changed_at_s < before_s,
        ~_any(_sale.c.sale_id, _sale.c.offer_id == _offer.c.offer_id),
        ~_any(_evidence.c.evidence_id, _evidence.c.offer_id == _offer.c.offer_id),
        # An offer's turn is taken where it has sold, or where somebody has asked for a probe.
        ~_any(_dispute.c.dispute_id, _dispute.c.offer_id == _offer.c.offer_id),
    )


def purge_lapses(connection: Connection, before_s: int, limit: int) -> int:
    """Forget what lapsed of offers that are about to be forgotten."""
    unsold = select(_offer.c.offer_id).where(_is_unsold_offer(before_s))
    return _delete(connection, _lapse, _lapse.c.offer_id, _lapse.c.offer_id.in_(unsold), limit)


def purge_offers(connection: Connection, before_s: int, limit: int) -> int:
    """Forget deleted offers that never sold anything."""
    has_lapse = _any(_lapse.c.offer_id, _lapse.c.offer_id == _offer.c.offer_id)
    old = _is_unsold_offer(before_s) & ~has_lapse
    return _delete(connection, _offer, _offer.c.offer_id, old, limit)


def purge_own_providers(connection: Connection, before_s: int, limit: int) -> int:
    """Forget deleted own providers; every process has seen long ago that they are."""
    old = and_(text(OWN_PROVIDER_DELETED), _provider.c.changed_at_s < before_s)
    return _delete(connection, _provider, _provider.c.provider_id, old, limit)


def purge_payments(connection: Connection, before_s: int, limit: int) -> int:
    """Forget payments that brought nothing and can bring nothing any more."""
    old = and_(
        text(PAYMENT_DEAD),
        _payment.c.updated_at_s < before_s,
        _payment.c.valid_before_s < before_s,
        _payment.c.credited_usdc == 0,
    )
    return _delete(connection, _payment, _payment.c.payment_id, old, limit)


def _is_idle_account(before_s: int) -> ColumnElement[bool]:
    """Tell of an account of before whether nothing but keys is left of it."""
    account_id = _account.c.account_id
    return and_(
        text(ACCOUNT_EMPTY),
        _account.c.created_at_s < before_s,
        *(
            ~_any(table.c.account_id, table.c.account_id == account_id)
            for table in (_provider, _credit, _payment, _job, _sale, _call)
        ),
    )


def _is_idle_seller(before_s: int) -> ColumnElement[bool]:
    """Tell of a seller of before whether nothing but keys is left of it, and nothing was agreed."""
    address = _seller.c.address
    return and_(
        _seller.c.created_at_s < before_s,
        _seller.c.fee_bps.is_(None),
        _seller.c.is_trusted.is_(False),
        ~_any(_offer.c.offer_id, _offer.c.seller == address),
        ~_any(_sale.c.sale_id, _sale.c.seller == address),
        ~_any(_connection.c.connection_id, _connection.c.owner == address),
    )


def purge_unused_buyer_keys(connection: Connection, before_s: int, limit: int) -> int:
    """Forget live keys of accounts that never had credit, nor a provider of their own."""
    unused_s = before_s - UNUSED_S
    idle = select(_account.c.account_id).where(_is_idle_account(unused_s))
    return _purge_keys_of(connection, "buyer", idle, unused_s, limit)


def purge_unused_seller_keys(connection: Connection, before_s: int, limit: int) -> int:
    """Forget live keys of sellers that have no offer and never sold."""
    unused_s = before_s - UNUSED_S
    idle = select(_seller.c.address).where(_is_idle_seller(unused_s))
    return _purge_keys_of(connection, "seller", idle, unused_s, limit)


def _purge_keys_of(
    connection: Connection, kind: str, owners: Select[tuple[str]], before_s: int, limit: int
) -> int:
    old = (_key.c.kind == kind) & _key.c.owner.in_(owners) & (_key.c.created_at_s < before_s)
    return _delete(connection, _key, _key.c.key_id, old, limit)


def purge_accounts(connection: Connection, before_s: int, limit: int) -> int:
    """Forget accounts without credit that nothing is left of: the wallet may sign in again."""
    account_id = _account.c.account_id
    has_key = _any(_key.c.key_id, (_key.c.kind == "buyer") & (_key.c.owner == account_id))
    old = _is_idle_account(before_s) & ~has_key
    return _delete(connection, _account, account_id, old, limit)


def purge_sellers(connection: Connection, before_s: int, limit: int) -> int:
    """Forget sellers without offers and keys, with whom nothing was agreed.

    Whom the operator has refused, or has written a note about, is kept: else it would come back as
    somebody who waits for a decision.
    """
    address = _seller.c.address
    has_key = _any(_key.c.key_id, (_key.c.kind == "seller") & (_key.c.owner == address))
    is_undecided = _seller.c.decided_at_s.is_(None) & _seller.c.note.is_(None)
    old = _is_idle_seller(before_s) & is_undecided & ~has_key
    return _delete(connection, _seller, address, old, limit)


PURGES: Final[tuple[Purge, ...]] = (
    purge_revoked_keys,
    purge_expired_keys,
    purge_lapses,
    purge_offers,
    purge_own_providers,
    purge_payments,
    purge_unused_buyer_keys,
    purge_unused_seller_keys,
    # After all that may name them.
    purge_accounts,
    purge_sellers,
)


def _any(column: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(column).where(or_(condition)).exists()


def _delete(
    connection: Connection,
    table: Table,
    key: ColumnElement[Any],
    old: ColumnElement[bool],
    limit: int,
) -> int:
    chosen = select(key).where(old).limit(limit)
    if not is_postgres(connection):
        return connection.execute(delete(table).where(key.in_(chosen))).rowcount
    # What another transaction holds is about to be used. What was used just before it was locked
    # here, the second statement sees: it does not look at the first one's snapshot.
    held = connection.execute(chosen.with_for_update(of=table, skip_locked=True)).scalars().all()
    return connection.execute(delete(table).where(key.in_(held), old)).rowcount
