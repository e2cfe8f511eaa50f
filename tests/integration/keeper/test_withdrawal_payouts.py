"""Withdrawn credit on its way to its wallet, whatever dies or is taken back: paid once, or not yet.

::

    top-up settled ── not deep enough            → nothing can be withdrawn
                   ── its block is taken back     → nothing can be withdrawn
                   ── deep enough, withdrawn, and the keeper dies after any step → paid once
"""

from typing import Final

import pytest
from sqlalchemy import select

from keeper.duties.moment import REORGS_DEEPEST
from ledger.database.engine import read, write
from ledger.payments.withdrawals import (
    SignedWithdrawal,
    WithdrawalRefused,
    load_withdrawal,
    withdraw,
)
from ledger.tables import X402Payment, table_of
from scripts.audit import audit
from tests.integration.keeper.test_crash import STEPS
from tests.integration.keeper.test_payouts import finish
from tests.support.authorizations import PAYER, authorize, record
from tests.support.deploy import USDC
from tests.support.keepers import Crash, Stage, crash_at

TOPUP_USDC: Final = 2 * USDC
FEE_USDC: Final = 1_000
_payment = table_of(X402Payment)


@pytest.fixture
def topped_up(stage: Stage) -> Stage:
    """A ledger and a chain with a payer's top-up in its newest block."""
    stage.settings["PAYMENT_CONFIRMATIONS"] = "0"
    stage.world.fund_usdc(PAYER.address, TOPUP_USDC)
    stage.allow_paying(treasury_usdc=1)
    record(stage.engine, authorize(stage.world, TOPUP_USDC))
    stage.world.anvil.mine()
    stage.sync()
    stage.tick()
    stage.tick()
    with read(stage.engine) as connection:
        assert connection.execute(select(_payment.c.state)).scalar_one() == "settled"
    return stage


def bury(stage: Stage) -> None:
    """Let so many blocks come that no reorg takes the top-up back."""
    stage.world.anvil.mine(REORGS_DEEPEST + 1)
    stage.sync()
    stage.tick()
    stage.tick()


def take(stage: Stage) -> str:
    wish = SignedWithdrawal("wd", PAYER.address.lower(), None, FEE_USDC, "nonce")
    with write(stage.engine) as connection:
        return withdraw(connection, wish, minimum_usdc=1, now_s=1)


def assert_sound(stage: Stage) -> None:
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_withdrawal__topup_is_not_deep_or_is_taken_back__nothing_is_paid(topped_up: Stage) -> None:
    with pytest.raises(WithdrawalRefused):
        take(topped_up)

    topped_up.world.anvil.mine(20)
    topped_up.sync()
    topped_up.world.anvil.reorg(21)
    topped_up.sync()
    with pytest.raises(WithdrawalRefused):
        take(topped_up)
    finish(topped_up, rounds=2)

    assert topped_up.payout_states() == {}
    assert_sound(topped_up)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(3)
def test_withdrawal__keeper_dies_after_any_step__is_paid_once(topped_up: Stage, step: str) -> None:
    bury(topped_up)
    assert take(topped_up) == "wd"

    with pytest.raises(Crash):
        topped_up.keeper(crash_at(step)).tick()
    finish(topped_up)

    assert topped_up.received(PAYER.address) == (TOPUP_USDC - FEE_USDC, 0)
    with read(topped_up.engine) as connection:
        made = load_withdrawal(connection, "wd")
    assert (made.state, made.amount_usdc) == ("paid", TOPUP_USDC)
    assert made.tx_hash is not None
    assert_sound(topped_up)
