"""Identity numbers as their digests: the same number is the same identity under every live key."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, or_, select, update

from ledger.database.statements import insert_or_ignore
from ledger.tables import KybIdentity, KybOwner, table_of

_identity = table_of(KybIdentity)
_owner = table_of(KybOwner)


def find_or_save_identity(
    connection: Connection,
    digests: Mapping[str, str],
    *,
    newest_key_id: str,
    identity_id: str,
    now_s: int,
) -> str:
    """Return the identity of a number, new or known; ``digests`` are by each live key's id,
    the newest first.

    A known one that an older key made is made again by the newest. Where processes of before and
    after a rotation have each made one, they become one here. ``identity_id`` is a new one's.
    """
    found = _find(connection, digests)
    if not found:
        values = {
            "identity_id": identity_id,
            "digest": digests[newest_key_id],
            "key_id": newest_key_id,
            "changed_at_s": now_s,
        }
        if insert_or_ignore(connection, _identity, values):
            return identity_id
        # Another supplier has filed the same number just now.
        found = _find(connection, digests)
    kept, *others = found
    if others:
        of_others = _owner.c.identity_id.in_([one for one, _ in others])
        connection.execute(update(_owner).where(of_others).values(identity_id=kept[0]))
        is_other = _identity.c.identity_id.in_([one for one, _ in others])
        connection.execute(delete(_identity).where(is_other))
    if kept[1] != newest_key_id:
        connection.execute(
            update(_identity)
            .where(_identity.c.identity_id == kept[0])
            .values(digest=digests[newest_key_id], key_id=newest_key_id, changed_at_s=now_s)
        )
    return kept[0]


def _find(connection: Connection, digests: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the identities of a number with the keys that made them, the oldest key's first: what
    was filed longest ago is known by it."""
    is_it = or_(
        *(
            (_identity.c.key_id == key_id) & (_identity.c.digest == digest)
            for key_id, digest in digests.items()
        )
    )
    rows = connection.execute(
        select(_identity.c.identity_id, _identity.c.key_id).where(is_it)
    ).all()
    age = {key_id: place for place, key_id in enumerate(digests)}
    return sorted(((str(one), str(key_id)) for one, key_id in rows), key=lambda row: -age[row[1]])


def find_other_suppliers(
    connection: Connection, identity_ids: list[str], *, but: str
) -> dict[str, list[str]]:
    """Return which other suppliers' owners have these identities now."""
    rows = connection.execute(
        select(_owner.c.identity_id, _owner.c.supplier_id)
        .where(_owner.c.identity_id.in_(identity_ids), _owner.c.supplier_id != but)
        .distinct()
        .order_by(_owner.c.supplier_id)
    )
    found: dict[str, list[str]] = {}
    for identity_id, supplier_id in rows:
        found.setdefault(identity_id, []).append(supplier_id)
    return found


def share_an_identity(connection: Connection, one: str, other: str) -> bool:
    """Tell whether an owner of one supplier is an owner of the other, by the identity number."""
    of_other = select(_owner.c.identity_id).where(_owner.c.supplier_id == other)
    query = select(_owner.c.owner_id).where(
        _owner.c.supplier_id == one, _owner.c.identity_id.in_(of_other)
    )
    return connection.execute(query.limit(1)).scalar() is not None
