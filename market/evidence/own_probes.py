"""The market's own probes: it buys like any buyer, by keys of ordinary accounts, within a budget.

Any process may make a probe; a turn in the ledger keeps the others away, also where a process died
meanwhile. What was bought of a probe that ends halfway is paid and lost: at most one a turn.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Connection

from ledger.selling.disputes import end_turn, load_waiting, take_turn
from ledger.selling.evidence import load_last_probes, sum_probe_costs
from market.evidence.prober import MONTH_S, ProbeRefused, ProbeWish, ask_all, load_probed_offer
from market.evidence.recording import record, write_rounds
from market.evidence.runner import OfferProbe
from market.evidence.schedule import (
    ProbeCandidate,
    ProbePlan,
    ProbeRules,
    bound_cost,
    get_allowed_usdc,
    plan,
)
from market.evidence.verdicts import Method
from market.records.database import Database
from market.routing.book import Book
from serving.models.grades import Grade

log = structlog.get_logger("market")

TURN_S: Final = 3_600
"""How long a process may take for one probe."""
LOOKED_MAX: Final = 5
"""Offers whose sales are summed in one look."""
BROKE_S: Final = 6 * 3_600
"""How long an offer without a budget is not looked at again."""


@dataclass
class OwnProbes:
    """Probes offers when they are due."""

    database: Database
    book: Book
    rules: ProbeRules
    url: str
    secret: bytes = field(repr=False)
    broke_until_s: dict[str, int] = field(default_factory=dict)
    draw_key: Callable[[list[str]], str] = secrets.choice

    async def look(self) -> str | None:
        """Make the most urgent probe that there is money for; return the offer's id, or None."""
        if not self.database.clock.may_sweep:
            return None
        now_s = self.database.now_s()
        last, waiting = await self.database.read(
            lambda connection: (
                load_last_probes(connection, since_s=now_s - 12 * MONTH_S),
                load_waiting(connection, now_s=now_s),
            )
        )
        candidates = list(self._list_candidates(last, waiting))
        due = plan(candidates, self.rules, secret=self.secret, now_s=now_s)
        open_to = [one for one in due if self.broke_until_s.get(self._name(one), 0) <= now_s]
        for one in open_to[:LOOKED_MAX]:
            if await self.database.write(lambda connection, one=one: self._take(connection, one)):  # type: ignore[misc]
                try:
                    await self._probe(one)
                finally:
                    await self.database.write(
                        lambda connection, one=one: end_turn(  # type: ignore[misc]
                            connection, offer_id=one.offer_id, now_s=self.database.now_s()
                        )
                    )
                return one.offer_id
            self.broke_until_s[self._name(one)] = now_s + BROKE_S
        return None

    def _name(self, one: ProbePlan) -> str:
        """Return what of an offer has no budget: a dispute's is another."""
        return f"{one.offer_id} {one.is_disputed}"

    def _list_candidates(
        self, last: dict[str, dict[str, int]], waiting: dict[str, int]
    ) -> Iterator[ProbeCandidate]:
        for shelves in self.book.shelves.values():
            offers = [
                offer
                for shelf in shelves.values()
                for offer in shelf
                if offer.is_active and offer.unit is None
            ]
            references = [
                bound_cost(offer.price, templates=self.rules.templates)
                for offer in offers
                if offer.grade is Grade.MAKER
            ]
            for offer in offers if references else []:
                if offer.grade is Grade.MAKER:
                    continue
                yield ProbeCandidate(
                    offer_id=offer.offer_id,
                    grade=offer.grade,
                    # Which offer of grade A serves is the router's choice.
                    cost_usdc=bound_cost(offer.price, templates=self.rules.templates)
                    + max(references),
                    sold_ever_usdc=self.book.get_state(offer).total_used_usdc,
                    probed_at_s={
                        Method(name): at_s for name, at_s in last.get(offer.offer_id, {}).items()
                    },
                    disputed_at_s=waiting.get(offer.offer_id),
                )

    def _take(self, connection: Connection, one: ProbePlan) -> bool:
        """Take an offer's turn, if its budget covers the probe; tell whether it does."""
        now_s = self.database.now_s()
        if not take_turn(connection, offer_id=one.offer_id, now_s=now_s, until_s=now_s + TURN_S):
            return False
        # Under the turn: what another process has just spent is in the sum.
        spent_usdc, sold_usdc = sum_probe_costs(
            connection, offer_id=one.offer_id, since_s=now_s - MONTH_S
        )
        allowed_usdc = get_allowed_usdc(
            self.rules, sold_usdc=sold_usdc, is_disputed=one.is_disputed
        )
        if spent_usdc + one.cost_usdc <= allowed_usdc:
            return True
        end_turn(connection, offer_id=one.offer_id, now_s=now_s)
        return False

    async def _probe(self, one: ProbePlan) -> None:
        try:
            keys = self.rules.keys_file.read_text(encoding="utf-8").split()
            offer = await self.database.read(
                lambda connection: load_probed_offer(connection, one.offer_id)
            )
        except (OSError, UnicodeDecodeError, ProbeRefused) as error:
            log.error("probe_not_made", offer_id=one.offer_id, error=str(error))
            return
        if not keys:
            log.error("probe_not_made", offer_id=one.offer_id, error="there is no key")
            return
        wish = ProbeWish(
            self.url, self.draw_key(keys), one.offer_id, None, one.method, self.rules.templates
        )
        probe = await ask_all(wish, offer.model, self.secret)
        if not probe.is_answered:
            log.warning("probe_unanswered", offer_id=one.offer_id, cost_usdc=probe.cost_usdc)
            self.broke_until_s[self._name(one)] = self.database.now_s() + BROKE_S
            return

        def write(connection: Connection, probe: OfferProbe = probe) -> str:
            return record(
                connection,
                offer,
                one.method,
                observed=write_rounds(probe.rounds),
                transcript=probe.transcript,
                cost_usdc=probe.cost_usdc,
                now_s=self.database.now_s(),
            )

        verdict = await self.database.write(write)
        log.info(
            "probed",
            offer_id=one.offer_id,
            method=one.method,
            verdict=verdict,
            cost_usdc=probe.cost_usdc,
        )
