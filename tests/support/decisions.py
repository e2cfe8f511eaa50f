"""What a round decides, on made-up facts: without a ledger, a chain or a clock."""

from dataclasses import dataclass, field, replace
from typing import Any

from keeper.budgets import NO_BUDGETS, Budgets
from keeper.duties.duty import Action
from keeper.duties.harvest import (
    HarvestFacts,
    HarvestQuote,
    HarvestRest,
    decide_harvests,
    decide_rests,
)
from keeper.duties.hold import decide_holds
from keeper.duties.moment import Moment, Subject
from keeper.duties.payout import PayoutDue, PayoutFacts, decide_payouts
from keeper.duties.positions import PositionFacts
from keeper.duties.registry import Rules
from keeper.duties.settle import decide_settles
from keeper.duties.sweep import SweepFacts, decide_sweep
from keeper.duties.x402_choice import PaymentDue, decide_payments
from keeper.gas import FREE, WEI_PER_ETHER, GasPrice
from keeper.worth import SIZES, Decision, Unworthy
from tests.support.ledgers import NOW_S


@dataclass(frozen=True, slots=True)
class Scene:
    """The facts of every duty at one block."""

    now_s: int = NOW_S
    positions: tuple[PositionFacts, ...] = ()
    harvests: tuple[HarvestQuote, ...] = ()
    harvests_refused: tuple[HarvestQuote, ...] = ()
    harvest_gas_usdc: int = 0
    """What a usual harvest's gas costs. Only harvests are decided at that price, unless
    ``gas_price`` says what everything costs."""
    gas_price: GasPrice | None = None
    owed_usdc: int = 0
    owed_since_s: int | None = None
    payouts: tuple[PayoutDue, ...] = ()
    payments: tuple[PaymentDue, ...] = ()
    treasury_usdc: int = 0
    in_flight: frozenset[tuple[str, int]] = frozenset()
    kinds_in_flight: frozenset[str] = frozenset()
    resting: frozenset[Subject] = field(default_factory=frozenset)
    budgets: Budgets = NO_BUDGETS

    @property
    def moment(self) -> Moment:
        # As near as whole wei get to it.
        fee_wei = WEI_PER_ETHER // SIZES["harvest"].item_gas
        return Moment(
            block_number=10,
            block_hash="0x0a",
            now_s=self.now_s,
            mirrored_at_s=self.now_s,
            wall_s=self.now_s,
            in_flight=self.in_flight,
            kinds_in_flight=self.kinds_in_flight,
            resting=self.resting,
            budgets=self.budgets,
            gas_price=self.gas_price or GasPrice(fee_wei, self.harvest_gas_usdc),
        )

    @property
    def harvest_facts(self) -> HarvestFacts:
        return HarvestFacts(quotes=self.harvests, refused=self.harvests_refused)


def decide(scene: Scene, rules: Rules) -> list[Action]:
    """Return what every duty would send, in the order of execution."""
    return [
        Action(kind, items)
        for kind, decision in decide_all(scene, rules).items()
        for items in decision.transactions
    ]


def find_unworthy(scene: Scene, rules: Rules) -> list[Unworthy]:
    """Return what every duty leaves alone for its cost."""
    return [one for decision in decide_all(scene, rules).values() for one in decision.unworthy]


def decide_all(scene: Scene, rules: Rules) -> dict[str, Decision[Any]]:
    """Return what every duty decides, by kind, in the order of execution."""
    harvesting = scene.moment
    moment = harvesting if scene.gas_price else replace(harvesting, gas_price=FREE)
    payouts = PayoutFacts(scene.payouts, scene.treasury_usdc)
    sweep = SweepFacts(scene.owed_since_s, scene.owed_usdc)
    return {
        "settle": decide_settles(scene.positions, moment, rules),
        "hold": decide_holds(scene.positions, moment, rules),
        "x402": decide_payments(scene.payments, moment, rules),
        "harvest": decide_harvests(scene.harvest_facts, harvesting, rules),
        "sweep": decide_sweep(sweep, moment, rules),
        "payout": decide_payouts(payouts, moment, rules),
    }


def rest(scene: Scene, chosen: set[int], rules: Rules) -> list[HarvestRest]:
    """Return when each due position is looked at again."""
    return decide_rests(scene.harvest_facts, chosen, scene.moment, rules)
