"""The market's own probes: it buys like any buyer, by keys of ordinary accounts, within a budget.

Any process may make a probe; a turn in the ledger keeps the others away, also where a process died
meanwhile. What a probe may cost is booked before it begins, and lowered to what it did cost at its
end: what was bought of one that ends halfway, or that nobody answers, counts all the same.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from contracts.units import utc_day
from ledger.selling.disputes import WaitingOffer, load_waiting
from ledger.selling.evidence import load_last_probes, load_suspected, sum_probe_costs
from ledger.selling.probe_turns import (
    ProbeTurn,
    book_cost,
    end_turn,
    give_back,
    sum_disputed,
    sum_paid_by_others,
    take_turn,
)
from market.evidence.prober import (
    MONTH_S,
    TURN_S,
    ProbeWish,
    ask_all,
    load_probed_offer,
    save_probe,
)
from market.evidence.recording import MILLI, ProbedOffer
from market.evidence.runner import OfferProbe, Purse
from market.evidence.schedule import (
    ProbeCandidate,
    ProbePlan,
    ProbeRules,
    bound_cost,
    get_allowed_usdc,
    pick_reference,
    plan,
)
from market.evidence.verdicts import LIVE_METHODS, SUSPECTS, Method
from market.records.database import Database
from market.routing.book import Book
from serving.models.grades import Grade

log = structlog.get_logger("market")

LOOKED_MAX: Final = 5
"""Offers whose sales are summed in one look."""
BROKE_S: Final = 6 * 3_600
"""How long an offer without a budget, or whose probe failed, is not looked at again."""


class KeyRefused(Exception):
    """The key buys nothing: it is revoked, or its account is empty."""


class Lost(Enum):
    """Why an offer is not probed now."""

    TURN = auto()
    """Another process probes it."""
    BUDGET = auto()
    """What it may be probed for is spent."""


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
        """Make the most urgent probe that there is money for; return the offer's id, or None.

        An offer whose probe fails, in whatever way, rests; the next one has its turn.
        """
        if not self.database.clock.may_sweep:
            return None
        now_s = self.database.now_s()
        last, waiting, watched = await self.database.read(
            lambda connection: (
                load_last_probes(connection, since_s=now_s - 12 * MONTH_S),
                load_waiting(connection, now_s=now_s),
                load_suspected(
                    connection,
                    methods=sorted(LIVE_METHODS),
                    peak_milli=int(SUSPECTS * MILLI),
                    since_s=now_s - MONTH_S,
                ),
            )
        )
        candidates = list(self._list_candidates(last, waiting, watched))
        due = plan(candidates, self.rules, secret=self.secret, now_s=now_s)
        open_to = [one for one in due if self.broke_until_s.get(self._name(one), 0) <= now_s]
        key = self._draw_key() if open_to else None
        if key is None:
            return None
        for one in open_to[:LOOKED_MAX]:
            turn = await self.database.write(partial(self._take, one=one))
            if turn is Lost.TURN:
                continue
            try:
                if turn is not Lost.BUDGET and await self._probe(one, turn, key):
                    return one.offer_id
            except KeyRefused as error:
                # The key's fault, and not an offer's: none rests.
                log.error("probe_key_refused", offer_id=one.offer_id, error=str(error))
                return None
            except Exception:
                log.exception("probe_failed", offer_id=one.offer_id)
            self.broke_until_s[self._name(one)] = self.database.now_s() + BROKE_S
        return None

    def _draw_key(self) -> str | None:
        try:
            keys = self.rules.keys_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            log.error("probe_keys_unreadable", error=str(error))
            return None
        if not keys:
            log.error("probe_keys_unreadable", error="there is no key")
            return None
        return self.draw_key(keys)

    def _name(self, one: ProbePlan) -> str:
        """Return what of an offer has no budget: a dispute's is another."""
        return f"{one.offer_id} {one.is_doubted}"

    def _list_candidates(
        self,
        last: dict[str, dict[str, int]],
        waiting: dict[str, WaitingOffer],
        watched: dict[str, int],
    ) -> Iterator[ProbeCandidate]:
        for shelves in self.book.shelves.values():
            offers = [
                offer
                for shelf in shelves.values()
                for offer in shelf
                if offer.is_active and offer.unit is None
            ]
            makers = [offer for offer in offers if offer.grade is Grade.MAKER]
            reference = pick_reference(
                [offer.price for offer in makers if offer.is_trusted],
                [offer.price for offer in makers if not offer.is_trusted],
            )
            if reference is None:
                continue
            for offer in offers:
                if offer.grade is Grade.MAKER:
                    continue
                waits = waiting.get(offer.offer_id)
                yield ProbeCandidate(
                    offer_id=offer.offer_id,
                    grade=offer.grade,
                    cost_usdc=sum(
                        bound_cost(price, templates=self.rules.templates)
                        for price in (offer.price, reference)
                    ),
                    sold_ever_usdc=self.book.get_state(offer).total_used_usdc,
                    probed_at_s={
                        Method(name): at_s for name, at_s in last.get(offer.offer_id, {}).items()
                    },
                    disputed_at_s=None if waits is None else waits.since_s,
                    is_doubted=waits is not None and waits.is_doubted,
                    watched_at_s=watched.get(offer.offer_id),
                    price=offer.price,
                    reference_price=reference,
                )

    def _take(self, connection: Connection, one: ProbePlan) -> ProbeTurn | Lost:
        """Take an offer's turn and book the probe's cost, if the offer's budget covers it."""
        now_s = self.database.now_s()
        since_s = now_s - MONTH_S
        turn = take_turn(connection, offer_id=one.offer_id, now_s=now_s, until_s=now_s + TURN_S)
        if turn is None:
            return Lost.TURN
        # Under the turn: what another process has just spent is in the sum.
        spent_usdc, sold_usdc = sum_probe_costs(connection, offer_id=one.offer_id, since_s=since_s)
        needed_usdc = spent_usdc + one.cost_usdc
        is_disputed = needed_usdc > get_allowed_usdc(self.rules, sold_usdc=sold_usdc)
        if is_disputed and not self._is_doubt_worth(connection, one, needed_usdc, now_s=now_s):
            give_back(connection, turn, now_s=now_s)
            return Lost.BUDGET
        return book_cost(
            connection,
            turn,
            cost_usdc=one.cost_usdc,
            now_s=now_s,
            since_s=since_s,
            is_disputed=is_disputed,
        )

    def _is_doubt_worth(
        self, connection: Connection, one: ProbePlan, needed_usdc: int, *, now_s: int
    ) -> bool:
        """Tell whether a dispute pays for a probe that the offer's sales do not."""
        if not one.is_doubted:
            return False
        paid_usdc = sum_paid_by_others(connection, offer_id=one.offer_id, since_s=now_s - MONTH_S)
        allowed_usdc = get_allowed_usdc(self.rules, sold_usdc=0, disputed_usdc=paid_usdc)
        today_usdc = sum_disputed(connection, day=utc_day(now_s))
        return (
            needed_usdc <= allowed_usdc
            and today_usdc + one.cost_usdc <= self.rules.disputes_day_usdc
        )

    async def _probe(self, one: ProbePlan, turn: ProbeTurn, key: str) -> bool:
        """Buy a probe and write it down; tell whether there was anything to write.

        However it ends, the turn is given back, and what was paid stays counted. Raises
        ``KeyRefused``, ``ProbeRefused``.
        """
        purse = Purse(one.cost_usdc)
        try:
            offer = await self.database.read(
                lambda connection: load_probed_offer(connection, one.offer_id)
            )
            wish = ProbeWish(
                self.url,
                key,
                one.offer_id,
                None,
                one.method,
                self.rules.templates,
                one.price,
                one.reference_price,
            )
            probe = await ask_all(wish, offer.model, self.secret, purse)
            if probe.is_answered:
                await self._save(one, turn, offer, probe, cost_usdc=purse.spent_usdc)
        finally:
            # Where the probe was written down this changes nothing: the turn is over.
            await self.database.persist(
                lambda connection: end_turn(
                    connection, turn, now_s=self.database.now_s(), lost_usdc=purse.spent_usdc
                )
            )
        if purse.refusal is not None:
            raise KeyRefused(purse.refusal)
        if not probe.is_answered:
            log.warning("probe_unanswered", offer_id=one.offer_id, cost_usdc=purse.spent_usdc)
        return probe.is_answered

    async def _save(
        self,
        one: ProbePlan,
        turn: ProbeTurn,
        offer: ProbedOffer,
        probe: OfferProbe,
        *,
        cost_usdc: int,
    ) -> None:
        verdict = await self.database.persist(
            lambda connection: save_probe(
                connection,
                turn,
                offer,
                one.method,
                probe,
                cost_usdc=cost_usdc,
                now_s=self.database.now_s(),
            )
        )
        log.info(
            "probed",
            offer_id=one.offer_id,
            method=one.method,
            verdict=verdict,
            cost_usdc=cost_usdc,
        )
