"""The devnet's Multicall3: the real one's ABI and manners."""

import ape
import pytest
from ape.contracts import ContractInstance

from tests.contract.world import USDC, World


@pytest.fixture
def multicall(world: World) -> ContractInstance:
    """Return the stand-in."""
    return world.admin.deploy(world.project.Multicall3)


def test_aggregate3__one_fails_and_may__others_done(
    world: World, multicall: ContractInstance
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    harvest = world.adapter.harvest
    calls = [
        (world.adapter, True, harvest.encode_input(99)),
        (world.adapter, True, harvest.encode_input(token_id)),
    ]
    receipt = multicall.aggregate3(calls, sender=world.outsider)
    missing, harvested = receipt.return_value
    assert missing.success is False
    assert b"adapter: unknown position" in bytes(missing.returnData)
    assert harvested.success is True
    assert int.from_bytes(harvested.returnData, "big") == world.account(token_id).credited > 0


def test_aggregate3__one_fails_and_must_not__reverts(
    world: World, multicall: ContractInstance
) -> None:
    calls = [(world.adapter, False, world.adapter.harvest.encode_input(99))]
    with ape.reverts("Multicall3: call failed"):
        multicall.aggregate3(calls, sender=world.outsider)
