"""Who sells a call: the connections that have its operation, in the order in which they are asked.

Several connections that are sold under one name and have the operation are one product: the
cheapest healthy one is called first.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection

from contracts.units import format_usdc
from ledger.resale.call_records import NewCall
from market.endpoints.health import Standing
from market.records.database import Database
from market.resale.api_client import OutgoingCall
from market.resale.api_shelf import ApiShelf, SoldConnection
from market.resale.call_prices import CallPrice
from market.resale.call_refusals import quota_sold, resting
from market.resale.call_wishes import (
    CallWish,
    check_body,
    check_query,
    unknown_api,
    unknown_operation,
    write_target,
)
from market.resale.operations import Operation, find_operation, list_methods
from market.resale.passed_headers import HeaderRefused, choose_outgoing
from serving.http.answers import Answer
from serving.http.errors import RequestRejected, bad_request, method_not_allowed
from serving.models.failures import Cause

MOST_HEADER: Final = "x-market-max-call-usdc"
"""The most that a call may cost, in 1e-6 USDC: for programs that spend by themselves."""
_MOST: Final = re.compile(r"[0-9]{1,18}")

STRICT_RESTS: Final = frozenset({Cause.AUTH, Cause.FUNDS, Cause.RATE})
"""A connection that rests for one of these is not asked, even where no other is left."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connection that sells an operation, with what a call costs there now."""

    connection: SoldConnection
    operation: Operation
    parameters: Mapping[str, str]
    price: CallPrice
    is_own: bool = False
    """Whether who calls is its owner: free, by no limit, and none of what is for sale."""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A consumer's call."""

    wish: CallWish
    body: bytes
    find_header: Callable[[str], str | None]
    request_id: str
    address: str = ""
    """Where the consumer is, as limits count addresses."""
    also: Callable[[Connection, NewCall], object] | None = None
    """Written with each reservation; its refusals end the call."""
    keep: Callable[[Answer], Callable[[Connection], object]] | None = None
    """Returns what keeps the answer, in the transaction that charges for it."""
    background: Callable[[Coroutine[Any, Any, None]], object] | None = None
    """Runs what goes on after the answer has begun; None: the answer comes whole."""

    def may_stream(self, operation: Operation) -> bool:
        """Tell whether the answer may be passed on while it arrives: it is not to be kept."""
        is_kept = self.keep is not None or operation.cache_s > 0
        return self.background is not None and not is_kept and operation.counts(200)


class Candidates:
    """Finds who sells calls, among the connections on a shelf."""

    def __init__(self, database: Database, shelf: ApiShelf) -> None:
        self._database = database
        self._shelf = shelf

    def find(self, wish: CallWish) -> list[Candidate]:
        """Return who sells a call, cheapest first. Raises 404, 405."""
        connections = self._shelf.list_sold(wish.sold_under)
        if not connections:
            raise unknown_api(wish.sold_under)
        now_s = self._database.now_s()
        found: list[Candidate] = []
        for connection in connections:
            match = find_operation(connection.terms.operations, wish.method, wish.segments)
            if match is not None:
                price = connection.find_price(match[0], now_s)
                found.append(Candidate(connection, *match, price))
        if not found:
            methods = {
                method
                for one in connections
                for method in list_methods(one.terms.operations, wish.segments)
            }
            if methods:
                raise method_not_allowed(wish.method, ", ".join(sorted(methods)))
            raise unknown_operation(wish)
        return sorted(found, key=lambda one: (one.price.ceiling_usdc, one.connection.connection_id))

    def choose(self, candidates: list[Candidate]) -> list[Candidate]:
        """Return whom to ask, in order: the healthy, else those whose rest may be cut short.

        Raises 503 where all rest, or have sold all that there is.
        """
        now_s = self._database.now_s()
        left = [
            one
            for one in candidates
            if one.is_own or self._shelf.has_left(one.connection, one.operation.units_max, now_s)
        ]
        if not left:
            ends_at_s = min(one.connection.find_period(now_s).ends_at_s for one in candidates)
            raise quota_sold(ends_at_s - now_s)
        ready, waiting, strict = [], [], []
        for one in left:
            id_ = one.connection.connection_id
            standing = self._shelf.get_standing(id_)
            if standing in (Standing.HEALTHY, Standing.ON_TRIAL):
                ready.append(one)
            elif self._shelf.get_health(id_).cause in STRICT_RESTS:
                strict.append(one)
            else:
                waiting.append(one)
        if ready:
            return ready
        if waiting:
            return sorted(
                waiting, key=lambda one: self._shelf.get_rest_s(one.connection.connection_id)
            )
        raise resting(min(self._shelf.get_rest_s(one.connection.connection_id) for one in strict))

    def find_fitting(self, call: IncomingCall, *, wallet: str | None = None) -> list[Candidate]:
        """Return who sells a call and takes it as it is, cheapest first: a ``wallet``'s own
        connections cost it nothing.

        What one owner does not take (a parameter, a body) another one may. Raises 404, 405, and
        400 or 415 where nobody takes it.
        """
        fitting, refusal = [], None
        most_usdc = read_most(call.find_header)
        for one in put_own_first(self.find(call.wish), wallet):
            if most_usdc is not None and one.price.ceiling_usdc > most_usdc:
                refusal = refusal or too_dear(one.price.ceiling_usdc, most_usdc)
                continue
            try:
                prepare_call(one, call)
            except RequestRejected as error:
                refusal = refusal or error
            else:
                fitting.append(one)
        if not fitting and refusal is not None:
            raise refusal
        return fitting

    def quote(self, call: IncomingCall, *, transaction_fee_usdc: int) -> int:
        """Return what a call may cost at most (1e-6 USDC) where it is cheapest. Raises as above."""
        chosen = self.choose(self.find_fitting(call))
        return max(1, chosen[0].price.ceiling_usdc + transaction_fee_usdc)


def read_most(find_header: Callable[[str], str | None]) -> int | None:
    """Return the most that the consumer lets a call cost (1e-6 USDC); None: as it is sold.

    Raises 400.
    """
    said = find_header(MOST_HEADER)
    if said is None:
        return None
    if _MOST.fullmatch(said) is None:
        raise bad_request("invalid_header", f"{MOST_HEADER} must be an integer of 1e-6 USDC.")
    return int(said)


def too_dear(price_usdc: int, most_usdc: int) -> RequestRejected:
    """400: whoever sells the call takes more than its consumer lets it cost."""
    message = f"The call costs {format_usdc(price_usdc)} USDC, above {format_usdc(most_usdc)} USDC."
    error = bad_request("max_cost_exceeded", message)
    error.facts = {"required_usdc": price_usdc}
    return error


def put_own_first(candidates: list[Candidate], wallet: str | None) -> list[Candidate]:
    """Return who sells a call, a wallet's own connections first, which cost it nothing."""
    if wallet is None:
        return candidates
    own = [
        replace(one, price=CallPrice(0, True, one.operation.units_max, None), is_own=True)
        for one in candidates
        if one.connection.owner == wallet
    ]
    return [*own, *(one for one in candidates if one.connection.owner != wallet)]


def prepare_call(one: Candidate, call: IncomingCall) -> OutgoingCall:
    """Return the call as it goes out. Raises 400, 415."""
    credential = one.connection.terms.credential
    operation = one.operation
    named = credential.name if credential.kind == "query" else None
    query = check_query(call.wish, operation, credential=named)
    check_body(operation, call.body, call.find_header("content-type"))
    try:
        headers = choose_outgoing(
            call.find_header,
            operation.headers,
            credential=credential.name if credential.kind == "header" else "authorization",
        )
    except HeaderRefused as error:
        raise bad_request("header_refused", f"{str(error).capitalize()}.") from None
    path = write_target(operation.template, one.parameters.__getitem__)
    return OutgoingCall(operation.method, path, query, headers, call.body)
