"""One call of an API: by a buyer's key with credit, or paid by x402, on the same URL."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from starlette.types import Receive, Scope

from market.errors import invalid_key
from market.http.paying import answer_by, find_payment
from market.identity.keys import Role
from market.payments.identifiers import find_identifier
from market.payments.paywall import PaidCall
from market.records.store import KeyHolder, is_key_live
from market.resale.call_charging import COST_HEADER
from market.resale.call_wishes import parse_wish
from market.resale.candidates import Candidates, IncomingCall
from market.resale.sold_apis import build_extensions, describe_call
from market.services import Services
from serving.http.answers import Answer, StreamAnswer
from serving.http.bodies import find_header, read_body
from serving.http.front import Lean
from serving.http.repeat_keys import RepeatKey, derive_repeat_key


def build_call(get_services: Callable[[], Services]) -> Lean:
    """Return what serves calls. Services are there once the application has begun."""

    async def answer(scope: Scope, receive: Receive, request_id: str) -> Answer | StreamAnswer:
        services = get_services()
        return await answer_by(
            partial(answer_api_call, scope, receive, services, request_id),
            services.metrics,
            request_id,
        )

    return answer


@dataclass(frozen=True, slots=True)
class CallPriced:
    """What a call costs, where the paywall asks."""

    candidates: Candidates
    call: IncomingCall
    transaction_fee_usdc: int

    def quote(self) -> int:
        """Return what it may cost at most now, in 1e-6 USDC. Raises ``ApiError``."""
        return self.candidates.quote(self.call, transaction_fee_usdc=self.transaction_fee_usdc)

    def was_asked(self, amount_usdc: int) -> bool:
        """Tell whether a seller of this call asked for this larger amount: prices may fall between
        a 402 and its payment. What is paid too much stays the payer's credit."""
        return any(
            amount_usdc <= self.transaction_fee_usdc + _highest(one.price.units_max, unit_usdc)
            for one in self.candidates.find_fitting(self.call)
            for unit_usdc in (
                one.connection.terms.price.usdc
                if one.operation.price_usdc is None
                else one.operation.price_usdc,
            )
        )


def _highest(units_max: int, unit_usdc: int) -> int:
    return max(1, units_max) * unit_usdc


async def answer_api_call(
    scope: Scope, receive: Receive, services: Services, request_id: str
) -> Answer | StreamAnswer:
    """Serve one call. Raises ``ApiError``, ``LedgerUnavailable``, ``ClientGone``."""
    services.limits.check(scope)
    raw_path = bytes(scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = bytes(scope["query_string"]).decode("latin-1")
    wish = parse_wish(scope["method"], raw_path, query)
    candidates = services.api_calls.candidates
    candidates.find(wish)  # what nobody sells is not read
    header, payment = find_header(scope, b"authorization"), find_payment(scope)
    paywall = services.paywall

    def build(raw: bytes) -> IncomingCall:
        def find(name: str) -> str | None:
            return find_header(scope, name.encode())

        address, background = services.limits.name_address(scope), services.serving.in_flight.keep
        return IncomingCall(wish, raw, find, request_id, address, background=background)

    def whole(raw: bytes) -> bytes:
        return b"\0".join((wish.method.encode(), raw_path.encode(), query.encode(), raw))

    if paywall is not None and (header is None or payment is not None):
        raw = await read_body(scope, receive, services, keep_open=services.limits.keep_open)
        # What cannot be called is refused before it is paid for.
        call = build(raw)
        cheapest = candidates.find_fitting(call)[0]

        def sell(call: IncomingCall) -> Awaitable[Answer | StreamAnswer]:
            async def serve_payer(payer: KeyHolder) -> Answer | StreamAnswer:
                services.limits.release(scope)
                return await _serve(services, payer, call, None)

            paid = PaidCall(
                raw_path + (f"?{query}" if query else ""),
                wish.method.encode() + b"\0" + raw,
                CallPriced(candidates, call, paywall.rules.fee_usdc),
                serve_payer,
                description=describe_call(cheapest),
                extensions=build_extensions(cheapest),
                is_charged=lambda answer: answer.headers.get(COST_HEADER) != "0",
            )
            return paywall.sell(payment, paid, request_id=request_id)

        identifier = None if payment is None else find_identifier(payment)
        if identifier is None:
            return await sell(call)
        return await services.repeated_calls.answer_once(
            derive_call_key(f"Bearer x402 {identifier}", identifier, whole(raw)),
            lambda take, keep: sell(replace(call, also=take, keep=keep)),
            request_id=request_id,
            check=_allow,
        )
    buyer = await services.identify(header, Role.BUYER, for_sale=True)
    raw = await services.limits.read_body(
        scope, receive, services, buyer.owner, is_proven=buyer.is_proven
    )
    call = build(raw)
    named = find_header(scope, b"idempotency-key")
    repeat = None
    if named is not None:
        repeat = derive_call_key(header, named, whole(raw))
    return await _serve(services, buyer, call, repeat)


async def _allow() -> None:
    """A payment's identifier is the payer's secret: whoever has it may see the answer."""


def derive_call_key(authorization: str | None, named: str, whole: bytes) -> RepeatKey:
    """Return what an idempotency key of a call stands for: never what one of inference does."""
    apart = "Bearer " + hmac.digest(b"api call", (authorization or "").encode(), "sha256").hex()
    return derive_repeat_key(apart, idempotency_key=named, body=whole)


async def _serve(
    services: Services, holder: KeyHolder, call: IncomingCall, repeat: RepeatKey | None
) -> Answer | StreamAnswer:
    if repeat is None:
        return await services.serving.run(
            lambda: services.api_calls.serve(holder, call), holder, call.request_id
        )

    async def check() -> None:
        now_s = services.database.now_s()
        if not await services.database.read(lambda c: is_key_live(c, holder.key_id, now_s=now_s)):
            raise invalid_key()

    key = repeat
    return await services.serving.run(
        lambda: services.repeated_calls.answer_once(
            key,
            lambda take, keep: services.api_calls.serve(
                holder, replace(call, also=take, keep=keep)
            ),
            request_id=call.request_id,
            check=check,
        ),
        holder,
        call.request_id,
    )
