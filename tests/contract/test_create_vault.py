"""``LendingYieldAdapter.createVault``, ``setHarvestInterval`` and their views

::

    createVault
    ├── interval outside 30..360 ............ reverts
    ├── USDC, the adapter, the position ..... reverts
    ├── not a vault of USDC ................. reverts
    ├── a vault without the views needed .... reverts
    └── otherwise ........................... a position of the caller
"""

import ape
import pytest

from tests.contract.world import NO_SMOOTHING, USDC, World, returned


def test_create_vault__valid__position_of_caller(world: World) -> None:
    receipt = world.adapter.createVault(3, 2_500, world.vault, 360, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.VaultCreated)
    assert event.event_arguments == {
        "tokenId": 0,
        "owner": world.owner.address,
        "vault": world.vault.address,
        "modelTier": 3,
        "dailySmoothingBps": 2_500,
        "harvestIntervalMinutes": 360,
    }
    assert returned(receipt) == 0
    assert world.booked(0) == (world.vault.address, 0, 0, 360, world.now)
    assert world.position.ownerOf(0) == world.owner.address
    assert world.adapter.harvestDueAt(0) == world.now + 360 * 60
    assert (world.adapter.pendingYield(0), world.adapter.principalValue(0)) == (0, 0)


@pytest.mark.parametrize("minutes", [29, 361])
def test_create_vault__interval_out_of_range__reverts(world: World, minutes: int) -> None:
    with ape.reverts("adapter: interval out of range"):
        world.create(interval_minutes=minutes)


def test_create_vault__one_of_our_own__reverts(world: World) -> None:
    for address in (world.usdc, world.position, world.adapter):
        with ape.reverts("adapter: vault not allowed"):
            world.create(vault=address)


def test_create_vault__not_a_vault__reverts(world: World) -> None:
    for address in (world.outsider, world.payouts):
        with ape.reverts("adapter: not a usdc vault"):
            world.create(vault=address)


def test_create_vault__other_asset__reverts(world: World) -> None:
    other = world.admin.deploy(world.project.MockUSDC)
    vault = world.admin.deploy(world.project.MockVault, other)
    with ape.reverts("adapter: not a usdc vault"):
        world.create(vault=vault)


def test_create_vault__views_fail__reverts(world: World) -> None:
    vault = world.deploy_vault()
    vault.setMisbehaviour(world.misbehaviour("REVERTS_VIEWS"), sender=world.admin)
    with ape.reverts("adapter: vault does not answer"):
        world.create(vault=vault)


@pytest.mark.parametrize("minutes", [30, 360])
def test_set_harvest_interval__owner__changes_only_that(world: World, minutes: int) -> None:
    token_id = world.create_with_deposit(USDC)
    before = world.booked(token_id)
    receipt = world.adapter.setHarvestInterval(token_id, minutes, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.HarvestIntervalSet)
    assert event.event_arguments == {"tokenId": token_id, "harvestIntervalMinutes": minutes}
    assert world.booked(token_id) == before._replace(interval_minutes=minutes)


@pytest.mark.parametrize("minutes", [0, 29, 361])
def test_set_harvest_interval__out_of_range__reverts(world: World, minutes: int) -> None:
    token_id = world.create()
    with ape.reverts("adapter: interval out of range"):
        world.adapter.setHarvestInterval(token_id, minutes, sender=world.owner)


def test_set_harvest_interval__not_owner__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: not owner"):
        world.adapter.setHarvestInterval(token_id, 30, sender=world.outsider)


def test_views__unknown_position__revert(world: World) -> None:
    for view in ("positionOf", "pendingYield", "principalValue", "harvestDueAt"):
        with ape.reverts("adapter: unknown position"):
            getattr(world.adapter, view)(0)


def test_open__approved__position_and_deposit_at_once(world: World) -> None:
    world.fund(world.owner, 5 * USDC)
    world.usdc.approve(world.adapter, 5 * USDC, sender=world.owner)
    receipt = world.adapter.open(
        1, NO_SMOOTHING, world.vault, 60, 5 * USDC, 5 * USDC, sender=world.owner
    )
    assert [int(value) for value in receipt.return_value] == [0, 5 * USDC]
    assert world.position.ownerOf(0) == world.owner.address
    assert world.booked(0)[1:3] == (5 * USDC, 5 * USDC)


def test_open__too_few_shares__no_position_either(world: World) -> None:
    world.fund(world.owner, 5 * USDC)
    world.usdc.approve(world.adapter, 5 * USDC, sender=world.owner)
    with ape.reverts("adapter: too few shares"):
        world.adapter.open(
            1, NO_SMOOTHING, world.vault, 60, 5 * USDC, 5 * USDC + 1, sender=world.owner
        )
    assert world.position.totalSupply() == 0
