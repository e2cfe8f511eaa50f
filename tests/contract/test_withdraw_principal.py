"""``LendingYieldAdapter.withdrawPrincipal``

::

    withdrawPrincipal
    ├── not the owner ........................ reverts
    ├── no principal, or 0 asked ............. reverts
    ├── less than minAssetsOut ............... reverts
    ├── the vault pays
    │   ├── all, or more than there is ....... the principal
    │   └── a part ........................... that part
    ├── the vault is short of liquidity ...... what there is; the rest stays principal
    ├── the vault has lost value ............. the own shares' worth; the rest is a final loss
    ├── the vault's views fail ............... redeems the own shares
    ├── maxWithdraw answers 0 ................ asked first, so it pays
    ├── the vault burns too many shares ...... reverts
    └── the vault refuses everything ......... reverts, exitInKind remains
"""

import ape

from tests.contract.world import CENT, USDC, World, returned


def withdraw(world: World, token_id: int, *arguments: int) -> int:
    return returned(world.adapter.withdrawPrincipal(token_id, *arguments, sender=world.owner))


def test_withdraw_principal__all__principal_back_yield_stays(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    receipt = world.adapter.withdrawPrincipal(token_id, sender=world.owner)
    booked = world.booked(token_id)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    assert event.event_arguments == {
        "tokenId": token_id,
        "owner": world.owner.address,
        "assets": 100 * USDC,
        "sharesBurned": 100 * USDC - booked.shares,
        "principalAfter": 0,
        "sharesAfter": booked.shares,
        "loss": 0,
    }
    assert world.balance(world.owner) == 100 * USDC
    assert world.balance(world.adapter) == 0
    assert 10 * USDC - 2 <= world.adapter.pendingYield(token_id) <= 10 * USDC
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert credited >= 10 * USDC - 2
    assert world.booked(token_id).shares == 0


def test_withdraw_principal__part__that_part(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    assert withdraw(world, token_id, 30 * USDC) == 30 * USDC
    assert world.booked(token_id)[1:3] == (70 * USDC, 70 * USDC)
    assert withdraw(world, token_id, 71 * USDC) == 70 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)


def test_withdraw_principal__right_after_deposit_into_a_vault_that_earned__two_units_at_most(
    world: World,
) -> None:
    world.create_with_deposit(33 * USDC, owner=world.second_owner)
    world.vault.push(1_234_567, sender=world.outsider)
    token_id = world.create_with_deposit(100 * USDC)
    other_shares = world.booked(0).shares
    assert 100 * USDC - 2 <= withdraw(world, token_id) <= 100 * USDC
    assert world.vault.balanceOf(world.adapter) >= other_shares
    assert world.booked(token_id).principal == 0


def test_withdraw_principal__short_of_liquidity__come_again(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setLiquidity(40 * USDC, sender=world.outsider)
    assert withdraw(world, token_id) == 40 * USDC
    assert world.booked(token_id)[1:3] == (60 * USDC, 60 * USDC)
    world.vault.setLiquidity(0, sender=world.outsider)
    with ape.reverts("adapter: refused, name less"):
        withdraw(world, token_id)
    world.vault.setLiquidity(60 * USDC, sender=world.outsider)
    assert withdraw(world, token_id) == 60 * USDC


def test_withdraw_principal__below_minimum__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setLiquidity(40 * USDC, sender=world.outsider)
    with ape.reverts("adapter: too little paid"):
        withdraw(world, token_id, 100 * USDC, 40 * USDC + 1)
    assert withdraw(world, token_id, 100 * USDC, 40 * USDC) == 40 * USDC


def test_withdraw_principal__value_lost__own_worth_and_final_loss(world: World) -> None:
    world.create_with_deposit(100 * USDC, owner=world.second_owner)
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.realiseLoss(50 * USDC, sender=world.outsider)
    assert 75 * USDC - 1 <= world.adapter.principalValue(token_id) <= 75 * USDC
    receipt = world.adapter.withdrawPrincipal(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    assert 75 * USDC - 1 <= event.assets <= 75 * USDC
    assert (event.principalAfter, event.sharesAfter) == (0, 0)
    assert event.loss == 100 * USDC - event.assets
    assert world.vault.balanceOf(world.adapter) == world.booked(0).shares == 100 * USDC


def test_withdraw_principal__value_lost_part_asked__no_loss_yet(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.realiseLoss(50 * USDC, sender=world.outsider)
    assert withdraw(world, token_id, 10 * USDC) == 10 * USDC
    assert world.booked(token_id).principal == 90 * USDC
    assert 40 * USDC - 2 <= withdraw(world, token_id) <= 40 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)


def test_withdraw_principal__exit_fee__shares_suffice_for_the_net(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setFees(0, 100, sender=world.outsider)
    receipt = world.adapter.withdrawPrincipal(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    assert (event.assets, event.loss, event.sharesAfter) == (99 * USDC, USDC, 0)


def test_withdraw_principal__max_views_answer_zero__asked_first(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setMisbehaviour(world.misbehaviour("ANSWERS_ZERO_MAX"), sender=world.admin)
    assert withdraw(world, token_id) == 100 * USDC


def test_withdraw_principal__views_fail__redeems_own_shares(world: World) -> None:
    world.create_with_deposit(100 * USDC, owner=world.second_owner)
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setMisbehaviour(world.misbehaviour("REVERTS_VIEWS"), sender=world.admin)
    assert withdraw(world, token_id, 25 * USDC) == 25 * USDC
    assert withdraw(world, token_id) == 75 * USDC
    assert world.vault.balanceOf(world.adapter) == 100 * USDC


def test_withdraw_principal__burns_double__reverts_before_others_are_hurt(world: World) -> None:
    world.create_with_deposit(100 * USDC, owner=world.second_owner)
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setMisbehaviour(world.misbehaviour("BURNS_DOUBLE"), sender=world.admin)
    with ape.reverts("adapter: burned too many shares"):
        withdraw(world, token_id)


def test_withdraw_principal__refused_altogether__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.setMisbehaviour(world.misbehaviour("REVERTS_EXITS"), sender=world.admin)
    with ape.reverts("adapter: refused, name less"):
        withdraw(world, token_id)
    assert world.booked(token_id).principal == 100 * USDC


def test_withdraw_principal__nothing_left_of_value__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.realiseLoss(100 * USDC, sender=world.outsider)
    with ape.reverts("adapter: vault paid nothing"):
        withdraw(world, token_id)


def test_withdraw_principal__none_or_zero__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: no principal"):
        withdraw(world, token_id)
    world.deposit(token_id, CENT)
    with ape.reverts("adapter: no principal"):
        withdraw(world, token_id, 0)


def test_withdraw_principal__not_owner__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    with ape.reverts("adapter: not owner"):
        world.adapter.withdrawPrincipal(token_id, sender=world.outsider)


def test_withdraw_principal__spent_on_inference__principal_untouched(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.credit(token_id, 5 * USDC)
    world.hold(token_id, 5 * USDC)
    world.settle((token_id, 5 * USDC))
    assert withdraw(world, token_id) == 100 * USDC
