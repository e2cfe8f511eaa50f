"""Ownership in two steps, settlers, payers, and the constructors' checks."""

import ape
import pytest
from ape.contracts import ContractInstance

from tests.contract.world import USDC, World, batch_bytes

ZERO = "0x" + "00" * 20


@pytest.fixture(params=["position", "payouts"])
def owned(request: pytest.FixtureRequest, world: World) -> ContractInstance:
    """Return each contract that has an admin."""
    contract: ContractInstance = getattr(world, request.param)
    return contract


def test_ownership__offered_and_accepted__moves(world: World, owned: ContractInstance) -> None:
    started = owned.transferOwnership(world.outsider, sender=world.admin)
    (event,) = started.decode_logs(owned.OwnershipTransferStarted)
    people = {"previousOwner": world.admin.address, "newOwner": world.outsider.address}
    assert event.event_arguments == people
    assert (owned.owner(), owned.pendingOwner()) == (world.admin.address, world.outsider.address)
    accepted = owned.acceptOwnership(sender=world.outsider)
    (event,) = accepted.decode_logs(owned.OwnershipTransferred)
    assert event.event_arguments == people
    assert (owned.owner(), owned.pendingOwner()) == (world.outsider.address, ZERO)
    with ape.reverts("owner: not owner"):
        owned.transferOwnership(world.admin, sender=world.admin)


def test_ownership__offer_taken_back__cannot_be_accepted(
    world: World, owned: ContractInstance
) -> None:
    owned.transferOwnership(world.outsider, sender=world.admin)
    owned.transferOwnership(ZERO, sender=world.admin)
    with ape.reverts("owner: not pending owner"):
        owned.acceptOwnership(sender=world.outsider)


def test_ownership__outsider__reverts(world: World, owned: ContractInstance) -> None:
    with ape.reverts("owner: not owner"):
        owned.transferOwnership(world.outsider, sender=world.outsider)
    with ape.reverts("owner: not pending owner"):
        owned.acceptOwnership(sender=world.outsider)


def test_set_settler__removed__refused_from_then_on(world: World) -> None:
    token_id = world.create_with_credit(USDC)
    receipt = world.position.setSettler(world.settler, False, sender=world.admin)
    (event,) = receipt.decode_logs(world.position.SettlerSet)
    assert event.event_arguments == {"settler": world.settler.address, "allowed": False}
    assert world.position.isSettler(world.settler) is False
    with ape.reverts("position: not settler"):
        world.hold(token_id, 1)


def test_set_settler__outsider__reverts(world: World) -> None:
    with ape.reverts("owner: not owner"):
        world.position.setSettler(world.outsider, True, sender=world.outsider)


def test_set_payer__removed__refused_from_then_on(world: World) -> None:
    receipt = world.payouts.setPayer(world.payer, False, sender=world.admin)
    (event,) = receipt.decode_logs(world.payouts.PayerSet)
    assert event.event_arguments == {"payer": world.payer.address, "allowed": False}
    with ape.reverts("payouts: not payer"):
        world.payouts.pay(batch_bytes(1), [], [], sender=world.payer)


def test_set_payer__outsider__reverts(world: World) -> None:
    with ape.reverts("owner: not owner"):
        world.payouts.setPayer(world.outsider, True, sender=world.outsider)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_constructor__position_without_an_address__reverts(world: World, missing: int) -> None:
    arguments = [world.usdc.address, world.adapter.address, world.payouts.address]
    arguments[missing] = ZERO
    with ape.reverts("position: zero address"):
        world.admin.deploy(world.project.YieldFundedPosition, *arguments, world.admin)


def test_constructor__no_admin__reverts(world: World) -> None:
    with ape.reverts("owner: zero address"):
        world.admin.deploy(world.project.Payouts, world.usdc, world.position, world.adapter, ZERO)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_constructor__payouts_without_an_address__reverts(world: World, missing: int) -> None:
    arguments = [world.usdc.address, world.position.address, world.adapter.address]
    arguments[missing] = ZERO
    with ape.reverts("payouts: zero address"):
        world.admin.deploy(world.project.Payouts, *arguments, world.admin)


def test_constructor__adapter_not_the_positions__reverts(world: World) -> None:
    with ape.reverts("adapter: position not wired"):
        world.admin.deploy(world.project.LendingYieldAdapter, world.usdc, world.position)


def test_constructor__adapter_for_other_usdc__reverts(world: World) -> None:
    other = world.admin.deploy(world.project.MockUSDC)
    expected = world.admin.get_deployment_address(world.admin.nonce + 1)
    position = world.admin.deploy(
        world.project.YieldFundedPosition, other, expected, world.payouts, world.admin
    )
    transaction = world.project.LendingYieldAdapter(world.usdc, position)
    transaction.sender = world.admin.address
    # Only estimated: a mined failure uses the nonce, and its reason is asked for with the next one.
    with ape.reverts("adapter: usdc differs"):
        ape.chain.provider.estimate_gas_cost(transaction)
