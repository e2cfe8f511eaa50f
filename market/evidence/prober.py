"""Probing an offer over HTTP: an operator's command, to be run by a timer.

It buys with a buyer's key like any other, from the market's own public address.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import httpx
from sqlalchemy import Connection, Engine, select

from contracts.errors import Rejected
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.selling.evidence import sum_probe_costs
from ledger.tables import MarketOffer, table_of
from market.evidence.probes import TEMPLATES, get_budget_usdc
from market.evidence.recording import ProbedOffer, record, write_rounds
from market.evidence.runner import Ask, OfferProbe, Told, run_probe
from market.evidence.verdicts import Method, OfferVerdict

MONTH_S: Final = 30 * 86_400
FLOOR_USDC: Final = 250_000
"""What an offer that has sold little is probed for in a month, at least: 0.25 USDC."""
TIMEOUT_S: Final = 60.0

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

    def __repr__(self) -> str:
        return f"ProbeWish({self.offer_id})"


def probe_offer(engine: Engine, wish: ProbeWish, *, secret: bytes) -> str:
    """Probe an offer, write the evidence down, and say what it comes to.

    Raises ``ProbeRefused`` where the offer is unknown, its budget is spent, or nobody answered.
    """
    now_s = ask_now_s(engine)
    with read(engine) as connection:
        offer = load_probed_offer(connection, wish.offer_id)
        spent_usdc, sold_usdc = sum_probe_costs(
            connection, offer_id=offer.offer_id, since_s=now_s - MONTH_S
        )
    budget_usdc = get_budget_usdc(sold_usdc=sold_usdc, floor_usdc=FLOOR_USDC)
    if spent_usdc >= budget_usdc:
        spent, budget = f"{spent_usdc / 1e6:.6f} USDC", f"{budget_usdc / 1e6:.6f} USDC"
        raise ProbeRefused(f"its probes of 30 days have cost {spent}, of at most {budget}")
    probe = asyncio.run(ask_all(wish, offer.model, secret))
    if not probe.is_answered:
        raise ProbeRefused("no question was answered by both sides: nothing is written down")
    with write(engine) as connection:
        verdict = record(
            connection,
            offer,
            wish.method,
            observed=write_rounds(probe.rounds),
            transcript=probe.transcript,
            cost_usdc=probe.cost_usdc,
            now_s=ask_now_s(engine),
        )
    return _describe(offer, wish, probe, verdict)


def _describe(offer: ProbedOffer, wish: ProbeWish, probe: OfferProbe, verdict: OfferVerdict) -> str:
    cost = f"{probe.cost_usdc / 1e6:.6f} USDC"
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


async def ask_all(wish: ProbeWish, model: str, secret: bytes) -> OfferProbe:
    """Buy a probe's answers. Nothing is raised for answers that fail."""
    own: dict[str, Any] = {"only": [f"offer:{wish.offer_id}"], "trusted_only": False}
    if wish.reference is None:
        other: dict[str, Any] = {"minimum_grade": "A", "ignore": [f"offer:{wish.offer_id}"]}
    else:
        other = {"only": [f"offer:{wish.reference}"], "trusted_only": False}
    headers = {"authorization": f"Bearer {wish.key}"}
    async with httpx.AsyncClient(base_url=wish.url, headers=headers, timeout=TIMEOUT_S) as client:
        return await run_probe(
            _build_ask(client, own),
            _build_ask(client, other),
            secret=secret,
            model=model,
            method=wish.method,
            random=Random(secrets.randbits(128)),
            templates=wish.templates,
        )


def _build_ask(client: httpx.AsyncClient, routing: dict[str, Any]) -> Ask:
    async def ask(body: dict[str, Any]) -> Told | None:
        try:
            answer = await client.post("/v1/chat/completions", json={**body, "routing": routing})
        except httpx.TransportError:
            return None
        if answer.status_code != 200:
            return None
        text = _read_text(answer.json())
        cost = answer.headers.get("x-market-cost-usdc", "0")
        return Told(text, answer.headers.get("x-request-id", ""), int(cost))

    return ask


def _read_text(answer: Any) -> str:
    """Return the text of an answer; empty where it has none."""
    choices: Sequence[Any] = answer.get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return content if isinstance(content, str) else ""
