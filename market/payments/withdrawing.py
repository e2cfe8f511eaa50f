"""Taking unused credit back: a message that the wallet signs, and what comes of it.

The signature is all that it needs, so a payer by x402 who never had a key gets its leftovers too.
The money goes to the wallet that signed, in a payout batch of the keeper's.
"""

import re
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from contracts.units import format_usdc, parse_usdc
from ledger.payments.floor import load_floor
from ledger.payments.withdrawals import (
    SignedWithdrawal,
    Withdrawable,
    WithdrawalRecord,
    WithdrawalRefused,
    load_waiting_withdrawals,
    load_withdrawable,
    load_withdrawal,
    load_withdrawals,
    withdraw,
)
from market.identity.authentication import Authenticator, Challenge
from market.metrics import WITHDRAWAL_RESULTS, Metrics
from market.records.database import Database
from serving.http.errors import RequestRejected, bad_request
from serving.process.ids import new_id

log = structlog.get_logger("market")

PURPOSE: Final = "withdrawal"
SHOWN_MAX: Final = 100
LATE_S: Final = 86_400
"""For how long a withdrawal may wait for a payout batch before the log says so, seconds."""
_STATEMENT: Final = re.compile(
    r"Withdraw (all|[0-9.]{1,30} USDC) of my unused credit to this wallet\."
    r" ([0-9.]{1,30}) USDC of it pays for the transaction\."
)


@dataclass(frozen=True, slots=True)
class WithdrawalRules:
    """What a withdrawal costs, and the least that is paid beside that (1e-6 USDC)."""

    fee_usdc: int
    minimum_usdc: int


@dataclass(frozen=True, slots=True)
class WithdrawalOutlook:
    """What an account may withdraw, under what terms, and what it has withdrawn, newest first."""

    withdrawable: Withdrawable
    minimum_usdc: int
    withdrawals: list[WithdrawalRecord]


def write_statement(amount_usdc: int | None, fee_usdc: int) -> str:
    """Return what the wallet shows. ``amount_usdc`` None: all that there is."""
    what = "all" if amount_usdc is None else f"{format_usdc(amount_usdc)} USDC"
    return (
        f"Withdraw {what} of my unused credit to this wallet."
        f" {format_usdc(fee_usdc)} USDC of it pays for the transaction."
    )


def read_statement(text: str | None) -> tuple[int | None, int]:
    """Return the amount (None: all) and the fee of a statement. Raises ``ValueError``."""
    found = _STATEMENT.fullmatch(text or "")
    if found is None:
        raise ValueError("not a withdrawal's statement")
    what = found[1].removesuffix(" USDC")
    return (None if what == "all" else parse_usdc(what)), parse_usdc(found[2])


class Withdrawing:
    """Gives unused credit back."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        rules: WithdrawalRules,
        metrics: Metrics,
    ) -> None:
        self.rules = rules
        self._metrics = metrics
        self._database = database
        self._authenticator = authenticator

    def build_challenge(self, address: str, amount_usdc: int | None) -> Challenge:
        """Return a message for a wallet to sign. Nothing is stored, and nothing of it is told."""
        statement = write_statement(amount_usdc, self.rules.fee_usdc)
        return self._authenticator.build_challenge(PURPOSE, address, statement=statement)

    async def withdraw(self, *, message: str, signature: str) -> WithdrawalRecord:
        """Withdraw what a wallet has signed, once for each message. Raises ``ApiError``."""
        try:
            record = await self._withdraw(message=message, signature=signature)
        except RequestRejected as refused:
            if refused.code in WITHDRAWAL_RESULTS:
                self._metrics.observe_withdrawal(refused.code)
            raise
        self._metrics.observe_withdrawal("taken")
        return record

    async def _withdraw(self, *, message: str, signature: str) -> WithdrawalRecord:
        signed = (
            await self._authenticator.read_signed(PURPOSE, message=message, signature=signature)
        ).message
        try:
            amount_usdc, fee_usdc = read_statement(signed.statement)
        except ValueError:
            text = "The message does not say what to withdraw: sign the challenge as it is."
            raise bad_request("invalid_message", text, param="message") from None
        if fee_usdc != self.rules.fee_usdc:
            text = "The transaction costs another amount by now: ask for a new challenge."
            raise RequestRejected(409, "fee_changed", text)
        wish = SignedWithdrawal(new_id(), signed.address, amount_usdc, fee_usdc, signed.nonce)
        now_s = self._database.now_s()

        def write(connection: Connection) -> WithdrawalRecord:
            minimum_usdc = self._find_minimum(connection)
            made = withdraw(connection, wish, minimum_usdc=minimum_usdc, now_s=now_s)
            return load_withdrawal(connection, made)

        try:
            record = await self._database.write(write)
        except WithdrawalRefused as refused:
            raise await self._explain(refused, amount_usdc) from None
        log.info(
            "withdrawal_taken",
            withdrawal_id=record.withdrawal_id,
            account_id=record.account_id,
            amount_usdc=record.amount_usdc,
        )
        return record

    async def look(self, account_id: str) -> WithdrawalOutlook:
        """Return what an account may withdraw and has withdrawn."""

        def load(connection: Connection) -> WithdrawalOutlook:
            return WithdrawalOutlook(
                load_withdrawable(connection, account_id),
                self._find_minimum(connection),
                load_withdrawals(connection, account_id, limit=SHOWN_MAX),
            )

        return await self._database.read(load)

    async def watch(self) -> None:
        """Count the withdrawals that wait for a batch; say where one waits too long."""
        waiting = await self._database.read(load_waiting_withdrawals)
        since_s = waiting.oldest_at_s
        oldest_s = 0 if since_s is None else max(self._database.now_s() - since_s, 0)
        self._metrics.note_withdrawals(waiting=waiting.count, oldest_s=oldest_s)
        if oldest_s > LATE_S:
            log.error("withdrawal_late", withdrawals=waiting.count, oldest_s=oldest_s)

    def _find_minimum(self, connection: Connection) -> int:
        """Return the least that is paid: what a transfer must move to be worth its gas now."""
        return max(self.rules.minimum_usdc, load_floor(connection).floor_usdc)

    async def _explain(
        self, refused: WithdrawalRefused, amount_usdc: int | None
    ) -> RequestRejected:
        minimum_usdc = await self._database.read(self._find_minimum)
        least_usdc = minimum_usdc + self.rules.fee_usdc
        available_usdc, young_usdc = refused.available_usdc, refused.young_usdc
        message = (
            f"{format_usdc(available_usdc)} USDC of what this wallet paid in is unused and final;"
            f" the least that is withdrawn is {format_usdc(least_usdc)} USDC with its fee."
        )
        if young_usdc:
            message += (
                f" {format_usdc(young_usdc)} USDC came in blocks that may still be taken back: wait"
                " for them."
            )
        facts = {"available_usdc": available_usdc, "pending_usdc": young_usdc}
        if (available_usdc if amount_usdc is None else amount_usdc) < least_usdc:
            return RequestRejected(409, "withdrawal_too_small", message, facts=facts)
        return RequestRejected(409, "not_withdrawable", message, facts=facts)
