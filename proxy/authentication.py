"""Who is asking: from the Authorization header to a key's claims, and whether they still hold."""

from proxy.errors import invalid_key, key_revoked, missing_key, position_not_found
from proxy.keys import KeyClaims, KeyRing
from proxy.meter import Meter
from proxy.store import Standing, load_standing

_SCHEME = b"bearer "


def authenticate(authorization: bytes | None, ring: KeyRing) -> KeyClaims:
    """Return the claims of the bearer key. Raises 401; asks no database.

    The epoch in the claims is not compared with the chain's here: see ``check_standing``.
    """
    if authorization is None:
        raise missing_key()
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise invalid_key()
    try:
        key = authorization[len(_SCHEME) :].strip(b" ").decode("ascii")
    except UnicodeDecodeError:
        raise invalid_key() from None
    claims = ring.verify_key(key)
    if claims is None:
        raise invalid_key()
    return claims


async def check_standing(claims: KeyClaims, meter: Meter) -> Standing:
    """Return the position's standing if the key's epoch is its current one.

    For everything but reservations, which compare the epoch in the statement that reserves. Raises
    404 or 401, and ``LedgerUnavailable``.
    """
    standing = await meter.read(lambda connection: load_standing(connection, claims.token_id))
    if standing is None:
        raise position_not_found()
    if standing.key_epoch != claims.key_epoch:
        raise key_revoked()
    return standing
