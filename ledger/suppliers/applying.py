"""Applications, and the tokens of mails and cookies, on the way to an account.

Every function takes the connection of the caller's write transaction. Times are Unix seconds. No
token is stored, only its hash.
"""

from typing import Final

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from ledger.database.statements import insert_or_ignore
from ledger.tables import SupplierApplication, SupplierToken, table_of

_application = table_of(SupplierApplication)
_token = table_of(SupplierToken)

TOKENS_MAX: Final = 10
"""Live tokens of one address and purpose: an older one ends."""


def save_application(
    connection: Connection, *, application_id: str, email: str, content: str, now_s: int
) -> None:
    """Store what an applicant says; it takes the place of what the same address said before."""
    values = {
        "application_id": application_id,
        "email": email,
        "content": content,
        "mailed_at_s": now_s,
        "created_at_s": now_s,
    }
    if not insert_or_ignore(connection, _application, values):
        connection.execute(
            update(_application)
            .where(_application.c.email == email)
            .values(content=content, mailed_at_s=now_s, verified_at_s=None)
        )


def load_application(connection: Connection, email: str) -> RowMapping | None:
    """Return the application of an address, or None."""
    query = select(_application).where(_application.c.email == email)
    return connection.execute(query).mappings().one_or_none()


def note_verified(connection: Connection, email: str, *, now_s: int) -> None:
    """Note that the address of an application is the applicant's."""
    connection.execute(
        update(_application).where(_application.c.email == email).values(verified_at_s=now_s)
    )


def save_token(
    connection: Connection,
    *,
    token_hash: str,
    purpose: str,
    email: str,
    lifetime_s: int,
    now_s: int,
) -> None:
    """Store a token that is about to be handed out."""
    connection.execute(
        insert(_token).values(
            token_hash=token_hash,
            purpose=purpose,
            email=email,
            expires_at_s=now_s + lifetime_s,
            created_at_s=now_s,
        )
    )
    is_alike = (_token.c.email == email) & (_token.c.purpose == purpose)
    newest = (
        select(_token.c.token_hash)
        .where(is_alike)
        .order_by(_token.c.created_at_s.desc(), _token.c.token_hash)
        .limit(TOKENS_MAX)
    )
    kept = connection.execute(newest).scalars().all()
    connection.execute(delete(_token).where(is_alike, _token.c.token_hash.not_in(kept)))


def use_token(connection: Connection, token_hash: str, *, purpose: str, now_s: int) -> str | None:
    """Use a token up, with all others of its address and purpose; return the address.

    None: it is unknown, was used, has expired, or is for something else. Of two that use it at
    once, one finds it: the row goes with the statement.
    """
    found = connection.execute(
        delete(_token)
        .where(_token.c.token_hash == token_hash, _token.c.purpose == purpose)
        .returning(_token.c.email, _token.c.expires_at_s)
    ).one_or_none()
    if found is None or found.expires_at_s <= now_s:
        return None
    drop_tokens(connection, str(found.email), purpose=purpose)
    return str(found.email)


def drop_tokens(connection: Connection, email: str, *, purpose: str) -> None:
    """End all tokens of an address and purpose."""
    connection.execute(delete(_token).where(_token.c.email == email, _token.c.purpose == purpose))


def find_token(connection: Connection, token_hash: str, *, purpose: str, now_s: int) -> str | None:
    """Return whose live token this is, without using it up; None: nobody's."""
    query = select(_token.c.email).where(
        _token.c.token_hash == token_hash,
        _token.c.purpose == purpose,
        _token.c.expires_at_s > now_s,
    )
    return connection.execute(query).scalar_one_or_none()


def purge_tokens(connection: Connection, before_s: int, limit: int) -> int:
    """Forget tokens that expired before ``before_s``."""
    old = select(_token.c.token_hash).where(_token.c.expires_at_s < before_s).limit(limit)
    return connection.execute(delete(_token).where(_token.c.token_hash.in_(old))).rowcount


def purge_applications(connection: Connection, before_s: int, limit: int) -> int:
    """Forget applications of before ``before_s`` that no account was made of."""
    old = (
        select(_application.c.application_id)
        .where(_application.c.created_at_s < before_s, _application.c.mailed_at_s < before_s)
        .limit(limit)
    )
    gone = delete(_application).where(_application.c.application_id.in_(old))
    return connection.execute(gone).rowcount
