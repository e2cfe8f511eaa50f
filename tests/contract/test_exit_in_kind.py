"""``LendingYieldAdapter.exitInKind``: the vault's shares themselves, whatever the vault says."""

import ape

from tests.contract.world import USDC, World, returned


def test_exit_in_kind__any_time__all_shares_to_owner(world: World) -> None:
    world.create_with_deposit(50 * USDC, owner=world.second_owner)
    token_id = world.create_with_deposit(100 * USDC)
    receipt = world.adapter.exitInKind(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.ExitedInKind)
    assert event.event_arguments == {
        "tokenId": token_id,
        "owner": world.owner.address,
        "shares": 100 * USDC,
        "principalForgone": 100 * USDC,
    }
    assert returned(receipt) == 100 * USDC
    assert world.vault.balanceOf(world.owner) == 100 * USDC
    assert world.vault.balanceOf(world.adapter) == 50 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)


def test_exit_in_kind__vault_neither_answers_nor_pays__works(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    kinds = world.misbehaviour("REVERTS_VIEWS", "REVERTS_EXITS")
    world.vault.setMisbehaviour(kinds, sender=world.admin)
    world.adapter.exitInKind(token_id, sender=world.owner)
    assert world.vault.balanceOf(world.owner) == 100 * USDC


def test_exit_in_kind__afterwards__position_usable_again(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.adapter.exitInKind(token_id, sender=world.owner)
    world.deposit(token_id, 7 * USDC)
    assert world.booked(token_id)[1:3] == (7 * USDC, 7 * USDC)


def test_exit_in_kind__transfer_refused__reverts_and_keeps_shares(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setMisbehaviour(world.misbehaviour("KEEPS_SHARES"), sender=world.admin)
    with ape.reverts("adapter: shares not transferable"):
        world.adapter.exitInKind(token_id, sender=world.owner)
    assert world.booked(token_id).shares == 100 * USDC


def test_exit_in_kind__no_shares__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: no shares to hand over"):
        world.adapter.exitInKind(token_id, sender=world.owner)


def test_exit_in_kind__not_owner__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    with ape.reverts("adapter: not owner"):
        world.adapter.exitInKind(token_id, sender=world.outsider)


def test_exit_in_kind__code_gone__keeps_the_shares(world: World) -> None:
    vault = world.deploy_vault()
    token_id = world.create_with_deposit(100 * USDC, vault=vault)
    code = ape.chain.provider.get_code(vault.address)
    ape.chain.provider.set_code(vault.address, b"")
    try:
        with ape.reverts("adapter: shares not transferable"):
            world.adapter.exitInKind(token_id, sender=world.owner)
    finally:
        ape.chain.provider.set_code(vault.address, bytes(code))
    assert world.booked(token_id).shares == 100 * USDC
