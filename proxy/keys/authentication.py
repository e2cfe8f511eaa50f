"""Who is asking: from the Authorization header to a key's claims, and whether they still hold."""

from collections.abc import Set

from sqlalchemy import Connection, RowMapping

from ledger.errors import RefusalReason
from ledger.spending.children import CHILD_COLUMNS, build_child
from ledger.spending.keys import load_child
from proxy.chat.meter import Meter
from proxy.errors import (
    invalid_key,
    key_expired,
    key_revoked,
    key_rotated,
    missing_key,
    position_not_found,
)
from proxy.keys.tokens import KeyClaims, KnownKeys
from proxy.store import KeyStanding, load_key_epochs, load_standing
from serving.http.bodies import parse_bearer
from serving.http.errors import RequestRejected


def authenticate(authorization: str | None, known: KnownKeys) -> KeyClaims:
    """Return the claims of the bearer key. Raises 401; asks no database.

    The epoch in the claims is not compared with the chain's here: see ``check_standing``.
    """
    if authorization is None:
        raise missing_key()
    key = parse_bearer(authorization)
    claims = None if key is None else known.verify_key(key)
    if claims is None:
        raise invalid_key()
    return claims


async def check_standing(claims: KeyClaims, meter: Meter) -> KeyStanding:
    """Return the position's standing if the key's epoch is its current one, and the key is live.

    For everything but reservations, which compare the same under the lock that reserves. Raises
    404 or 401, and ``LedgerUnavailable``.
    """

    def load(connection: Connection) -> tuple[KeyStanding | None, RowMapping | None]:
        child = None
        if claims.is_child:
            child = load_child(connection, claims.key_id, token_id=claims.token_id)
        return load_standing(connection, claims.token_id), child

    standing, child = await meter.read(load)
    if standing is None:
        raise position_not_found()
    if standing.key_epoch != claims.key_epoch:
        raise key_revoked()
    if claims.generation is not None:
        problem = find_child_problem(child, generation=claims.generation, now_s=meter.now_s())
        if problem is not None:
            raise problem
    return standing


def load_revoked(
    connection: Connection, keys: Set[KeyClaims], now_s: int
) -> dict[KeyClaims, RequestRejected]:
    """Return why keys are not good any more, of those that are not: their epoch, or as children."""
    epochs = load_key_epochs(connection, {key.token_id for key in keys})
    revoked = {key: key_revoked() for key in keys if epochs.get(key.token_id) != key.key_epoch}
    for key in keys - revoked.keys():
        if key.generation is None:
            continue
        child = load_child(connection, key.key_id, token_id=key.token_id)
        problem = find_child_problem(child, generation=key.generation, now_s=now_s)
        if problem is not None:
            revoked[key] = problem
    return revoked


def find_child_problem(
    child: RowMapping | None, *, generation: int, now_s: int
) -> RequestRejected | None:
    """Return why a child key is not live, or None."""
    if child is None:
        return key_revoked()
    key = build_child([child[name] for name in CHILD_COLUMNS])
    match key.find_problem(generation=generation, model=None, now_s=now_s):
        case None:
            return None
        case RefusalReason.KEY_EXPIRED:
            return key_expired()
        case RefusalReason.KEY_ROTATED:
            return key_rotated()
        case _:
            return key_revoked()
