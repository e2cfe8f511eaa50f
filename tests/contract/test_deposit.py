"""``LendingYieldAdapter.deposit``

::

    deposit
    ├── not the owner ................... reverts
    ├── amount 0, or beyond 63 bits ..... reverts
    ├── no shares, or below the floor ... reverts
    ├── the vault takes a part .......... the rest goes back, the approval to 0
    └── the vault takes all ............. principal is the USDC, shares what was minted
"""

import ape

from tests.contract.world import USDC, World, returned


def test_deposit__first__booked(world: World) -> None:
    token_id = world.create()
    receipt = world.deposit(token_id, 100 * USDC)
    (event,) = receipt.decode_logs(world.adapter.Deposited)
    assert event.event_arguments == {
        "tokenId": token_id,
        "owner": world.owner.address,
        "assets": 100 * USDC,
        "shares": 100 * USDC,
        "principalAfter": 100 * USDC,
        "sharesAfter": 100 * USDC,
    }
    assert returned(receipt) == 100 * USDC
    assert world.vault.balanceOf(world.adapter) == 100 * USDC
    assert world.balance(world.adapter) == 0
    assert world.usdc.allowance(world.adapter, world.vault) == 0


def test_deposit__after_yield__principal_is_cost_basis(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    world.vault.push(10 * USDC, sender=world.outsider)
    world.deposit(token_id, 100 * USDC)
    booked = world.booked(token_id)
    assert booked.principal == 200 * USDC
    assert booked.shares == world.vault.balanceOf(world.adapter) < 200 * USDC
    assert world.adapter.principalValue(token_id) == 200 * USDC


def test_deposit__below_floor__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: too few shares"):
        world.deposit(token_id, USDC, min_shares=USDC + 1)


def test_deposit__no_shares__reverts_even_without_floor(world: World) -> None:
    token_id = world.create()
    world.vault.setMisbehaviour(world.misbehaviour("MINTS_NOTHING"), sender=world.admin)
    with ape.reverts("adapter: no shares minted"):
        world.deposit(token_id, USDC)


def test_deposit__inflated_price__floor_protects(world: World) -> None:
    token_id = world.create()
    world.fund(world.outsider, 1)
    world.usdc.approve(world.vault, 1, sender=world.outsider)
    world.vault.deposit(1, world.outsider, sender=world.outsider)
    world.fund(world.vault, 10 * USDC)
    with ape.reverts("adapter: too few shares"):
        world.deposit(token_id, 15 * USDC, min_shares=14 * USDC)


def test_deposit__vault_takes_half__rest_returned(world: World) -> None:
    token_id = world.create()
    world.vault.setMisbehaviour(world.misbehaviour("TAKES_HALF"), sender=world.admin)
    world.deposit(token_id, 10 * USDC)
    assert world.booked(token_id)[1:3] == (5 * USDC, 5 * USDC)
    assert world.balance(world.owner) == 5 * USDC
    assert world.balance(world.adapter) == 0
    assert world.usdc.allowance(world.adapter, world.vault) == 0


def test_deposit__strangers_usdc_in_adapter__counts_for_nobody(world: World) -> None:
    token_id = world.create()
    world.fund(world.adapter, 3 * USDC)
    world.deposit(token_id, 10 * USDC)
    assert world.booked(token_id).principal == 10 * USDC
    assert world.balance(world.adapter) == 3 * USDC


def test_deposit__nothing__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: nothing to deposit"):
        world.adapter.deposit(token_id, 0, 0, sender=world.owner)


def test_deposit__beyond_63_bits__reverts(world: World) -> None:
    token_id = world.create_with_deposit(USDC)
    with ape.reverts("adapter: amount too large"):
        world.deposit(token_id, 2**63 - USDC)
    world.deposit(token_id, 2**63 - 1 - USDC)
    assert world.booked(token_id).principal == 2**63 - 1


def test_deposit__not_approved__reverts(world: World) -> None:
    token_id = world.create()
    world.fund(world.owner, USDC)
    with ape.reverts("erc20: insufficient allowance"):
        world.adapter.deposit(token_id, USDC, 0, sender=world.owner)


def test_deposit__not_owner__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: not owner"):
        world.deposit(token_id, USDC, owner=world.outsider)


def test_deposit__unknown_position__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        world.deposit(0, USDC)
