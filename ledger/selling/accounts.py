"""Who takes part in the market: keys, sellers, buyers' accounts and their credit.

Amounts are in 1e-6 USDC. Every function takes the connection of an open write transaction; what
raises has written nothing only where the caller rolls back, as ``ledger.database.writer`` does.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from contracts.units import USDC_MAX
from ledger.database.engine import is_postgres
from ledger.database.statements import insert_or_ignore
from ledger.errors import KeyNotLive, TooMany
from ledger.tables import (
    MarketAccount,
    MarketCredit,
    MarketKey,
    MarketNonce,
    MarketOffer,
    MarketSeller,
    table_of,
)

_account = table_of(MarketAccount)
_credit = table_of(MarketCredit)
_key = table_of(MarketKey)
_nonce = table_of(MarketNonce)
_offer = table_of(MarketOffer)
_seller = table_of(MarketSeller)

KEYS_MAX: Final = 25
"""Live keys of one owner."""
KEYS_ENDED_MAX: Final = 475
"""Keys of one owner that have ended and are still kept; beyond that the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be stored: its hash only."""

    key_id: str
    key_hash: str
    kind: str
    owner: str
    label: str
    expires_at_s: int | None
    trusted_only: bool | None = None
    """Whether a buyer's requests go to approved sellers only; None: as the market has it."""


def use_nonce(connection: Connection, *, nonce: str, expires_at_s: int, now_s: int) -> bool:
    """Use a sign-in nonce up; tell whether it was unused. Forgets those that have expired."""
    connection.execute(delete(_nonce).where(_nonce.c.expires_at_s <= now_s))
    return insert_or_ignore(connection, _nonce, {"nonce": nonce, "expires_at_s": expires_at_s})


def save_key(connection: Connection, key: NewKey, *, now_s: int) -> None:
    """Store a new key. Raises ``TooMany`` where the owner has ``KEYS_MAX`` live ones.

    Forgets the owner's oldest ended keys where more than ``KEYS_ENDED_MAX`` are kept: whoever
    changes keys by the hour is never shut out for it.
    """
    lock_owner(connection, key.kind, key.owner)
    is_theirs = (_key.c.kind == key.kind) & (_key.c.owner == key.owner)
    live, kept = connection.execute(
        select(func.count().filter(_is_live(now_s)), func.count()).where(is_theirs)
    ).one()
    if live >= KEYS_MAX:
        raise TooMany(f"{KEYS_MAX} keys are live")
    surplus = kept - live - KEYS_ENDED_MAX
    if surplus > 0:
        ended = select(_key.c.key_id).where(is_theirs, not_(_is_live(now_s)))
        oldest = ended.order_by(_key.c.created_at_s, _key.c.key_id).limit(surplus)
        connection.execute(delete(_key).where(_key.c.key_id.in_(oldest)))
    connection.execute(insert(_key).values(**asdict(key), created_at_s=now_s))


def revoke_key(connection: Connection, *, kind: str, owner: str, key_id: str, now_s: int) -> bool:
    """Revoke an owner's key for good; tell whether the owner has that key. Idempotent."""
    is_theirs = (_key.c.key_id == key_id) & (_key.c.kind == kind) & (_key.c.owner == owner)
    changed = connection.execute(
        update(_key).where(is_theirs).values(revoked_at_s=func.coalesce(_key.c.revoked_at_s, now_s))
    )
    return changed.rowcount == 1


def check_key_live(connection: Connection, key_id: str, *, now_s: int) -> None:
    """Raise ``KeyNotLive`` unless a key is live; a revocation waits for this transaction's end.

    For the transaction of whatever the key's holder changes: a revocation counts at once.
    """
    query = select(_key.c.key_id).where(_key.c.key_id == key_id, _is_live(now_s))
    if is_postgres(connection):
        query = query.with_for_update(read=True)
    if connection.execute(query).one_or_none() is None:
        raise KeyNotLive("the key was revoked")


def _is_live(now_s: int) -> Any:
    return _key.c.revoked_at_s.is_(None) & or_(
        _key.c.expires_at_s.is_(None), _key.c.expires_at_s > now_s
    )


def lock_owner(connection: Connection, kind: str, owner: str) -> None:
    """Let one transaction at a time count what an owner has."""
    if not is_postgres(connection):
        return
    column = _seller.c.address if kind == "seller" else _account.c.account_id
    # NO KEY UPDATE: others that only keep the row from being purged need not wait.
    connection.execute(select(column).where(column == owner).with_for_update(key_share=True))


def save_seller(connection: Connection, *, address: str, now_s: int) -> None:
    """Record a seller, who is not purged before the transaction's end. Idempotent."""
    values = {
        "address": address,
        "payout_policy": "at_once",
        "is_trusted": False,
        "created_at_s": now_s,
    }
    _insert_or_find(connection, _seller, values, _seller.c.address, _seller.c.address == address)


def set_seller_terms(
    connection: Connection,
    *,
    address: str,
    fee_bps: int | None = None,
    is_trusted: bool | None = None,
    payout_policy: str | None = None,
    note: str | None = None,
    now_s: int,
) -> bool:
    """Change what was agreed with a seller, for sales from now on; tell whether there is one.

    ``is_trusted`` is the operator's decision, so the seller waits for none any more.
    """
    values = {
        "fee_bps": fee_bps,
        "is_trusted": is_trusted,
        "decided_at_s": None if is_trusted is None else now_s,
        "payout_policy": payout_policy,
        "note": note,
    }
    given = {name: value for name, value in values.items() if value is not None}
    changed = connection.execute(
        update(_seller).where(_seller.c.address == address).values(address=address, **given)
    )
    # Markets look for changed offers; a deleted one is purged by when it was deleted.
    connection.execute(
        update(_offer)
        .where(_offer.c.seller == address, _offer.c.status != "deleted")
        .values(changed_at_s=now_s)
    )
    return changed.rowcount == 1


def save_account(
    connection: Connection, *, account_id: str, kind: str, wallet: str | None, now_s: int
) -> str:
    """Open an account without credit, or find the wallet's; return its id.

    It is not purged before the transaction's end.
    """
    values = {
        "account_id": account_id,
        "kind": kind,
        "wallet": wallet,
        "credited_usdc": 0,
        "spent_usdc": 0,
        "reserved_usdc": 0,
        "created_at_s": now_s,
    }
    column = _account.c.account_id
    is_it = column == account_id if wallet is None else _account.c.wallet == wallet
    return _insert_or_find(connection, _account, values, column, is_it)


def _insert_or_find(
    connection: Connection,
    table: Table,
    values: dict[str, Any],
    key: ColumnElement[str],
    is_it: ColumnElement[bool],
) -> str:
    """Return the key of a row that is there until the transaction's end, new or found."""
    query = select(key).where(is_it)
    if is_postgres(connection):
        query = query.with_for_update(read=True, key_share=True)
    for _ in range(2):
        insert_or_ignore(connection, table, values)
        found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            return found
        # It was purged after the one statement had met it. A new one is not purged.
    raise ValueError("the new id is another row's")


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
