"""A year of savers and requests, replayed on a real chain: nothing drifts, nothing is left behind.

Positions of all sizes and intervals earn by a vault; their owners ask now and then, with holds that
have lapsed since. In the end all leave: every request is settled once, every unit of yield was
harvested but for rounding, and they have their principal and all that they did not spend.
"""

import random
import time
from collections import defaultdict
from typing import Final

import pytest
from sqlalchemy import select

from ledger.database.engine import read, write
from ledger.errors import ReserveRefused
from ledger.spending.admission import AdmissionRules
from ledger.spending.demand import note_demand
from ledger.spending.metering import Post, Reserve
from ledger.tables import Position, table_of
from ledger.tables.usage import Charge, Reservation
from scripts.audit import audit
from tests.support.deploy import USDC
from tests.support.keepers import Stage

RATE_BPS: Final = 450
RULES: Final = AdmissionRules(hold_margin_s=900, max_staleness_s=10**9, lease_s=300)
SAVERS: Final = (50, 200, 1_000, 1_000, 5_000, 25_000, 100_000, 1_000_000)
"""Deposits, in USDC."""


_position = table_of(Position)


class Year:
    """A stage whose clocks all follow the chain's."""

    def __init__(self, stage: Stage, looks_a_day: int, *, seed: int) -> None:
        self.stage = stage
        self.looks_a_day = looks_a_day
        self.earned_usdc = 0
        self.luck = random.Random(seed)
        self.anvil = stage.world.anvil
        self.costs: defaultdict[int, int] = defaultdict(int)
        self.asked = self.refused = self.rounds = 0
        self.deposits = {
            stage.world.open_position(
                deposit_usdc=usdc * USDC, interval_minutes=self.luck.choice([30, 120, 360])
            ): usdc * USDC
            for usdc in SAVERS
        }
        stage.sync()

    @property
    def now_s(self) -> int:
        return self.anvil.now_s()

    def look(self) -> None:
        """Some hours pass; some ask; the keeper makes its rounds."""
        year_usdc = sum(self.deposits.values()) * RATE_BPS // 10_000
        yield_usdc = year_usdc // 365 // self.looks_a_day
        self.stage.world.earn(yield_usdc)
        self.earned_usdc += yield_usdc
        self.anvil.warp(86_400 // self.looks_a_day)
        self.stage.sync()
        self.work()
        for token_id in self.luck.sample(sorted(self.deposits), 3):
            self.ask(token_id)
        self.work()

    def work(self) -> None:
        """Let a fresh keeper, as from cron, make rounds until it finds nothing to do."""
        for _ in range(12):
            self.rounds += 1
            self.stage.ahead_s = self.now_s - int(time.time())
            report = self.stage.tick()
            self.anvil.mine(3)
            self.stage.sync()
            if not sum(report.acted.values()):
                return
        raise AssertionError(f"the keeper comes to no end: {report}")

    def ask(self, token_id: int) -> None:
        """Spend a random part of what the position may spend, in a request or a few."""
        for _ in range(self.luck.randint(1, 3)):
            self.asked += 1
            state = self.stage.state(token_id)
            name, now_s = f"request-{self.asked}", self.now_s
            free_usdc = max(1, state.hold_usdc - self._drawn(token_id))
            ceiling_usdc = self.luck.randint(1, free_usdc)
            cost_usdc = self.luck.randint(0, ceiling_usdc)
            reservation = Reservation(
                name, token_id, state.key_epoch, "key", "model", ceiling_usdc, 1, 1
            )
            try:
                with write(self.stage.engine) as connection:
                    Reserve(reservation, RULES, now_s)(connection)
            except ReserveRefused:
                self.refused += 1
                with write(self.stage.engine) as connection:
                    note_demand(
                        connection, token_id=token_id, required_usdc=ceiling_usdc, now_s=now_s
                    )
                self.work()
                continue
            with write(self.stage.engine) as connection:
                Post(name, Charge(cost_usdc, 1, 1), now_s)(connection)
            self.costs[token_id] += cost_usdc

    def _drawn(self, token_id: int) -> int:
        with read(self.stage.engine) as connection:
            query = select(_position.c.drawn_usdc).where(_position.c.token_id == token_id)
            return int(connection.execute(query).scalar_one())

    def leave(self) -> None:
        """Everybody takes out the yield that is left, and the principal."""
        contracts = self.stage.world.contracts
        for token_id in self.deposits:
            if contracts.adapter.functions.pendingYield(token_id).call():
                self.stage.world.send("outsider", contracts.adapter.functions.harvest(token_id))
            request = contracts.position.functions.requestRelease(token_id)
            self.stage.world.send("owner", request)
        self.stage.sync()
        self.work()
        for token_id in self.deposits:
            account = contracts.position.functions.accountOf(token_id).call()
            credited_usdc, spent_usdc, _, held_usdc, *_ = account
            assert held_usdc == 0, "the keeper frees what is asked for"
            if credited_usdc > spent_usdc:
                cash_out = contracts.position.functions.withdrawUnspentYield(token_id)
                self.stage.world.send("owner", cash_out)
            whole = contracts.adapter.get_function_by_signature("withdrawPrincipal(uint256)")
            self.stage.world.send("owner", whole(token_id))
        self.stage.sync()
        self.work()


@pytest.mark.parametrize(
    ("days", "looks_a_day"), [(2, 4), pytest.param(365, 1, marks=pytest.mark.slow)]
)
def test_keeper__year_replayed__nothing_drifts(stage: Stage, days: int, looks_a_day: int) -> None:
    stage.settings.update(MAX_STALENESS_S="1000000000", ETHER_PRICE_USDC="4000")
    year = Year(stage, looks_a_day, seed=days)
    for _ in range(days * looks_a_day):
        year.look()
    contracts, adapter = stage.world.contracts, stage.world.contracts.adapter.functions

    assert year.asked > year.refused
    # What pays for its gas was taken at the last look; nothing else is older than a day.
    begun_s = stage.settings.get("HARVEST_MAX_AGE_S", 86_400)
    for token_id in year.deposits:
        assert year.now_s - adapter.harvestDueAt(token_id).call() < int(begun_s) + 86_400
    year.leave()

    accounts = {one: contracts.position.functions.accountOf(one).call() for one in year.deposits}
    credited_usdc = sum(int(account[0]) for account in accounts.values())
    assert {one: int(account[1]) for one, account in accounts.items()} == {
        one: year.costs[one] for one in year.deposits
    }
    owner = stage.world.accounts["owner"].address
    principal_usdc = sum(year.deposits.values())
    spent_usdc = sum(year.costs.values())
    left_usdc = principal_usdc + credited_usdc - spent_usdc
    assert contracts.usdc.functions.balanceOf(owner).call() == left_usdc
    # Each harvest may leave a unit or two of its rounding in the vault.
    lost_usdc = year.earned_usdc - credited_usdc
    assert 0 <= lost_usdc <= 3 * (len(stage.intents()) + len(year.deposits)) * len(year.deposits)
    # The last sweep may not be worth its gas yet.
    treasury_usdc = sum(
        contracts.usdc.functions.balanceOf(one.address).call()
        for one in (contracts.payouts, contracts.position)
    )
    assert treasury_usdc == spent_usdc
    assert set(stage.usage_states().values()) <= {"settled"}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
