"""Requests that are paid one by one, by x402; and credit that is bought the same way.

A request without a key is told what it may cost at most. Sent again with a payment of exactly that:
check the payment, write it down (durable), wait until the keeper has it settled, claim it for this
request, serve it on the credit. The rest of the payment stays the payer's credit, for requests
with a buyer's key of the same wallet. A request that fails after its payment has settled may be
sent again with the same payment, until one is served: that one is charged, and no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from contracts.units import format_usdc
from ledger.payments.claims import (
    check_same,
    claim_payment,
    find_payment,
    look_again,
    record_payment,
    release_payment,
)
from ledger.payments.records import (
    ClaimOutcome,
    PaymentConflict,
    PaymentRecord,
    PaymentRefused,
    PaymentUncovered,
)
from ledger.selling.sale_statements import PAID_KEY_ID
from market.payments.chain_checks import PaymentChain
from market.payments.payment_terms import (
    AT_LEAST,
    CREDIT_HEADER,
    DESCRIPTION,
    NEVER,
    PENDING,
    Settled,
    ask_for_payment,
    build_payment,
    demand_at_least,
    describe_payment,
    digest_order,
    explain_invalid,
    read_payment,
)
from market.payments.quotes import Quotes
from market.payments.settlement_watch import SettlementWatch
from market.payments.x402 import (
    INSUFFICIENT_FUNDS,
    NONCE_USED,
    PAYER_REFUSED,
    SIMULATION_FAILED,
    VALUE_MISMATCH,
    Payment,
    PaymentDemand,
    PaymentInvalid,
    X402Terms,
    check_times,
)
from market.records.database import Database
from market.records.store import KeyHolder, load_account
from market.routing.ranking import Ask
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import ApiError, bad_request, unavailable
from serving.process.ids import new_id

log = structlog.get_logger("market")


@dataclass(frozen=True, slots=True)
class PaymentRules:
    """What payments are asked for, and how long they are waited for. Amounts in 1e-6 USDC."""

    public_url: str
    payee: str
    fee_usdc: int
    timeout_s: int
    wait_s: float
    topup_usdc_max: int
    claim_s: int
    open_max: int
    """How many payments of one payer may wait to settle."""
    serves_first: bool
    """Serve on a payment that is checked and not settled: the risk is the operator's."""


class Priced(Protocol):
    """What a request costs. Amounts in 1e-6 USDC."""

    def quote(self) -> int:
        """Return what it may cost at most now. Raises ``ApiError``."""
        ...

    def was_asked(self, amount_usdc: int) -> bool:
        """Tell whether it was asked for this larger amount a while ago."""
        ...


@dataclass(frozen=True, slots=True)
class PaidCall:
    """A request as far as it is paid for: how it is priced, and how it is served."""

    path: str
    raw: bytes
    price: Priced
    serve: Callable[[KeyHolder], Awaitable[Answer | StreamAnswer]]
    description: str = DESCRIPTION
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """What a 402 says beside its terms, by the name of each extension of the protocol."""
    is_charged: Callable[[Answer | StreamAnswer], bool] = lambda answer: answer.status < 400
    """Whether an answer used the payment up."""


class Paywall:
    """Takes payments, and serves what they pay for."""

    def __init__(
        self,
        database: Database,
        quotes: Quotes,
        chain: PaymentChain,
        watch: SettlementWatch,
        rules: PaymentRules,
    ) -> None:
        self._database = database
        self._quotes = quotes
        self._chain = chain
        self._watch = watch
        self.rules = rules

    async def sell(
        self, header: str | None, call: PaidCall, *, request_id: str
    ) -> Answer | StreamAnswer:
        """Serve a request that is paid for, or say what to pay. Raises ``ApiError``."""
        terms = await self.load_terms()
        digest = digest_order("request", call.path, call.raw)
        payment, invalid = read_payment(header, terms)
        known = None if payment is None else await self._find(payment)
        floor = await self._quotes.load_floor()

        def ask() -> PaymentDemand:
            url = self.rules.public_url + call.path
            demand = PaymentDemand(
                call.price.quote(), url, call.description, extensions=call.extensions
            )
            return demand_at_least(demand, floor.floor_usdc)

        # Once it is settled its credit has to cover what the request may cost now, not the payment.
        demand = None if known is not None and known.credited_usdc else ask()
        if payment is None:
            raise ask_for_payment(terms, demand or ask(), invalid)
        try:
            record = known or await self._take(
                payment,
                "request",
                digest,
                demand or ask(),
                was_asked=lambda usdc: usdc == floor.before_usdc or call.price.was_asked(usdc),
            )
            check_same(record, build_payment(payment, "request", digest, record.account_id))
            settled = await self._await_settled(record, payment, terms)
        except (PaymentInvalid, PaymentConflict) as error:
            raise ask_for_payment(terms, demand or ask(), explain_invalid(error)) from None
        await self._claim(settled, ask, request_id)
        return await self._serve(settled, call, request_id=request_id)

    async def top_up(
        self, header: str | None, *, path: str, amount_usdc: int, account_id: str | None
    ) -> tuple[PaymentRecord, int, dict[str, str]]:
        """Sell credit; return the payment, the free credit after it, and headers.

        ``account_id`` None is the payer's own account. Raises ``ApiError``.
        """
        assert 0 < amount_usdc <= self.rules.topup_usdc_max
        terms = await self.load_terms()
        digest = digest_order("topup", account_id or "", str(amount_usdc).encode())
        url = self.rules.public_url + path
        demand = PaymentDemand(
            amount_usdc, url, f"{format_usdc(amount_usdc)} USDC of prepaid credit"
        )
        payment, invalid = read_payment(header, terms)
        known = None if payment is None else await self._find(payment)
        floor_usdc = (await self._quotes.load_floor()).floor_usdc
        if known is None and amount_usdc < floor_usdc:
            reason = AT_LEAST.format(format_usdc(floor_usdc))
            raise bad_request("amount_too_small", reason, param="amount_usd")
        if payment is None:
            raise ask_for_payment(terms, demand, invalid)
        try:
            record = known or await self._take(
                payment, "topup", digest, demand, account_id=account_id
            )
            check_same(record, build_payment(payment, "topup", digest, record.account_id))
            settled = await self._await_settled(record, payment, terms)
        except (PaymentInvalid, PaymentConflict) as error:
            raise ask_for_payment(terms, demand, explain_invalid(error)) from None
        headers = settled.build_headers()
        return settled.record, await self._load_credit(record.account_id), headers

    def price(self, asks: Sequence[Ask]) -> Priced:
        """Return what a request for inference costs, with what its payment's transaction does."""
        return self._quotes.price([replace(ask, flat_fee_usdc=self.rules.fee_usdc) for ask in asks])

    # ------------------------------------------------------------------------------------ the terms

    async def load_terms(self) -> X402Terms:
        """Return in what, to whom and on which chain is paid. Raises 503."""
        domain = await self._chain.load_domain()
        return X402Terms(domain, self.rules.payee, self.rules.timeout_s)

    # ---------------------------------------------------------------------------------- the payment

    async def _find(self, payment: Payment) -> PaymentRecord | None:
        """Return what is known of a payment."""
        signed = payment.authorization
        return await self._database.read(
            lambda connection: find_payment(connection, payer=signed.payer, nonce=signed.nonce)
        )

    async def _take(
        self,
        payment: Payment,
        purpose: str,
        digest: str,
        demand: PaymentDemand,
        *,
        account_id: str | None = None,
        was_asked: Callable[[int], bool] = lambda _: False,
    ) -> PaymentRecord:
        """Check a payment, write it down. Raises ``PaymentInvalid``, ``PaymentConflict``, 503.

        ``was_asked`` tells whether a larger amount was demanded a while ago.
        """
        signed = payment.authorization
        value_usdc = signed.value_usdc
        if value_usdc != demand.amount_usdc and not (
            value_usdc > demand.amount_usdc and was_asked(value_usdc)
        ):
            message = (
                f"Sign a value of exactly {demand.amount_usdc}"
                f" ({format_usdc(demand.amount_usdc)} USDC): that is what this may cost."
            )
            raise PaymentInvalid(VALUE_MISMATCH, message)
        check_times(signed, now_s=self._database.now_s())
        means = await self._chain.examine(signed)
        new_account_id, now_s = new_id(), self._database.now_s()
        new = build_payment(payment, purpose, digest, account_id)
        try:
            record = await self._database.write(
                lambda connection: record_payment(
                    connection,
                    new,
                    new_account_id=new_account_id,
                    balance_usdc=means.balance_usdc,
                    credits_now=self.rules.serves_first and purpose == "request",
                    open_max=self.rules.open_max,
                    now_s=now_s,
                )
            )
        except PaymentUncovered:
            message = "The payer's balance does not cover all that it has signed here."
            raise PaymentInvalid(INSUFFICIENT_FUNDS, message) from None
        except PaymentRefused as error:
            raise PaymentInvalid(PAYER_REFUSED, str(error)) from None
        log.info(
            "payment_taken",
            payment_id=record.payment_id,
            purpose=purpose,
            value_usdc=value_usdc,
            payer=signed.payer,
        )
        return record

    async def _await_settled(
        self, record: PaymentRecord, payment: Payment, terms: X402Terms
    ) -> Settled:
        """Return the payment once its credit is there. Raises ``PaymentInvalid``, 503."""
        if record.credited_usdc:
            return Settled(record, payment.version, terms)
        if record.error is not None and not record.is_over:
            now_s, id_ = self._database.now_s(), record.payment_id
            await self._database.write(lambda connection: look_again(connection, id_, now_s=now_s))
        found = await self._watch.wait(record.payment_id, timeout_s=self.rules.wait_s)
        if found is None:
            error = unavailable("payment_pending", PENDING)
            error.beside = {"payment": describe_payment(record)}
            raise error
        if found.credited_usdc:
            return Settled(found, payment.version, terms)
        reason = found.error or found.state
        if found.is_over:
            raise PaymentInvalid(SIMULATION_FAILED, NEVER.format(reason))
        message = f"USDC refuses the transfer now ({reason}). If it passes later, it is credit."
        raise PaymentInvalid(SIMULATION_FAILED, message)

    # --------------------------------------------------------------------------------- the request

    async def _serve(
        self, settled: Settled, call: PaidCall, *, request_id: str
    ) -> Answer | StreamAnswer:
        record = settled.record
        buyer = KeyHolder(
            PAID_KEY_ID, record.account_id, flat_fee_usdc=self.rules.fee_usdc, is_proven=True
        )
        try:
            answer = await call.serve(buyer)
        except ApiError as error:
            await self._release(record.payment_id, request_id)
            await self._tell_kept(error, settled)
            raise
        except BaseException:
            await asyncio.shield(self._release(record.payment_id, request_id))
            raise
        if not call.is_charged(answer):
            # An answer that costs nothing: the payment may be used again.
            await self._release(record.payment_id, request_id)
        credit = {CREDIT_HEADER: str(await self._load_credit(record.account_id))}
        return replace(answer, headers={**answer.headers, **settled.build_headers(), **credit})

    async def _claim(
        self, settled: Settled, ask: Callable[[], PaymentDemand], request_id: str
    ) -> None:
        """Bind the payment to this request. Raises 402 where it was used, 503 where it is now."""
        payment_id, now_s = settled.record.payment_id, self._database.now_s()
        until_s = now_s + self.rules.claim_s
        claim = await self._database.write(
            lambda connection: claim_payment(
                connection,
                payment_id,
                request_id=request_id,
                now_s=now_s,
                until_s=until_s,
                holder_id=self._database.holder_id,
            )
        )
        if claim is ClaimOutcome.CLAIMED:
            return
        if claim is ClaimOutcome.IN_USE:
            text = "Another request is being served with this payment. Come again when it is over."
            raise unavailable("payment_in_use", text)
        message = "A request was served with this payment: sign another one."
        if claim is ClaimOutcome.UNPAID:
            message = "The payment was taken back from the chain: sign another one."
        raise ask_for_payment(settled.terms, ask(), PaymentInvalid(NONCE_USED, message))

    async def _release(self, payment_id: str, request_id: str) -> None:
        now_s = self._database.now_s()
        await self._database.persist(
            lambda connection: release_payment(
                connection, payment_id, request_id=request_id, now_s=now_s
            )
        )

    async def _tell_kept(self, error: ApiError, settled: Settled) -> None:
        """Add to the error of a request that was not served what has become of its payment."""
        credit_usdc = await self._load_credit(settled.record.account_id)
        error.message += (
            f" The payment has settled; {format_usdc(credit_usdc)} USDC is the payer's credit. Send"
            " the same request with the same payment again to use it: it is not taken twice."
        )
        error.beside = {**error.beside, "payment": describe_payment(settled.record)}
        credit = {CREDIT_HEADER: str(credit_usdc)}
        error.headers = {**error.headers, **settled.build_headers(), **credit}

    async def _load_credit(self, account_id: str) -> int:
        """Return an account's free credit, in 1e-6 USDC."""
        row = await self._database.read(lambda connection: load_account(connection, account_id))
        assert row is not None
        return int(row["credited_usdc"]) - int(row["spent_usdc"]) - int(row["reserved_usdc"])
