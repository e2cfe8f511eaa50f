"""Identity numbers as their digests: the same number is the same identity under every live key."""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

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
    """Return the identity of a number, new or known; ``digests`` are by each live key's id.

    A known one that an older key made is made again by the newest. ``identity_id`` is a new one's.
    """
    for key_id, digest in digests.items():
        is_it = (_identity.c.key_id == key_id) & (_identity.c.digest == digest)
        found = connection.execute(
            select(_identity.c.identity_id).where(is_it)
        ).scalar_one_or_none()
        if found is None:
            continue
        if key_id != newest_key_id:
            connection.execute(
                update(_identity)
                .where(_identity.c.identity_id == found)
                .values(digest=digests[newest_key_id], key_id=newest_key_id, changed_at_s=now_s)
            )
        return str(found)
    connection.execute(
        insert(_identity).values(
            identity_id=identity_id,
            digest=digests[newest_key_id],
            key_id=newest_key_id,
            changed_at_s=now_s,
        )
    )
    return identity_id


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
