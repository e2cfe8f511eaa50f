"""Harvest: turn the yield of due positions into credit, where it pays for its gas.

The ledger keeps the rests of due positions: a keeper that runs once an hour, or whose
thousands of poor positions are all due, must not look at the same ones every time.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import structlog
from eth_abi.abi import encode
from pydantic import Field, model_validator
from sqlalchemy import Connection

from contracts.authorizations import decode_aggregate, read_word
from contracts.bindings import Contracts
from contracts.errors import Reverted
from contracts.units import BPS_ONE, USDC_MAX, mul_div_up
from keeper.duties.calls import MULTICALL_BASE_GAS, ChainCall, select
from keeper.duties.duty import Action, OfPosition, PlainDuty
from keeper.duties.moment import DutyRules, Moment
from keeper.gas import TRANSACTION_GAS_MAX, GasPrice
from keeper.node_values import WORD_BYTES
from keeper.rests import get_rest_s
from ledger.chain.harvest_outlook import HARVEST_MIN_USDC
from ledger.chain.harvests import (
    DueHarvest,
    load_due_harvests,
    note_harvests_sent,
    rest_harvests,
)
from ledger.database.engine import write
from ledger.intents.record import IntentRecord

log = structlog.get_logger("keeper")

HARVEST: Final = "harvest"
HARVEST_GAS_USUAL: Final = 150_000
"""What a harvest uses as a rule, to weigh it; the limit allows more."""

_CALLS: Final = ("(address,bool,bytes)[]",)
_CALLS_SELECTOR: Final = select("aggregate3", _CALLS)
_HARVEST_SELECTOR: Final = select("harvest", ("uint256",))


class HarvestRules(DutyRules):
    """When a harvest is worth its gas, and how many go together."""

    harvest_min_usdc: int = Field(
        default=HARVEST_MIN_USDC, ge=HARVEST_MIN_USDC, le=USDC_MAX, description="smallest harvest"
    )
    harvest_margin_bps: int = Field(
        default=30_000, ge=0, description="how much more than its gas a harvest must bring, 1/10000"
    )
    harvest_max_age_s: int = Field(
        default=86_400, ge=0, description="overdue by this, a harvest is made at a loss, seconds"
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


@dataclass(frozen=True, slots=True)
class HarvestRest:
    """When a due position is looked at again, and how often in a row it failed until then."""

    token_id: int
    look_at_s: int
    failures: int


# --------------------------------------------------------------------------------------- deciding


def decide_harvests(
    facts: HarvestFacts, moment: Moment, rules: HarvestRules
) -> list[tuple[HarvestItem, ...]]:
    """Return the harvests of each transaction, the largest first."""
    items = [
        item
        for quote in facts.quotes
        if (HARVEST, quote.token_id) not in moment.in_flight
        and (item := decide_harvest(quote, moment, rules)) is not None
    ]
    items.sort(key=lambda item: (-item.amount_usdc, item.token_id))
    # A harvest that fails in its block may burn the gas of all behind it: it goes last, and a
    # round sends one such at most.
    suspects = {quote.token_id for quote in facts.quotes if quote.is_suspect}
    sound = [item for item in items if item.token_id not in suspects]
    doubted = [item for item in items if item.token_id in suspects][:1]
    chosen = [*sound[: rules.harvests_max - len(doubted)], *doubted]
    size = rules.harvest_items_max
    return [tuple(chosen[start : start + size]) for start in range(0, len(chosen), size)]


def decide_harvest(quote: HarvestQuote, moment: Moment, rules: HarvestRules) -> HarvestItem | None:
    """Return the harvest of a due position where it pays for its gas, or has waited too long.

    Rounding: the worth asked for is rounded up, against harvesting at a loss.
    """
    waited_s = moment.now_s - quote.due_at_s
    if waited_s < 0 or quote.credited_usdc < max(rules.harvest_min_usdc, HARVEST_MIN_USDC):
        return None
    if quote.credited_usdc >= get_harvest_worth_usdc(moment.gas_price, rules):
        return HarvestItem(quote.token_id, quote.credited_usdc, "due")
    if waited_s >= rules.harvest_max_age_s:
        return HarvestItem(quote.token_id, quote.credited_usdc, "age")
    return None


def get_harvest_worth_usdc(gas_price: GasPrice, rules: HarvestRules) -> int:
    """Return the least that a harvest must credit to be made while it is not old (1e-6 USDC)."""
    cost_usdc = gas_price.get_cost_usdc(HARVEST_GAS_USUAL)
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
    or than the age at which it is made at a loss.
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


# --------------------------------------------------------------------------------------- calldata


def build_harvest(contracts: Contracts, token_ids: Sequence[int], *, gas_each: int) -> ChainCall:
    """Build one ``aggregate3`` of harvests, each allowed to fail.

    The gas is given, not estimated: an estimate finds the least gas with which the outer call
    succeeds, and with that little the inner calls fail.
    """
    adapter = contracts.adapter.address
    calls = [(adapter, True, _HARVEST_SELECTOR + token_id.to_bytes(32)) for token_id in token_ids]
    data = "0x" + (_CALLS_SELECTOR + encode(_CALLS, [calls])).hex()
    gas = MULTICALL_BASE_GAS + gas_each * len(token_ids)
    return ChainCall(contracts.multicall3.address, data, tuple(token_ids), gas=gas)


def read_harvest(answer: bytes) -> list[int | None]:
    """Return what each harvest of an ``aggregate3`` credited (1e-6 USDC), None for a failure.

    Raises ``ValueError`` for anything else.
    """
    return [read_word(result) for result in decode_aggregate(answer)]


class Harvest(PlainDuty[HarvestFacts, HarvestItem, HarvestRules]):
    """Harvests. Anybody may harvest, and each harvest of a transaction may fail by itself."""

    kind = HARVEST

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
        credits_usdc = self._try_all([due.token_id for due in facts.due], moment)
        quotes = [
            (credited_usdc is None, _quote(due, credited_usdc or 0))
            for due, credited_usdc in zip(facts.due, credits_usdc, strict=True)
        ]
        return replace(
            facts,
            quotes=tuple(quote for is_refused, quote in quotes if not is_refused),
            refused=tuple(quote for is_refused, quote in quotes if is_refused),
        )

    def _try_all(self, token_ids: Sequence[int], moment: Moment) -> list[int | None]:
        """Return what each harvest would credit, None where it would fail.

        As many at once first as will be sent together. Those that fail there are tried by
        themselves, each with its own gas: a vault that burns all it gets spoils no other quote.
        """
        credits_usdc: list[int | None] = []
        for start in range(0, len(token_ids), self.rules.harvest_items_max):
            chunk = token_ids[start : start + self.rules.harvest_items_max]
            credits_usdc += self._try_together(chunk, moment)
        return credits_usdc

    def _try_together(self, token_ids: Sequence[int], moment: Moment) -> list[int | None]:
        tools = self.tools
        call = build_harvest(tools.contracts, token_ids, gas_each=self.rules.harvest_gas)
        request = call.request(tools.sender)
        try:
            together = read_harvest(tools.node.try_call(request, block=moment.block_hash))
        except (Reverted, ValueError):
            together = []
        if len(together) != len(token_ids):
            together = [None] * len(token_ids)
        return [
            self._try_alone(token_id, moment) if credited_usdc is None else credited_usdc
            for token_id, credited_usdc in zip(token_ids, together, strict=True)
        ]

    def _try_alone(self, token_id: int, moment: Moment) -> int | None:
        adapter = self.tools.contracts.adapter
        call = {
            "from": self.tools.sender,
            "to": adapter.address,
            "data": adapter.encode_abi("harvest", args=[token_id]),
            "gas": hex(self.rules.harvest_gas),
        }
        try:
            answer = self.tools.node.try_call(call, block=moment.block_hash)
        except Reverted as error:
            log.warning("harvest_refused", token_id=token_id, reason=error.reason)
            return None
        return int.from_bytes(answer) if len(answer) == WORD_BYTES else None

    # ---------------------------------------------------------------------------- deciding, acting

    def decide(self, facts: HarvestFacts, moment: Moment) -> list[tuple[HarvestItem, ...]]:
        return decide_harvests(facts, moment, self.rules)

    def note_decided(self, facts: HarvestFacts, actions: Sequence[Action], moment: Moment) -> None:
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
