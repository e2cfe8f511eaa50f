"""Who is asking: keys from the Authorization header, and sign-ins by wallet."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from contracts.errors import Retryable
from contracts.signature_checker import SignatureChecker
from contracts.signatures import parse_signature
from contracts.siwe import LIFETIME_S, SiweInvalid, SiweMessage, build_siwe, parse_siwe
from ledger.errors import TooMany
from ledger.selling.accounts import NewKey, save_account, save_key, save_seller, use_nonce
from market.errors import invalid_key, missing_key
from market.identity.keys import (
    Role,
    find_role,
    hash_key,
    make_key,
    make_nonce,
    read_nonce,
)
from market.records.database import Database
from market.records.store import KeyHolder, load_key_holder
from serving.http.bodies import parse_bearer
from serving.http.errors import RequestRejected, bad_request, unauthorized, unavailable
from serving.process.ids import new_id

STATEMENTS: Final = {
    Role.SELLER: "Get an API key to sell on this market.",
    Role.BUYER: "Get an API key to buy on this market.",
}
_PREFIXES: Final = {Role.SELLER: "si_seller_", Role.BUYER: "inf_"}

KNOWN_FOR_S: Final = 30.0
"""How long a buyer's key is taken as known for a sale. Reserving looks at the key itself, so that a
revoked one buys nothing."""

KNOWN_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a wallet is asked to sign."""

    message: str
    nonce: str
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class SignedChallenge:
    """A challenge that came back signed, and when its nonce expires."""

    message: SiweMessage
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A key that was just made; ``text`` is shown once."""

    key_id: str
    text: str
    owner: str

    def __repr__(self) -> str:
        return f"Issued({self.key_id})"


class Authenticator:
    """Issues keys to wallets and recognises them."""

    def __init__(
        self,
        database: Database,
        checker: SignatureChecker,
        *,
        secrets: Sequence[bytes],
        domain: str,
        uri: str,
        chain_id: int,
        challenge_lifetime_s: int = LIFETIME_S,
    ) -> None:
        self._database = database
        self._challenge_lifetime_s = challenge_lifetime_s
        self._checker = checker
        self._secrets = secrets
        self._domain = domain
        self._uri = uri
        self._chain_id = chain_id
        self._known: OrderedDict[str, tuple[KeyHolder, float]] = OrderedDict()

    async def authenticate(
        self, authorization: str | None, role: Role, *, for_sale: bool = False
    ) -> KeyHolder:
        """Return the holder of the bearer key. Raises 401, and ``LedgerUnavailable``.

        Only ``for_sale`` is a key known without a look at the ledger: see ``KNOWN_FOR_S``.
        """
        if authorization is None:
            raise missing_key(_PREFIXES[role])
        text = parse_bearer(authorization)
        if text is None or find_role(text) is not role:
            raise invalid_key()
        key_hash = hash_key(text)
        known = self._known.get(key_hash)
        if for_sale and known is not None and known[1] > time.monotonic():
            return known[0]
        now_s = self._database.now_s()
        holder = await self._database.read(
            lambda connection: load_key_holder(
                connection, key_hash=key_hash, kind=role, now_s=now_s
            )
        )
        if holder is None:
            self._known.pop(key_hash, None)
            raise invalid_key()
        self._known[key_hash] = (holder, time.monotonic() + KNOWN_FOR_S)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return holder

    def build_challenge(self, purpose: str, address: str, *, statement: str) -> Challenge:
        """Return a message for ``address`` to sign for one purpose. Nothing is stored."""
        now = datetime.fromtimestamp(self._database.clock.now(), UTC)
        expires_at_s = int(now.timestamp()) + self._challenge_lifetime_s
        nonce = make_nonce(
            self._secrets, purpose=purpose, address=address, expires_at_s=expires_at_s
        )
        message = build_siwe(
            domain=self._domain,
            address=address,
            statement=statement,
            uri=self._uri,
            chain_id=self._chain_id,
            nonce=nonce,
            issued_at=now,
            resources=(),
        ).removesuffix("\nResources:")
        return Challenge(message, nonce, expires_at_s)

    async def issue_key(
        self,
        role: Role,
        *,
        message: str,
        signature: str,
        label: str,
        expires_at_s: int | None,
        trusted_only: bool | None = None,
    ) -> Issued:
        """Trade a signed challenge for a key. Raises ``ApiError``, and ``LedgerUnavailable``."""
        found = await self.read_signed(role, message=message, signature=signature)
        signed, now_s = found.message, self._database.now_s()
        key = make_key(role)
        key_id = new_id()
        account_id = new_id()
        owner = await self._database.write(
            lambda connection: _save(
                connection,
                role=role,
                address=signed.address,
                account_id=account_id,
                nonce=signed.nonce,
                nonce_expires_at_s=found.expires_at_s,
                key=NewKey(key_id, key.key_hash, role, "", label, expires_at_s, trusted_only),
                now_s=now_s,
            )
        )
        if owner is None:
            raise unauthorized("challenge_used", "The challenge was used: ask for a new one.")
        return Issued(key_id, key.text, owner)

    async def read_signed(self, purpose: str, *, message: str, signature: str) -> SignedChallenge:
        """Return a challenge of ours that its address has signed. Raises ``ApiError``.

        Whether it was used before is not looked at.
        """
        now_s = self._database.now_s()
        signed = self._parse(message, now_s=now_s)
        expires_at_s = read_nonce(
            self._secrets, signed.nonce, purpose=purpose, address=signed.address
        )
        if expires_at_s is None or expires_at_s <= now_s:
            raise unauthorized("challenge_expired", "The challenge is not ours or has expired.")
        decoded = parse_signature(signature)
        if decoded is None:
            raise bad_request("invalid_signature", "'signature' must be 0x hex.", param="signature")
        if not await self._is_signed(signed.address, message, decoded):
            text = "The signature is not by the message's address, or not over the exact text."
            raise unauthorized("invalid_signature", text)
        return SignedChallenge(signed, expires_at_s)

    def _parse(self, message: str, *, now_s: int) -> SiweMessage:
        try:
            signed = parse_siwe(message)
            signed.check(
                domain=self._domain,
                chain_id=self._chain_id,
                now_s=now_s,
                lifetime_s=self._challenge_lifetime_s,
            )
        except SiweInvalid as error:
            raise bad_request("invalid_message", f"{error}.", param="message") from None
        return signed

    async def _is_signed(self, address: str, message: str, signature: bytes) -> bool:
        try:
            return await asyncio.to_thread(self._checker.is_signed_by, address, message, signature)
        except Retryable as error:
            text = "The chain cannot be asked about this signature just now."
            raise unavailable("chain_unavailable", text) from error

    def forget(self) -> None:
        """Drop what is known of keys: one was revoked."""
        self._known.clear()


def _save(
    connection: Connection,
    *,
    role: Role,
    address: str,
    account_id: str,
    nonce: str,
    nonce_expires_at_s: int,
    key: NewKey,
    now_s: int,
) -> str | None:
    """Use the nonce up, and store the key of its signer; None where the nonce was used before."""
    if not use_nonce(connection, nonce=nonce, expires_at_s=nonce_expires_at_s, now_s=now_s):
        return None
    if role is Role.SELLER:
        save_seller(connection, address=address, now_s=now_s)
        owner = address
    else:
        owner = save_account(
            connection, account_id=account_id, kind="prepaid", wallet=address, now_s=now_s
        )
    try:
        save_key(connection, replace(key, owner=owner), now_s=now_s)
    except TooMany as error:
        message = f"{error}: revoke one first, and see that keys are used again."
        raise RequestRejected(409, "too_many_keys", message) from None
    return owner
