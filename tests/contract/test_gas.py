"""What whole transactions cost, at most; a change that costs more has to say why.

Figures are for the steady state, where storage that was written before is written again, on the
plain vault. The limits are the design's where they are met, and otherwise what is reached.
``GAS_REPORT=1 pytest -s`` prints the figures.
"""

import os
import sys

import pytest
from ape.api import ReceiptAPI
from ape.contracts import ContractInstance

from tests.contract.world import CENT, DAY, HOUR, NO_SMOOTHING, NOON, ROOT, USDC, World, batch_bytes

BATCH = 100
LIMITS = {
    "createVault": 126_000,
    "deposit again": 118_000,  # over Circle's USDC that is 1.68 times a direct one
    "harvest again": 120_548,
    "withdrawPrincipal": 95_800,
    "hold": 37_947,
    "settle": 45_700,
    "settle, new word of batch ids": 63_400,
    "bumpKeyEpoch": 30_647,
    "withdrawUnspentYield": 63_100,
    "hold, of 100": 16_000,
    "hold, of 100, first of the day": 16_000,
    "settle, of 100": 16_000,
}


def check(name: str, receipt: ReceiptAPI, *, items: int = 1) -> None:
    """Hold a transaction against its limit, divided by its items."""
    gas = receipt.gas_used // items
    if os.environ.get("GAS_REPORT"):
        sys.stdout.write(f"{name:32} {gas:>8} of {LIMITS[name]:>8}\n")
    assert gas <= LIMITS[name], name


@pytest.fixture
def plain(world: World) -> ContractInstance:
    """Return the honest vault."""
    return world.admin.deploy(world.project.PlainVault, world.usdc)


def test_gas__adapter__within_limits(world: World, plain: ContractInstance) -> None:
    token_id = world.create(vault=plain)
    created = world.adapter.createVault(1, NO_SMOOTHING, plain, 60, sender=world.second_owner)
    check("createVault", created)
    world.fund(world.owner, 2_001 * USDC)
    world.usdc.approve(world.adapter, 10_000 * USDC, sender=world.owner)
    for _ in range(2):
        deposited = world.adapter.deposit(token_id, 1_000 * USDC, 0, sender=world.owner)
    check("deposit again", deposited)
    for _ in range(3):
        world.fund(plain, 10 * USDC)
        harvested = world.adapter.harvest(token_id, sender=world.outsider)
    check("harvest again", harvested)
    withdrawn = world.adapter.withdrawPrincipal(token_id, 100 * USDC, sender=world.owner)
    check("withdrawPrincipal", withdrawn)


def test_gas__position__within_limits(world: World) -> None:
    world.fund(world.owner, USDC)
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, USDC)
    check("hold", world.hold(token_id, 2 * USDC))
    check("settle, new word of batch ids", world.settle((token_id, CENT)))
    check("settle", world.settle((token_id, CENT)))
    check("bumpKeyEpoch", world.position.bumpKeyEpoch(token_id, sender=world.owner))
    withdrawn = world.position.withdrawUnspentYield(token_id, sender=world.owner)
    check("withdrawUnspentYield", withdrawn)


def test_gas__batch__within_limits(world: World) -> None:
    world.fund(world.position, BATCH * USDC)
    for token_id in range(BATCH):
        world.position.mint(world.owner, 1, NO_SMOOTHING, sender=world.as_adapter)
        world.position.creditYield(token_id, USDC, sender=world.as_adapter)

    def hold_all() -> ReceiptAPI:
        holds = [(token_id, 10 * CENT, world.now + HOUR, 0) for token_id in range(BATCH)]
        return world.position.hold(holds, sender=world.settler)

    hold_all()
    check("hold, of 100", hold_all(), items=BATCH)
    items = [(token_id, CENT) for token_id in range(BATCH)]
    settled = world.position.settle(batch_bytes(1), ROOT, items, sender=world.settler)
    check("settle, of 100", settled, items=BATCH)
    world.warp(NOON + DAY)
    check("hold, of 100, first of the day", hold_all(), items=BATCH)
