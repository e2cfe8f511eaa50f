"""Which API keys were issued, and the child keys with their limits.

A key itself is an HMAC and is stored nowhere. Every change of a child key holds its position's
lock, as the meter does while it counts on it: see ``ledger.spending.children``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import orjson
from sqlalchemy import Connection, RowMapping, case, delete, func, insert, select, update

from contracts.errors import Rejected
from contracts.units import SECONDS_PER_DAY
from ledger.database.locks import lock_positions
from ledger.database.notify import notify_positions
from ledger.database.statements import insert_or_ignore
from ledger.spending.archived_sums import load_archived_days
from ledger.spending.children import get_month, get_month_start_s
from ledger.tables import ApiKey, ChildKey, KeyPolicy, Usage, UsedNonce, table_of

CHILDREN_MAX: Final = 1_000
"""Live child keys of one position."""
NONCE_KEPT_S: Final = 3_600
"""How long a used nonce is kept after its end."""

_api_key = table_of(ApiKey)
_child_key = table_of(ChildKey)
_policy = table_of(KeyPolicy)
_usage = table_of(Usage)
_used_nonce = table_of(UsedNonce)


class UnknownChild(Rejected):
    """The position has no live child key of this id."""


class TooManyChildren(Rejected):
    """The position has as many child keys as it may."""


class NonceUsed(Rejected):
    """The sign-in nonce was used before."""


@dataclass(frozen=True, slots=True)
class ChildTerms:
    """What a child key may do. Amounts in 1e-6 USDC; None = no limit."""

    label: str = ""
    models: Sequence[str] | None = None
    request_usdc_max: int | None = None
    day_usdc_max: int | None = None
    month_usdc_max: int | None = None
    lifetime_usdc_max: int | None = None
    requests_per_minute_max: int | None = None
    concurrency_max: int | None = None
    expires_at_s: int | None = None


TERMS: Final = tuple(field.name for field in fields(ChildTerms))


def save_issued_key(
    connection: Connection, *, key_id: str, token_id: int, key_epoch: int, now_s: int
) -> None:
    """Record that a root key was issued. Idempotent."""
    values = {
        "key_id": key_id,
        "token_id": token_id,
        "key_epoch": key_epoch,
        "issued_at_s": now_s,
    }
    insert_or_ignore(connection, _api_key, values)


def use_nonce(connection: Connection, nonce: str, *, expires_at_s: int) -> None:
    """Use up a sign-in nonce. Of several at once, one is let through; the others get
    ``NonceUsed``."""
    row = {"nonce": nonce, "expires_at_s": expires_at_s}
    if not insert_or_ignore(connection, _used_nonce, row):
        raise NonceUsed("the nonce was used before")


def forget_nonces(connection: Connection, *, now_s: int) -> int:
    """Forget used nonces that expired an hour ago or more; return how many.

    For that long they stay, because another process's clock may be behind.
    """
    old = _used_nonce.c.expires_at_s < now_s - NONCE_KEPT_S
    return connection.execute(delete(_used_nonce).where(old)).rowcount


def create_child(
    connection: Connection,
    *,
    key_id: str,
    token_id: int,
    key_epoch: int,
    terms: ChildTerms,
    now_s: int,
) -> None:
    """Create a child key; ``key_id`` is new and random. Raises ``TooManyChildren``."""
    lock_positions(connection, [token_id])
    live = connection.execute(
        select(func.count())
        .select_from(_child_key)
        .where(
            _child_key.c.token_id == token_id,
            _child_key.c.key_epoch == key_epoch,
            _child_key.c.revoked_at_s.is_(None),
        )
    ).scalar_one()
    if live >= CHILDREN_MAX:
        raise TooManyChildren(f"the position has {live} child keys")
    connection.execute(
        insert(_child_key).values(
            key_id=key_id,
            token_id=token_id,
            key_epoch=key_epoch,
            **_as_columns({name: getattr(terms, name) for name in TERMS}),
            created_at_s=now_s,
            generation=0,
            grace_until_s=0,
            day=now_s // SECONDS_PER_DAY,
            day_used_usdc=0,
            month_used_usdc=0,
            used_usdc=0,
            minute=0,
            minute_requests=0,
            open_requests=0,
        )
    )


def change_child(
    connection: Connection,
    key_id: str,
    *,
    token_id: int,
    key_epoch: int,
    changes: Mapping[str, Any],
) -> RowMapping:
    """Change some of a live child key's terms (``TERMS``); return its row.

    What is used already stays counted, also where a new limit is below it. Raises
    ``UnknownChild``.
    """
    assert changes.keys() <= set(TERMS)
    return _change(connection, key_id, token_id, key_epoch, _as_columns(changes))


def rotate_child(
    connection: Connection,
    key_id: str,
    *,
    token_id: int,
    key_epoch: int,
    grace_s: int,
    now_s: int,
) -> RowMapping:
    """Begin a new generation of a live child key; the one before is good for ``grace_s`` more.

    Returns its row. An older secret still in its own grace ends at once. Raises ``UnknownChild``.
    """
    values = {"generation": _child_key.c.generation + 1, "grace_until_s": now_s + grace_s}
    return _change(connection, key_id, token_id, key_epoch, values)


def revoke_child(
    connection: Connection, key_id: str, *, token_id: int, key_epoch: int, now_s: int
) -> RowMapping:
    """End a child key for good. Its row stays, with what it used; its policy does not.

    Raises ``UnknownChild``.
    """
    ended = _change(connection, key_id, token_id, key_epoch, {"revoked_at_s": now_s})
    connection.execute(
        update(_policy)
        .where(_policy.c.token_id == token_id, _policy.c.key_id == key_id)
        .values(policy=None, changed_at_s=now_s)
    )
    return ended


def _change(
    connection: Connection,
    key_id: str,
    token_id: int,
    key_epoch: int,
    values: Mapping[str, Any],
) -> RowMapping:
    lock_positions(connection, [token_id])
    is_live = (
        (_child_key.c.key_id == key_id)
        & (_child_key.c.token_id == token_id)
        & (_child_key.c.key_epoch == key_epoch)
        & _child_key.c.revoked_at_s.is_(None)
    )
    if connection.execute(select(_child_key.c.key_id).where(is_live)).one_or_none() is None:
        raise UnknownChild(f"no child key {key_id}")
    if values:
        connection.execute(update(_child_key).where(is_live).values(values))
        # A stream that uses this key may have to stop.
        notify_positions(connection, [token_id])
    changed = load_child(connection, key_id, token_id=token_id)
    assert changed is not None
    return changed


def load_child(connection: Connection, key_id: str, *, token_id: int) -> RowMapping | None:
    """Return a child key's row, or None where the position has no such key."""
    return (
        connection.execute(
            select(_child_key).where(
                _child_key.c.key_id == key_id, _child_key.c.token_id == token_id
            )
        )
        .mappings()
        .one_or_none()
    )


def load_children_of(
    connection: Connection, *, token_id: int, key_epoch: int
) -> Sequence[RowMapping]:
    """Return the rows of a position's child keys of one epoch, oldest first, revoked ones too."""
    return (
        connection.execute(
            select(_child_key)
            .where(_child_key.c.token_id == token_id, _child_key.c.key_epoch == key_epoch)
            .order_by(_child_key.c.created_at_s, _child_key.c.key_id)
        )
        .mappings()
        .all()
    )


def load_child_mismatches(connection: Connection) -> list[tuple[str, str, int, int]]:
    """Return (key id, counter, its value, what its usage adds up to) wherever they differ."""
    mismatches = []
    for child in connection.execute(select(_child_key)).mappings().all():
        for counter, expected in _sum_usage(connection, child).items():
            if child[counter] != expected:
                mismatches.append((str(child["key_id"]), counter, int(child[counter]), expected))
    return mismatches


def _sum_usage(connection: Connection, child: RowMapping) -> dict[str, int]:
    day = child["day"]
    month = get_month(day)
    counted_usdc = case(
        (_usage.c.state == "reserved", _usage.c.ceiling_usdc),
        else_=func.coalesce(_usage.c.cost_usdc, 0),
    )

    def within(first_s: int, end_s: int) -> Any:
        at_s = _usage.c.reserved_at_s
        return case(((at_s >= first_s) & (at_s < end_s), counted_usdc), else_=0)

    sums = {
        "used_usdc": counted_usdc,
        "month_used_usdc": within(get_month_start_s(month), get_month_start_s(month + 1)),
        "day_used_usdc": within(day * SECONDS_PER_DAY, (day + 1) * SECONDS_PER_DAY),
        "open_requests": case((_usage.c.state == "reserved", 1), else_=0),
    }
    row = connection.execute(
        select(
            *(func.coalesce(func.sum(term), 0).label(name) for name, term in sums.items())
        ).where(_usage.c.token_id == child["token_id"], _usage.c.key_id == child["key_id"])
    ).one()
    found = {name: int(value) for name, value in zip(sums, row, strict=True)}
    archived = load_archived_days(connection, token_id=child["token_id"], key_id=child["key_id"])
    for archived_day, cost_usdc in archived.items():
        found["used_usdc"] += cost_usdc
        found["month_used_usdc"] += cost_usdc if get_month(archived_day) == month else 0
        found["day_used_usdc"] += cost_usdc if archived_day == day else 0
    return found


def _as_columns(terms: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(terms)
    if values.get("models") is not None:
        values["models"] = orjson.dumps(list(values["models"])).decode()
    return values
