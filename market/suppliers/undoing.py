"""Undoing what somebody else did to an account, by the link of the mail that told of it.

Whoever has a supplier's password, or a session, can change the password, have one-time codes asked
for and save an address for payouts: the owner could not sign in any more to stop that. The mail of
each such change has a link, for as long as an address takes to count, that stops it at once.

It opens nothing. One-time codes that are asked for stay, however new they are: the market cannot
tell the owner's from a thief's, and a link that took them off would give the account, and its
payouts two days later, to whoever has the mailbox alone. An owner whom a thief's codes shut out has
an operator take them off (``market.reviewer.take_codes_off``), who asks first who it is; its money
goes meanwhile where it went before, and the thief is shut out too.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from ledger.suppliers.accounts import drop_begun_codes, find_supplier, lock_supplier, set_password
from ledger.suppliers.applying import use_token
from ledger.suppliers.callers import end_sessions, revoke_new_keys
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.saved_addresses import cancel_pending_addresses, choose_counting_network
from market.records.database import Database
from market.suppliers.joining import token_invalid
from market.suppliers.mailing import UNDO
from market.suppliers.payout_addresses import Network
from market.suppliers.supplier_tokens import hash_token, is_token
from serving.process.ids import new_id


@dataclass(frozen=True, slots=True)
class Undone:
    """What was stopped."""

    email: str
    networks: tuple[str, ...]
    """Those whose address was to count later, and never will."""


class Undoing:
    """Stops what was changed lately."""

    def __init__(self, database: Database, *, lately_s: int) -> None:
        """``lately_s``: how old a key may be that is taken back, seconds."""
        self._database = database
        self._lately_s = lately_s

    async def undo(self, token: str) -> Undone:
        """Use the token of a mail up: addresses that do not count yet never will, all sessions end,
        keys that are new are off, the password is none until its owner has chosen another by the
        mail that is on its way then. One-time codes that are asked for stay. Raises 400 for a token
        that is unknown, used or late.
        """
        now_s, token_hash = self._database.now_s(), hash_token(token)

        def undo(connection: Connection) -> Undone | None:
            email = use_token(connection, token_hash, purpose=UNDO, now_s=now_s)
            found = None if email is None else find_supplier(connection, email)
            if email is None or found is None:
                return None
            supplier_id = found.supplier_id
            # Sessions first: who writes by one of them holds it, and may wait for the account.
            end_sessions(connection, supplier_id)
            lock_supplier(connection, supplier_id)
            since_s = now_s - self._lately_s
            revoke_new_keys(connection, supplier_id, since_s=since_s, now_s=now_s)
            drop_begun_codes(connection, supplier_id)
            set_password(connection, supplier_id, None)
            networks = cancel_pending_addresses(
                connection, supplier_id, networks=tuple(Network), now_s=now_s
            )
            choose_counting_network(connection, supplier_id, now_s=now_s)
            mail = NewMail(
                new_id(),
                email,
                "password_reset",
                {},
                token_purpose="reset",
                supplier_id=supplier_id,
            )
            enqueue_mail(connection, mail, now_s=now_s)
            return Undone(email, tuple(networks))

        undone = await self._database.write(undo) if is_token(token) else None
        if undone is None:
            raise token_invalid()
        return undone
