"""Probing an offer over HTTP: an operator's command, to be run by a timer.

It buys with a buyer's key like any other, from the market's own public address.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from typing import Any, Final, TypeVar

import httpx
import structlog
from sqlalchemy import Connection, Engine, select

from contracts.errors import Rejected
from contracts.units import format_usdc
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write_until_through
from ledger.database.on_loop import RETRY_DELAYS_S
from ledger.errors import LedgerUnavailable
from ledger.selling.evidence import sum_probe_costs
from ledger.selling.probe_turns import ProbeTurn, book_cost, end_turn, take_turn
from ledger.tables import MarketOffer, table_of
from market.evidence.probes import TEMPLATES, get_budget_usdc
from market.evidence.recording import ProbedOffer, record, write_rounds
from market.evidence.runner import Ask, OfferProbe, Purse, Told, run_probe
from market.evidence.schedule import bound_answer
from market.evidence.verdicts import Method, OfferVerdict
from serving.models.prices import Price

log = structlog.get_logger("market")

T = TypeVar("T")

MONTH_S: Final = 30 * 86_400
FLOOR_USDC: Final = 250_000
"""What an offer that has sold little is probed for in a month, at least: 0.25 USDC."""
TIMEOUT_S: Final = 60.0
TURN_S: Final = 2 * 3_600
"""How long a process has for one probe: longer than 256 answers take, four at once, a minute each.
"""
KEY_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED)
"""What is wrong with the buyer's key and not with an offer."""

_offer = table_of(MarketOffer)


class ProbeRefused(Rejected):
    """The offer cannot be probed now."""


@dataclass(frozen=True, slots=True)
class ProbeWish:
    """What to probe, and by whose key. ``reference`` None: any offer of grade A."""

    url: str
    key: str
    offer_id: str
    reference: str | None
    method: Method
    templates: int = TEMPLATES
    price: Price | None = None
    """The most that the offer may take by now; None: any."""
    reference_price: Price | None = None
    """The most that the reference may take."""

    def __repr__(self) -> str:
        return f"ProbeWish({self.offer_id})"


def probe_offer(engine: Engine, wish: ProbeWish, *, secret: bytes) -> str:
    """Probe an offer, write the evidence down, and say what it comes to.

    It costs at most what is left of the offer's budget: beyond that nothing is asked any more.
    Raises ``ProbeRefused`` where the offer is unknown, its budget is spent, another process probes
    it, the key buys nothing, or nobody answered.
    """
    with read(engine) as connection:
        offer = load_probed_offer(connection, wish.offer_id)
        prices = [_load_price(connection, one) for one in (wish.offer_id, wish.reference)]
    wish = replace(wish, price=prices[0], reference_price=prices[1])
    now_s = ask_now_s(engine)
    turn = write_until_through(
        engine, lambda connection: _begin(connection, wish.offer_id, now_s=now_s)
    )
    purse = Purse(turn.booked_usdc)
    try:
        probe = asyncio.run(ask_all(wish, offer.model, secret, purse))
        if not probe.is_answered:
            why = purse.refusal or "no question was answered by both sides"
            raise ProbeRefused(f"{why}: nothing is written down")
    except BaseException:
        ended_s = ask_now_s(engine)
        persist(
            engine,
            lambda connection: end_turn(
                connection, turn, now_s=ended_s, lost_usdc=purse.spent_usdc
            ),
        )
        raise
    made_at_s = ask_now_s(engine)
    verdict = persist(
        engine,
        lambda connection: save_probe(
            connection, turn, offer, wish.method, probe, cost_usdc=purse.spent_usdc, now_s=made_at_s
        ),
    )
    if verdict is None:
        raise ProbeRefused("its turn had ended before: whether it is written down its list says")
    return _describe(offer, wish, purse.spent_usdc, verdict)


def _load_price(connection: Connection, offer_id: str | None) -> Price | None:
    """Return an offer's price where it is fixed; None where lists or the router decide it."""
    row = (
        connection.execute(select(_offer).where(_offer.c.offer_id == offer_id))
        .mappings()
        .one_or_none()
    )
    if row is None or row["cost_multiplier_ppm"] is not None:
        return None
    return Price(
        int(row["price_input_usdc_per_mtok"]),
        int(row["price_output_usdc_per_mtok"]),
        per_request_usdc=int(row["price_per_request_usdc"] or 0),
    )


def _begin(connection: Connection, offer_id: str, *, now_s: int) -> ProbeTurn:
    """Take an offer's turn, and book all that is left of its budget by hand."""
    turn = take_turn(connection, offer_id=offer_id, now_s=now_s, until_s=now_s + TURN_S)
    if turn is None:
        raise ProbeRefused("another process probes it now")
    spent_usdc, sold_usdc = sum_probe_costs(connection, offer_id=offer_id, since_s=now_s - MONTH_S)
    budget_usdc = get_budget_usdc(sold_usdc=sold_usdc, floor_usdc=FLOOR_USDC)
    if spent_usdc >= budget_usdc:
        # Raised: the turn is not taken either.
        spent, budget = (f"{format_usdc(one)} USDC" for one in (spent_usdc, budget_usdc))
        raise ProbeRefused(f"its probes of 30 days have cost {spent}, of at most {budget}")
    return book_cost(
        connection,
        turn,
        cost_usdc=budget_usdc - spent_usdc,
        now_s=now_s,
        since_s=now_s - MONTH_S,
    )


def save_probe(
    connection: Connection,
    turn: ProbeTurn,
    offer: ProbedOffer,
    method: Method,
    probe: OfferProbe,
    *,
    cost_usdc: int,
    now_s: int,
) -> OfferVerdict | None:
    """End a turn and write down what it found; None where the turn has ended already.

    So it can be repeated: what was written once is not written again.
    """
    if not end_turn(connection, turn, now_s=now_s):
        return None
    return record(
        connection,
        offer,
        method,
        observed=write_rounds(probe.rounds),
        transcript=probe.transcript,
        cost_usdc=cost_usdc,
        now_s=now_s,
    )


def persist(engine: Engine, call: Callable[[Connection], T]) -> T:
    """Write what can be repeated, several times where the ledger is unavailable."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return write_until_through(engine, call)
        except LedgerUnavailable as error:
            log.warning("ledger_write_retried", error=str(error), delay_s=delay_s)
        time.sleep(delay_s)
    return write_until_through(engine, call)


def _describe(offer: ProbedOffer, wish: ProbeWish, cost_usdc: int, verdict: OfferVerdict) -> str:
    cost = f"{format_usdc(cost_usdc)} USDC"
    return f"offer {offer.offer_id} of {offer.model} is {verdict}, after {wish.method}; cost {cost}"


def load_probed_offer(connection: Connection, offer_id: str) -> ProbedOffer:
    """Return an offer as it stands. Raises ``ProbeRefused`` where it cannot be probed."""
    row = (
        connection.execute(select(_offer).where(_offer.c.offer_id == offer_id))
        .mappings()
        .one_or_none()
    )
    if row is None or row["status"] != "active" or row["unit"] is not None:
        raise ProbeRefused(f"{offer_id!r} is no active offer of text")
    if row["suspended_for"] is not None:
        raise ProbeRefused(f"{offer_id!r} is suspended: let it back first (offer-resume)")
    return ProbedOffer(
        offer_id, int(row["version"]), row["model"], row["seller"], row["tested_from_s"]
    )


async def ask_all(wish: ProbeWish, model: str, secret: bytes, purse: Purse) -> OfferProbe:
    """Buy a probe's answers from a purse. Nothing is raised for answers that fail."""
    own: dict[str, Any] = {"only": [f"offer:{wish.offer_id}"], "trusted_only": False}
    if wish.reference is None:
        other: dict[str, Any] = {"minimum_grade": "A", "ignore": [f"offer:{wish.offer_id}"]}
    else:
        other = {"only": [f"offer:{wish.reference}"], "trusted_only": False}
    headers = {"authorization": f"Bearer {wish.key}"}
    async with httpx.AsyncClient(base_url=wish.url, headers=headers, timeout=TIMEOUT_S) as client:
        return await run_probe(
            build_ask(client, own, wish.price, purse),
            build_ask(client, other, wish.reference_price, purse),
            secret=secret,
            model=model,
            method=wish.method,
            random=Random(secrets.randbits(128)),
            templates=wish.templates,
        )


def build_ask(
    client: httpx.AsyncClient, routing: Mapping[str, Any], price: Price | None, purse: Purse
) -> Ask:
    """Return what asks one side, at most at ``price`` (None: any), as far as the purse goes."""
    most_usdc = 0 if price is None else bound_answer(price)
    routing = {**routing, **_cap_prices(price)}

    async def ask(body: dict[str, Any]) -> Told | None:
        if not purse.take(most_usdc):
            return None
        cost_usdc = most_usdc
        try:
            answer = await client.post("/v1/chat/completions", json={**body, "routing": routing})
            cost_usdc = _read_cost(answer, most_usdc)
        except httpx.RequestError:
            # It may have been served, and paid for, all the same.
            return None
        finally:
            purse.settle(most_usdc, cost_usdc)
        if answer.status_code in KEY_REFUSED:
            purse.refusal = f"the market answers {answer.status_code} to the key"
        if answer.status_code != HTTPStatus.OK:
            return None
        text = _read_text(answer)
        if text is None:
            return None
        return Told(text, answer.headers.get("x-request-id", ""), cost_usdc)

    return ask


def _cap_prices(price: Price | None) -> dict[str, str]:
    """Return the fields of ``routing`` that let nothing dearer serve than was planned."""
    if price is None:
        return {}
    return {
        "max_price_input_per_1m": format_usdc(price.input_usdc_per_mtok),
        "max_price_output_per_1m": format_usdc(price.output_usdc_per_mtok),
        "max_price_per_request": format_usdc(price.per_request_usdc),
    }


def _read_cost(answer: httpx.Response, most_usdc: int) -> int:
    """Return what an answer cost. Where it does not say: nothing if it failed, else the most."""
    said = answer.headers.get("x-market-cost-usdc", "")
    if said.isascii() and said.isdecimal():
        return int(said)
    return most_usdc if answer.status_code == HTTPStatus.OK else 0


def _read_text(answer: httpx.Response) -> str | None:
    """Return an answer's text, empty where it says nothing; None where nobody can read it.

    The market passes on what a seller answers, so it may have any shape.
    """
    try:
        parsed = answer.json()
        content = parsed["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if content is None:
        return ""
    return content if isinstance(content, str) else None
