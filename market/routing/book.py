"""The offers as they stand now, in memory: what routing reads, and what requests teach it.

Prices, terms and limits come from the ledger and are looked at again and again; an offer that
changed since is refused by the ledger when it is reserved. What is used of caps comes back with
every reservation. Concurrency and requests a minute are of this process, and health is
(``market.routing.seller_health``).
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from contracts.units import utc_day
from ledger.selling.offers import offer_keys
from ledger.selling.sale_records import Used
from market.endpoints.health import HealthReport, Standing
from market.endpoints.places import get_origin
from market.endpoints.sealing import Sealer
from market.identity.name_table import NameTable
from market.identity.provider_names import ProviderNames
from market.identity.same_model import ModelNames
from market.pricing.media_units import Base
from market.records.database import Database
from market.records.store import StoredOffer, load_offers
from market.routing.live_offers import Live
from market.routing.measured import OfferReport, report_together
from market.routing.offer_pricing import OfferPricing, PricedNow, read_basis
from market.routing.opened_keys import OpenedKeys
from market.routing.ranking import Offer, OfferState
from market.routing.refusing import Refusing, refuse
from market.routing.seller_health import SellerHealth
from market.routing.shelf import Shelf
from serving.dialects.policy import Policy, Sort, get_place
from serving.dialects.serving_facts import STRANGER, Facts, bound_facts, parse_declared
from serving.models.failures import Cause
from serving.models.references import References
from serving.models.terms import Terms
from serving.models.upstream import Access

log = structlog.get_logger("market")

OVERLAP_S: Final = 5
"""How far back changes are looked for again: clocks and commits are not in one order."""

SUPPLIER_FEE_BPS: Final = 1_500
LIMITED_S: Final = 1.0
"""How long an offer is left alone whose minute was full."""
MINUTE_S: Final = 60.0


NO_NAMES: Final = NameTable(ProviderNames(), ModelNames())
"""A table in which no name is known."""


class Book:
    """All offers, by model. ``refresh`` keeps it current."""

    def __init__(
        self,
        database: Database,
        references: References,
        sealer: Sealer,
        *,
        fee_bps: int,
        concurrency_max: int,
        supplier_fee_bps: int = SUPPLIER_FEE_BPS,
        names: NameTable = NO_NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.references = references
        self.names = names
        self.health = SellerHealth(clock)
        self._database = database
        self._keys = OpenedKeys(database, sealer, offer_keys)
        self._fee_bps = fee_bps
        self._supplier_fee_bps = supplier_fee_bps
        self._concurrency_max = concurrency_max
        self._clock = clock
        self._now_s = database.now_s
        self._pricing = OfferPricing(references, database.now_s)
        self._shelves: dict[str, dict[Base, Shelf]] = {}
        self._live: dict[str, Live] = {}
        self._last: dict[tuple[str, str], set[str]] = {}
        """Offers that may have to wait for the others, by model and endpoint."""
        self._doubted: dict[str, set[str]] = {}
        """Offers that the lab doubts, by model: they wait for the others too."""
        self._looked_at_s: int | None = None
        self._lock = asyncio.Lock()

    @property
    def shelves(self) -> Mapping[str, Mapping[Base, Shelf]]:
        """The listed models, and their offers by the base that they count, at prices of now."""
        self._keep_current()
        return self._shelves

    @property
    def fee_bps(self) -> int:
        """The market's part of a price where nothing else was agreed with its seller."""
        return self._fee_bps

    def count_offers(self, *, is_trusted: bool) -> int:
        """Return how many offers approved sellers have listed, or how many the others have."""
        trusted = sum(
            len(shelf.trusted) for shelves in self._shelves.values() for shelf in shelves.values()
        )
        return trusted if is_trusted else len(self._live) - trusted

    def count_new_models(self, *, is_trusted: bool) -> int:
        """Return how many models that no reference names approved sellers have listed, or how many
        only others have."""
        return sum(
            any(shelf.trusted for shelf in shelves.values()) is is_trusted
            and self.find_reference(model) is None
            for model, shelves in self._shelves.items()
        )

    def count_strangers(self, model: str, seller: str) -> tuple[int, int]:
        """Return how many offers of a model are listed by sellers who are not approved, and how
        many of those by one of them."""
        shelves = self._shelves.get(model, {}).values()
        strangers = [offer for shelf in shelves for offer in shelf.others]
        return len(strangers), sum(offer.seller == seller for offer in strangers)

    def is_new(self, model: str, *, is_trusted: bool) -> bool:
        """Tell whether a model that no reference names would be new on the list.

        To an approved seller it is so where only others list it.
        """
        if self.find_reference(model) is not None:
            return False
        shelves = self._shelves.get(model, {})
        return not any(shelf.trusted or not is_trusted for shelf in shelves.values())

    def find_reference(self, model: str) -> Terms | None:
        """Return what a model costs at its own provider now, or None where that is unknown."""
        return self._pricing.find_reference(model)

    def get_shelf(self, model: str, base: Base = Base.TOKEN) -> Shelf | None:
        """Return a model's offers that count ``base``, or None where it has no such offer."""
        self._keep_current()
        shelves = self._shelves.get(model)
        return None if shelves is None else shelves.get(base)

    def list_live(self) -> Collection[Live]:
        """Return what is known of every listed offer."""
        return self._live.values()

    def standings(self) -> Iterator[Standing]:
        """Yield how each active offer stands now."""
        for live in self._live.values():
            if live.offer.is_active:
                yield self.health.get_standing(live.place)

    def get_live(self, offer_id: str) -> Live:
        """Return what is known of an offer that is on a shelf."""
        return self._live[offer_id]

    def find_live(self, offer_id: str) -> Live | None:
        """Return what is known of an offer, None where it was taken down or has no price."""
        return self._live.get(offer_id)

    async def refresh(self) -> None:
        """Read what changed since the last look; all of it the first time."""
        async with self._lock:
            since_s = self._looked_at_s
            now_s = self._now_s()
            changed = await self._database.read(
                lambda connection: load_offers(connection, changed_since_s=since_s)
            )
            self._put_all(changed)
            self._looked_at_s = now_s - OVERLAP_S

    async def refresh_offers(self, offer_ids: Iterable[str]) -> None:
        """Read some offers again, whether they changed or not."""
        wanted = list(offer_ids)
        found = await self._database.read(
            lambda connection: load_offers(connection, changed_since_s=0, offer_ids=wanted)
        )
        self._put_all(found)

    def _put_all(self, stored: Iterable[StoredOffer]) -> None:
        for one in stored:
            self.put(one.row, fee_bps=one.fee_bps, is_trusted=one.is_trusted)

    def put(self, row: Mapping[Any, Any], *, fee_bps: int | None, is_trusted: bool) -> None:
        """Take an offer's row in, or off the shelves where it is deleted or has no price."""
        offer_id = str(row["offer_id"])
        known = self._live.get(offer_id)
        basis = read_basis(row)
        priced = self._pricing.price(basis)
        supply_offer_id = row["supply_offer_id"]
        if row["status"] == "deleted" or not priced.tiers:
            self._drop(offer_id)
            return
        provider = self.names.providers.find_provider(row["seller_base_url"])
        offer = Offer(
            offer_id=offer_id,
            model=row["model"],
            seller=row["seller"],
            **_price_fields(priced),
            version=int(row["version"]),
            is_active=row["status"] == "active"
            and row["suspended_for"] is None
            and (is_trusted or supply_offer_id is None),
            is_trusted=is_trusted,
            provider=provider,
            host=self.names.providers.find_host(row["seller_base_url"]),
            grade=self.names.find_grade(row, provider=provider),
            origin=get_origin(row["seller_base_url"]),
            label=row["label"],
            cap_daily_usdc=row["cap_daily_usdc"],
            quota_total_usdc=row["quota_total_usdc"],
            rate_limit_rpm=row["rate_limit_rpm"],
            concurrency_max=self._concurrency_max,
            unit=row["unit"],
            facts=self._find_facts(row["declares"], provider, is_trusted=is_trusted),
        )
        live = Live(
            offer=offer,
            upstream_model=row["upstream_model"],
            base_url=row["seller_base_url"],
            payout_address=row["payout_address"],
            fee_bps=self._find_fee_bps(supply_offer_id) if fee_bps is None else fee_bps,
            supply_offer_id=supply_offer_id,
            basis=basis,
            day=int(row["day"]),
            day_used_usdc=int(row["day_used_usdc"]),
            total_used_usdc=int(row["total_used_usdc"]),
        )
        if known is not None:
            live.in_flight, live.started = known.in_flight, known.started
            live.refusing, live.limited_until = known.refusing, known.limited_until
            if known.place == live.place:
                live.measured = known.measured
            if known.place != live.place:
                self.health.leave(known.place, offer_id)
            if (known.offer.model, known.offer.base) != (offer.model, offer.base):
                self._drop(offer_id)
        self._live[offer_id] = live
        if row["doubted_at_s"] is not None:
            self._doubted.setdefault(offer.model, set()).add(offer_id)
        else:
            self._doubted.get(offer.model, set()).discard(offer_id)
        self._shelves.setdefault(offer.model, {}).setdefault(offer.base, Shelf()).put(offer)

    def _find_facts(self, declares: str | None, provider: str, *, is_trusted: bool) -> Facts:
        """Return what counts of what a seller declares of an endpoint."""
        if declares is None:
            return STRANGER
        bounds = self.names.find_bounds(provider)
        return bound_facts(parse_declared(orjson.loads(declares)), bounds, is_trusted=is_trusted)

    def _find_fee_bps(self, supply_offer_id: str | None) -> int:
        return self._fee_bps if supply_offer_id is None else self._supplier_fee_bps

    def _keep_current(self) -> None:
        """Price those offers again whose price has changed by itself: they fall, or the reference
        is another one at this hour or date."""
        have_fallen, have_references = self._pricing.take_changes()
        if have_references:
            # An offer that had no price may have one now: the next refresh reads all of them.
            self._looked_at_s = None
        if not have_fallen and not have_references:
            return
        for offer_id, live in list(self._live.items()):
            if not live.basis.changes:
                continue
            priced = self._pricing.price(live.basis)
            if not priced.tiers:
                self._drop(offer_id)
            elif _is_other(live.offer, priced):
                live.offer = replace(live.offer, **_price_fields(priced))
                self._shelves[live.offer.model][live.offer.base].put(live.offer)

    def _drop(self, offer_id: str) -> None:
        known = self._live.pop(offer_id, None)
        if known is None:
            return
        self.health.leave(known.place, offer_id)
        self._doubted.get(known.offer.model, set()).discard(offer_id)
        shelves = self._shelves[known.offer.model]
        shelf = shelves[known.offer.base]
        shelf.remove(offer_id)
        if not shelf:
            del shelves[known.offer.base]
        if not shelves:
            del self._shelves[known.offer.model]

    # ----------------------------------------------------------------------- what routing asks for

    def get_state(self, offer: Offer) -> OfferState:
        """Return how an offer stands at this moment."""
        live = self._live[offer.offer_id]
        now = self._clock()
        recent = 0
        if offer.rate_limit_rpm is not None:
            while live.started and live.started[0] <= now - MINUTE_S:
                live.started.popleft()
            recent = len(live.started)
            if now < live.limited_until:
                recent = max(recent, offer.rate_limit_rpm)
        today = utc_day(self._now_s())
        return OfferState(
            standing=self.health.get_standing(live.place),
            in_flight=live.in_flight,
            requests_last_minute=recent,
            day_used_usdc=live.day_used_usdc if live.day == today else 0,
            total_used_usdc=live.total_used_usdc,
        )

    def find_health(self, offer_id: str) -> HealthReport | None:
        """Return how an offer is doing, as its seller sees it; None where it is not listed."""
        live = self._live.get(offer_id)
        return None if live is None else self.health.report(live.place)

    # -------------------------------------------------------------------- what requests teach

    def begin(self, offer_id: str) -> None:
        """Note that a request is on its way to an offer."""
        live = self._live.get(offer_id)
        if live is None:
            return
        now = self._clock()
        live.in_flight += 1
        self.health.begin(live.place, offer_id)
        if live.offer.rate_limit_rpm is not None:
            live.started.append(now)

    def withdraw(self, offer_id: str) -> None:
        """Take ``begin`` back: nothing was sent."""
        live = self._live.get(offer_id)
        if live is None:
            return
        live.in_flight -= 1
        self.health.give_up(live.place)
        if live.started:
            live.started.pop()

    def end(self, offer_id: str, *, well: bool) -> None:
        """Note that a request has ended: well, or in a way that says nothing of the seller."""
        live = self._live.get(offer_id)
        if live is None:
            return
        live.in_flight -= 1
        if well:
            self.health.succeed(live.place)
            live.measured.note_end(well=True, now_s=self._clock())
        else:
            self.health.give_up(live.place)

    def fail(self, offer_id: str, cause: Cause, *, retry_after_s: float | None = None) -> None:
        """Note that an offer failed a request."""
        live = self._live.get(offer_id)
        if live is None:
            return
        live.in_flight -= 1
        live.measured.note_end(well=False, now_s=self._clock())
        health = self.health.fail(live.place, cause, retry_after_s=retry_after_s)
        log.info("offer_failed", offer_id=offer_id, cause=cause, failures=health.failures)

    def note_answer(
        self,
        offer_id: str,
        *,
        first_token_s: float | None,
        output_tokens: int,
        output_s: float,
        calls: tuple[int, int],
    ) -> None:
        """Take in how an answer came: a stream's first token, the output and how long it took
        (seconds), and the calls of tools in it, valid and not."""
        live = self._live.get(offer_id)
        if live is None:
            return
        now_s = self._clock()
        if first_token_s is not None:
            live.measured.note_first_token(first_token_s, now_s=now_s)
        live.measured.note_throughput(output_tokens, output_s, now_s=now_s)
        live.measured.note_calls(*calls, now_s=now_s)

    def report_measured(self, offer_id: str) -> OfferReport:
        """Return how a listed offer did lately, by this process's own requests."""
        return self._live[offer_id].measured.report(now_s=self._clock())

    def report_together(self, offers: Iterable[Live]) -> OfferReport:
        """Return how several offers did lately, as if they were one."""
        return report_together((live.measured for live in offers), now_s=self._clock())

    def get_place(self, offer: Offer, policy: Policy) -> tuple[int, bool, int]:
        """Return an offer's place in the order that a policy asks for, before its price."""
        measured, now_s = self._live[offer.offer_id].measured, self._clock()
        place = get_place(policy, offer.names)
        match policy.sort:
            case Sort.LATENCY:
                return (place, *measured.rank_latency(now_s=now_s))
            case Sort.THROUGHPUT:
                return (place, *measured.rank_throughput(now_s=now_s))
        return place, False, 0

    def note_report(self, offer_id: str, *, is_cut: bool) -> None:
        """Note whether a seller's report of usage said more than can be true."""
        live = self._live.get(offer_id)
        if live is not None and self.health.note_report(live.place, is_cut=is_cut):
            log.warning("seller_overstates", offer_id=offer_id, seller=live.offer.seller)

    def note_limited(self, offer_id: str) -> None:
        """Note that an offer's minute is full, over all processes."""
        live = self._live.get(offer_id)
        if live is not None:
            live.limited_until = self._clock() + LIMITED_S

    def note_new_key(self, offer_id: str) -> None:
        """Note that an offer has another key: a rest that the old one caused ends with a trial."""
        live = self._live.get(offer_id)
        if live is not None:
            self.health.note_new_key(live.place)

    def note_served(self, offer_id: str, endpoint: str, *, refused_by: Iterable[str]) -> None:
        """Note that an offer served a request which others had refused as wrong."""
        live = self._live.get(offer_id)
        if live is not None:
            live.refusing.pop(endpoint, None)
        for refuser_id in refused_by:
            refuser = self._live.get(refuser_id)
            if refuser is None:
                continue
            known = refuser.refusing.get(endpoint, Refusing())
            refuser.refusing[endpoint] = refuse(known, now_s=self._clock())
            self._last.setdefault((refuser.offer.model, endpoint), set()).add(refuser_id)

    def get_last(self, model: str, endpoint: str) -> frozenset[str]:
        """Return the offers that are asked after all others: they refuse what others serve, or the
        lab doubts them."""
        known = self._last.get((model, endpoint))
        doubted = self._doubted.get(model)
        if not known:
            return frozenset(doubted or ())
        now = self._clock()
        last = set(doubted or ())
        for offer_id in list(known):
            live = self._live.get(offer_id)
            refusing = None if live is None else live.refusing.get(endpoint)
            if refusing is None:
                known.discard(offer_id)
            elif refusing.is_last(now):
                last.add(offer_id)
        return frozenset(last)

    def note_used(self, used: Used) -> None:
        """Take in what the ledger says is used of an offer's limits."""
        live = self._live.get(used.offer_id)
        if live is not None:
            live.day, live.day_used_usdc = used.day, used.day_used_usdc
            live.total_used_usdc = used.total_used_usdc

    async def open_access(self, offer: Offer, base_url: str) -> Access:
        """Return where an offer's endpoint is and its key in the clear, for this process only.

        Raises ``SealBroken`` where the key was erased or does not open, ``KmsUnavailable``.
        """
        return await self._keys.open(offer.offer_id, offer.version, base_url, tenant=offer.seller)

    def forget_access(self, offer_id: str) -> None:
        """Drop an offer's keys from memory."""
        self._keys.forget(offer_id)


def _price_fields(priced: PricedNow) -> dict[str, Any]:
    """Return what an offer has of its prices now."""
    is_same = priced.stated == priced.tiers
    return {
        "price": priced.tiers[0][1],
        "longer": priced.tiers[1:],
        "dearer_soon": () if is_same else priced.stated,
        "valid_until_s": priced.valid_until_s,
    }


def _is_other(offer: Offer, priced: PricedNow) -> bool:
    return any(getattr(offer, name) != value for name, value in _price_fields(priced).items())
