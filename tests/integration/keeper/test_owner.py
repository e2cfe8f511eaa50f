"""An owner who tries to be served for nothing, against the real keeper, ledger and contracts.

Between the keeper's decision and its block the owner bumps the key epoch, asks for release,
withdraws the credit, takes the principal out, comes back, or lets the hold lapse, in every order
and at every step, while requests are served from a mirror that does not know yet. ::

    the owner's order, by the keeper's step, by a request before, during and after
    └── left alone, the keeper settles everything: served and unpaid is 0
    many orders by the seed (slow)

``tests/property/keeper/test_every_interleaving.py`` searches all orders of a small model.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pytest

from contracts.errors import Retryable
from keeper.duties.hold import HoldRules
from ledger.database.engine import write
from ledger.errors import ReserveRefused
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Post, Reserve
from ledger.tables.usage import Charge, Reservation
from scripts.audit import audit
from tests.support.deploy import USDC
from tests.support.keepers import Stage

PATIENT: Final = AdmissionRules(hold_margin_s=900, max_staleness_s=10**9, lease_s=300)
COST_USDC: Final = 400_000
STEPS: Final = ("planned", "simulated", "stored", "sent")
"""Points of the keeper between its decision and its block."""
SETTLE_BEFORE_S: Final = HoldRules().settle_in_use_before_s - 100


@dataclass
class Play:
    """One owner, one keeper, and the requests that are served meanwhile."""

    stage: Stage
    token_id: int
    served: list[str] = field(default_factory=list)
    """The requests that were answered."""
    open_: list[str] = field(default_factory=list)
    """The requests whose answer is not there yet."""
    asked: int = 0

    # ----------------------------------------------------------------------------- the buyer's side

    @property
    def now_s(self) -> int:
        return int(time.time()) + self.stage.ahead_s

    def ask(self) -> None:
        """Begin a request, if the ledger lets it through."""
        self.asked += 1
        request_id = f"request-{self.asked}"
        reservation = Reservation(
            request_id=request_id,
            token_id=self.token_id,
            key_epoch=self.stage.state(self.token_id).key_epoch,
            key_id="key",
            model="model",
            ceiling_usdc=COST_USDC,
            input_usdc_per_mtok=1,
            output_usdc_per_mtok=1,
        )
        with suppress(ReserveRefused), write(self.stage.engine) as connection:
            Reserve(reservation, PATIENT, self.now_s)(connection)
            self.open_.append(request_id)

    def answer(self) -> None:
        """Answer what is open, and charge for it."""
        for request_id in self.open_:
            with write(self.stage.engine) as connection:
                Post(request_id, Charge(COST_USDC, 1, 1), self.now_s)(connection)
        self.served += self.open_
        self.open_.clear()

    # ---------------------------------------------------------------------------- the owner's side

    def act(self, move: str) -> None:
        """Let the owner do something; what the contracts refuse has no effect."""
        contracts, owner = self.stage.world.contracts, self.stage.world.accounts["owner"]
        position, adapter = contracts.position.functions, contracts.adapter.functions
        if move == "lapse":
            self.lapse()
            return
        calls = {
            "bump": [position.bumpKeyEpoch(self.token_id)],
            "release": [position.requestRelease(self.token_id)],
            "withdraw": [position.withdrawUnspentYield(self.token_id)],
            "exit": [adapter.withdrawPrincipal(self.token_id)],
            "enter": [
                contracts.usdc.functions.approve(contracts.adapter.address, USDC),
                adapter.deposit(self.token_id, USDC, 1),
            ],
        }[move]
        self.stage.world.fund_usdc(owner.address, USDC)
        for call in calls:
            with suppress(AssertionError):
                self.stage.world.send("owner", call)

    def lapse(self) -> None:
        """Let the live hold end, by a keeper that looks once in time before it does."""
        left_s = self.stage.state(self.token_id).hold_expires_at_s - self.now_s
        if left_s <= SETTLE_BEFORE_S:
            return
        self.pass_s(left_s - SETTLE_BEFORE_S)
        self.answer()
        self.rest_of_round()
        self.rest_of_round()
        self.pass_s(SETTLE_BEFORE_S + 1)

    def pass_s(self, seconds: int) -> None:
        """Let every clock go on."""
        self.stage.ahead_s += seconds
        self.stage.world.anvil.warp_to(max(self.stage.world.anvil.now_s() + 1, self.now_s))

    # --------------------------------------------------------------------------- the keeper's side

    def rest_of_round(self, checkpoint: Callable[[str], None] = lambda _step: None) -> None:
        """Let a keeper make one round on what is mirrored."""
        self.stage.sync()
        with suppress(Retryable):
            self.stage.keeper(checkpoint).tick()

    def go(self, step: str, moves: Sequence[str]) -> None:
        """Make a round in which the owner moves at ``step``, with requests around it."""
        left = [step]

        def move(reached: str) -> None:
            if reached in left:
                left.clear()
                self.ask()
                for one in moves:
                    self.act(one)
                self.answer()
                self.ask()

        self.stage.want(self.token_id, COST_USDC)
        self.rest_of_round(move)
        self.answer()

    def finish(self) -> None:
        """Leave the keeper alone, and see that all that was served is paid for."""
        self.answer()
        for _ in range(8):
            self.rest_of_round()
            self.stage.world.anvil.mine(2)
        self.stage.sync()
        states = self.stage.usage_states()
        unpaid = {one: states[one] for one in self.served if states[one] != "settled"}
        assert unpaid == {}
        assert self.stage.chain_spent(self.token_id) == COST_USDC * len(self.served)
        assert (
            audit(self.stage.engine, self.stage.world.anvil.web3, self.stage.world.deployment) == []
        )


def begin(stage: Stage) -> Play:
    """Open a position with credit and a hold, and serve a request on it."""
    stage.settings["MAX_STALENESS_S"] = str(10**9)
    stage.settings["HOLD_TARGET_USDC"] = str(USDC)
    play = Play(stage, stage.open_held())
    play.ask()
    play.answer()
    assert play.served == ["request-1"]
    return play


ORDERS: Final = (
    ("bump", "withdraw"),
    ("withdraw", "bump", "withdraw"),
    ("release", "withdraw"),
    ("release", "bump", "withdraw"),
    ("bump", "release", "withdraw", "exit"),
    ("exit", "withdraw", "enter"),
    ("lapse", "withdraw"),
    ("bump", "lapse", "withdraw", "enter"),
)


@pytest.mark.parametrize("moves", ORDERS, ids="-".join)
@pytest.mark.sampled(3)
def test_owner__moves_between_decision_and_block__everything_served_is_paid(
    stage: Stage, moves: tuple[str, ...]
) -> None:
    play = begin(stage)

    for step in ("simulated", "stored"):
        play.go(step, moves)

    play.finish()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_owner__any_order_by_the_seed__everything_served_is_paid(stage: Stage, seed: int) -> None:
    luck = random.Random(seed)
    moves = ("bump", "withdraw", "release", "exit", "enter", "lapse")
    play = begin(stage)

    for _ in range(luck.randint(3, 8)):
        play.go(luck.choice(STEPS), luck.choices(moves, k=luck.randint(1, 4)))

    play.finish()
