"""Harvest: turn the yield of due positions into credit, where it pays for its gas.

The ledger keeps the rests of due positions: a keeper that runs once an hour, or whose
thousands of poor positions are all due, must not look at the same ones every time.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from pydantic import Field, model_validator
from sqlalchemy import Connection

from contracts.units import BPS_ONE, USDC_MAX, mul_div_up
from keeper.duties.calls import MULTICALL_BASE_GAS, ChainCall
from keeper.duties.duty import Action, OfPosition, PlainDuty, Tools
from keeper.duties.harvest_trial import HarvestTrial, build_harvest
from keeper.duties.moment import DutyRules, Moment
from keeper.gas import TRANSACTION_GAS_MAX, GasPrice
from keeper.rests import get_rest_s
from keeper.worth import SHARE, Decision, Unworthy, get_cost_usdc
from ledger.chain.harvest_outlook import HARVEST_MIN_USDC
from ledger.chain.harvests import (
    DueHarvest,
    load_due_harvests,
    note_harvests_sent,
    rest_harvests,
)
from ledger.database.engine import write
from ledger.intents.record import IntentRecord

HARVEST: Final = "harvest"


class HarvestRules(DutyRules):
    """When a harvest is worth its gas, and how many go together."""

    harvest_min_usdc: int = Field(
        default=HARVEST_MIN_USDC, ge=HARVEST_MIN_USDC, le=USDC_MAX, description="smallest harvest"
    )
    harvest_margin_bps: int = Field(
        default=30_000,
        ge=0,
        description="how much more than its cost a harvest must bring, 1/10000",
    )
    harvest_max_age_s: int = Field(
        default=86_400,
        ge=0,
        description="overdue by this, a harvest must bring its cost and no margin, seconds",
    )
    harvest_gas: int = Field(
        default=400_000, ge=100_000, le=5_000_000, description="gas allowed to one harvest"
    )
    harvest_recheck_s: int = Field(
        default=300, ge=1, description="pause for a due position that is not worth it, seconds"
    )
    harvest_items_max: int = Field(
        default=30, ge=1, le=64, description="harvests in one transaction"
    )
    harvest_transactions_max: int = Field(
        default=4, ge=1, le=16, description="harvest transactions in one round, where so many pay"
    )

    @model_validator(mode="after")
    def _harvests_fit_a_transaction(self) -> Self:
        gas = MULTICALL_BASE_GAS + self.harvest_gas * self.harvest_items_max
        if gas > TRANSACTION_GAS_MAX:
            raise ValueError(f"harvest_gas * harvest_items_max <= {TRANSACTION_GAS_MAX:,}")
        return self

    @property
    def harvests_max(self) -> int:
        return self.harvest_items_max * self.harvest_transactions_max


@dataclass(frozen=True, slots=True)
class HarvestQuote:
    """What harvesting a due position would credit, tried at the round's block."""

    token_id: int
    due_at_s: int
    credited_usdc: int
    """0 also where the trial failed."""
    last_harvest_at_s: int = 0
    failures: int = 0
    """How often in a row it failed, tried or sent."""
    is_suspect: bool = False
    """A harvest was sent since the last success: it fails in its block, though not when tried."""


@dataclass(frozen=True, slots=True)
class HarvestFacts:
    """The positions that are due, and what trying their harvests showed."""

    due: tuple[DueHarvest, ...] = ()
    quotes: tuple[HarvestQuote, ...] = ()
    refused: tuple[HarvestQuote, ...] = ()
    """Due positions whose harvest failed when it was tried."""


@dataclass(frozen=True, slots=True)
class HarvestItem(OfPosition):
    """Harvest a position for about ``amount_usdc``."""

    token_id: int
    amount_usdc: int
    reason: str

    @property
    def brings_usdc(self) -> int:
        return self.amount_usdc


@dataclass(frozen=True, slots=True)
class HarvestRest:
    """When a due position is looked at again, and how often in a row it failed until then."""

    token_id: int
    look_at_s: int
    failures: int


# --------------------------------------------------------------------------------------- deciding


def decide_harvests(
    facts: HarvestFacts, moment: Moment, rules: HarvestRules
) -> Decision[HarvestItem]:
    """Return the harvests of each transaction, the largest first, and those that do not pay."""
    items: list[HarvestItem] = []
    unworthy: list[Unworthy] = []
    cost_usdc = get_cost_usdc(HARVEST, 1, moment.gas_price)
    for quote in facts.quotes:
        if (HARVEST, quote.token_id) in moment.in_flight:
            continue
        item = decide_harvest(quote, moment, rules)
        if item is not None:
            items.append(item)
        elif _is_due(quote, moment, rules):
            unworthy.append(
                Unworthy(HARVEST, quote.token_id, SHARE, quote.credited_usdc, cost_usdc)
            )
    items.sort(key=lambda item: (-item.amount_usdc, item.token_id))
    # A harvest that fails in its block may burn the gas of all behind it: it goes last, and a
    # round sends one such at most.
    suspects = {quote.token_id for quote in facts.quotes if quote.is_suspect}
    sound = [item for item in items if item.token_id not in suspects]
    doubted = [item for item in items if item.token_id in suspects][:1]
    chosen = [*sound[: rules.harvests_max - len(doubted)], *doubted]
    size = rules.harvest_items_max
    transactions = [tuple(chosen[start : start + size]) for start in range(0, len(chosen), size)]
    return Decision(transactions, tuple(unworthy))


def decide_harvest(quote: HarvestQuote, moment: Moment, rules: HarvestRules) -> HarvestItem | None:
    """Return the harvest of a due position that brings the margin, or is old and brings its cost.

    Rounding: the worth asked for is rounded up, against harvesting at a loss.
    """
    if not _is_due(quote, moment, rules):
        return None
    if quote.credited_usdc >= get_harvest_worth_usdc(moment.gas_price, rules):
        return HarvestItem(quote.token_id, quote.credited_usdc, "due")
    is_old = moment.now_s - quote.due_at_s >= rules.harvest_max_age_s
    if is_old and quote.credited_usdc >= get_cost_usdc(HARVEST, 1, moment.gas_price):
        return HarvestItem(quote.token_id, quote.credited_usdc, "age")
    return None


def _is_due(quote: HarvestQuote, moment: Moment, rules: HarvestRules) -> bool:
    """Tell whether a harvest's time has come and it brings what the contract and the rules ask."""
    least_usdc = max(rules.harvest_min_usdc, HARVEST_MIN_USDC)
    return moment.now_s >= quote.due_at_s and quote.credited_usdc >= least_usdc


def get_harvest_worth_usdc(gas_price: GasPrice, rules: HarvestRules) -> int:
    """Return the least that a harvest must credit to be made while it is not old (1e-6 USDC)."""
    cost_usdc = get_cost_usdc(HARVEST, 1, gas_price)
    worth_usdc = mul_div_up(cost_usdc, rules.harvest_margin_bps, BPS_ONE)
    return max(worth_usdc, rules.harvest_min_usdc, HARVEST_MIN_USDC)


def decide_rests(
    facts: HarvestFacts, chosen: Iterable[int], moment: Moment, rules: HarvestRules
) -> list[HarvestRest]:
    """Return when each due position is looked at again, ascending by token id.

    ``chosen``: the positions that are harvested now. A success moves their due time by itself, once
    it is mirrored. All times are the chain's.
    """
    sent = set(chosen)
    worth_usdc = get_harvest_worth_usdc(moment.gas_price, rules)
    rests: list[HarvestRest] = []
    for quote in facts.quotes:
        failures = quote.failures if quote.is_suspect else 0
        if quote.token_id in sent:
            rest_s = get_rest_s(rules.harvest_recheck_s, failures=failures)
            failures += quote.is_suspect
        elif quote.credited_usdc >= worth_usdc:
            rest_s = 0  # no room this time
        else:
            rest_s = _predict_rest_s(quote, moment, rules, worth_usdc=worth_usdc)
        rests.append(HarvestRest(quote.token_id, moment.mirrored_at_s + rest_s, failures))
    for quote in facts.refused:
        rest_s = get_rest_s(rules.harvest_recheck_s, failures=quote.failures)
        look_at_s = moment.mirrored_at_s + rest_s
        rests.append(HarvestRest(quote.token_id, look_at_s, quote.failures + 1))
    return sorted(rests, key=lambda rest: rest.token_id)


def _predict_rest_s(
    quote: HarvestQuote, moment: Moment, rules: HarvestRules, *, worth_usdc: int
) -> int:
    """Return in how long the yield, growing as it did so far, will be worth a harvest.

    It may grow faster, so that a rest is never longer than what has passed since the last harvest
    or than the age from which on it need not bring the margin.
    """
    now_s = moment.mirrored_at_s
    grown_s = max(0, now_s - quote.last_harvest_at_s)
    rest_s = min(grown_s, rules.harvest_max_age_s)
    if quote.credited_usdc > 0:
        missing_usdc = worth_usdc - quote.credited_usdc
        rest_s = min(rest_s, mul_div_up(grown_s, missing_usdc, quote.credited_usdc))
    if quote.credited_usdc >= rules.harvest_min_usdc:
        rest_s = min(rest_s, max(0, quote.due_at_s + rules.harvest_max_age_s - now_s))
    return max(rules.harvest_recheck_s, rest_s)


class Harvest(PlainDuty[HarvestFacts, HarvestItem, HarvestRules]):
    """Harvests. Anybody may harvest, and each harvest of a transaction may fail by itself."""

    kind = HARVEST

    def __init__(self, tools: Tools, rules: HarvestRules) -> None:
        super().__init__(tools, rules)
        self._trial = HarvestTrial(
            tools.node,
            tools.contracts,
            gas_each=rules.harvest_gas,
            items_max=rules.harvest_items_max,
            sender=tools.sender,
        )

    # ------------------------------------------------------------------------------------- reading

    def load(self, connection: Connection, moment: Moment) -> HarvestFacts:
        limit = self.rules.harvests_max
        # Due by the chain's own clock: before that, a look would only start a rest.
        found = load_due_harvests(
            connection, now_s=moment.mirrored_at_s, limit=limit + moment.count_in_flight(HARVEST)
        )
        waiting = [due for due in found if (HARVEST, due.token_id) not in moment.in_flight]
        return HarvestFacts(due=tuple(waiting[:limit]))

    def look(self, facts: HarvestFacts, moment: Moment) -> HarvestFacts:
        """Try every harvest at the block."""
        token_ids = [due.token_id for due in facts.due]
        credits_usdc = self._trial.run(token_ids, block_hash=moment.block_hash)
        quotes = [
            (credited_usdc is None, _quote(due, credited_usdc or 0))
            for due, credited_usdc in zip(facts.due, credits_usdc, strict=True)
        ]
        return replace(
            facts,
            quotes=tuple(quote for is_refused, quote in quotes if not is_refused),
            refused=tuple(quote for is_refused, quote in quotes if is_refused),
        )

    # ---------------------------------------------------------------------------- deciding, acting

    def decide(self, facts: HarvestFacts, moment: Moment) -> Decision[HarvestItem]:
        return decide_harvests(facts, moment, self.rules)

    def note_decided(
        self,
        facts: HarvestFacts,
        actions: Sequence[Action],
        unworthy: Sequence[Unworthy],
        moment: Moment,
    ) -> None:
        """Let due positions rest that are not harvested now.

        A position that is harvested rests once its transaction is in a block: until then its intent
        keeps it from being decided again, and a crash leaves it due.
        """
        sent = {token_id for action in actions for token_id in action.token_ids}
        rests = decide_rests(facts, sent, moment, self.rules)
        chosen = [rest for rest in rests if rest.token_id not in sent]
        if chosen:
            with write(self.tools.engine) as connection:
                _rest(connection, chosen)

    def build(
        self, connection: Connection, items: Sequence[HarvestItem], *, now_s: int
    ) -> ChainCall:
        token_ids = [item.token_id for item in items]
        return build_harvest(self.tools.contracts, token_ids, gas_each=self.rules.harvest_gas)

    def note_mined(self, items: Sequence[HarvestItem], facts: HarvestFacts, moment: Moment) -> None:
        """Let harvests rest that are in a block; only their own events say which succeeded."""
        sent = {item.token_id for item in items}
        rests = decide_rests(facts, sent, moment, self.rules)
        with write(self.tools.engine) as connection:
            note_harvests_sent(connection, sent, sent_at_s=moment.mirrored_at_s)
            _rest(connection, [rest for rest in rests if rest.token_id in sent])

    def build_trial(self, items: Sequence[HarvestItem]) -> None:
        return None

    def is_disarmed(self, intent: IntentRecord, *, block_number: int) -> bool:
        """Anybody may harvest, whenever."""
        return True


def _rest(connection: Connection, rests: Collection[HarvestRest]) -> None:
    rest_harvests(connection, [(rest.token_id, rest.look_at_s, rest.failures) for rest in rests])


def _quote(due: DueHarvest, credited_usdc: int) -> HarvestQuote:
    return HarvestQuote(
        token_id=due.token_id,
        due_at_s=due.due_at_s,
        credited_usdc=credited_usdc,
        last_harvest_at_s=due.last_harvest_at_s,
        failures=due.failures,
        is_suspect=due.sent_at_s > due.last_harvest_at_s,
    )
