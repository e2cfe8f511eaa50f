"""The life of positions on the ERC-4626 vaults that people deploy, over Circle's USDC.

::

    each vault
    ├── the whole life ................. principal and yield come back, less rounding (A4)
    ├── out right after the deposit .... never with a neighbour's shares
    ├── a loss ......................... is the position's own part, and final
    ├── exit in kind ................... the shares are worth principal and yield
    ├── strangers harvest and donate ... nobody loses by it (A5)
    └── inflation of an empty vault .... refused by `minSharesOut`, or no shares at all
"""

from __future__ import annotations

from dataclasses import dataclass

import ape
import pytest
from ape.contracts import ContractInstance
from ape.exceptions import VirtualMachineError

from bench.peers import Peers, load_peers
from tests.contract.third_party import VAULTS, RealWorld, deploy_real_world
from tests.contract.world import CENT, USDC, World, returned

ROUNDING = 2  # units of USDC an operation


@dataclass(frozen=True)
class Scene:
    """A vault that has earned, and two positions on it."""

    world: RealWorld
    vault: ContractInstance
    own: int
    neighbour: int

    def value(self, token_id: int) -> int:
        """What a position's shares are worth in the vault."""
        return int(self.vault.previewRedeem(self.world.booked(token_id).shares))

    def earn(self, amount: int) -> None:
        """Have the vault earn."""
        self.world.fund(self.vault, amount)

    def lose(self, amount: int) -> None:
        """Have the vault lose."""
        thief = ape.accounts[self.vault.address]
        thief.balance = 10**18
        self.world.usdc.transfer(self.world.payee, amount, sender=thief)

    def check(self) -> None:
        """Hold A1 and A2, and that no approval is left."""
        world = self.world
        booked = [world.booked(token_id).shares for token_id in (self.own, self.neighbour)]
        assert sum(booked) == self.vault.balanceOf(world.adapter), "A1"
        assert world.balance(world.adapter) == 0, "A2"
        assert world.usdc.allowance(world.adapter, self.vault) == 0
        assert world.balance(world.position) >= world.position.liabilities(), "P1"


@pytest.fixture(scope="module")
def peers() -> Peers:
    return load_peers()


@pytest.fixture(scope="module")
def real(deployed: World, peers: Peers) -> RealWorld:
    return deploy_real_world(deployed, peers)


@pytest.fixture(params=VAULTS)
def empty(request: pytest.FixtureRequest, real: RealWorld, peers: Peers) -> ContractInstance:
    """Return a vault that nobody has used."""
    return real.deploy_vault_of(request.param, peers)


@pytest.fixture
def scene(real: RealWorld, empty: ContractInstance) -> Scene:
    # Somebody has saved and earned there before, so that a share costs an uneven amount.
    saver = real.second_payee
    real.fund(saver, 777_777_777)
    real.usdc.approve(empty, 777_777_777, sender=saver)
    empty.deposit(777_777_777, saver, sender=saver)
    real.fund(empty, 123_456_789)
    neighbour = real.create_with_deposit(500 * USDC, vault=empty, owner=real.second_owner)
    own = real.create_with_deposit(1_000 * USDC, vault=empty)
    return Scene(real, empty, own, neighbour)


@pytest.mark.sampled(5, first=0)
def test_position__whole_life__returns_principal_and_yield(scene: Scene) -> None:
    world, adapter, owner = scene.world, scene.world.adapter, scene.world.owner
    world.deposit(scene.own, 250_500_001)
    principal = 1_250_500_001
    assert world.booked(scene.own).principal == principal
    scene.check()
    others = scene.value(scene.neighbour)

    scene.earn(200 * USDC)
    earned = scene.value(scene.own) - principal
    assert earned > 50 * USDC
    credited = returned(adapter.harvest(scene.own, sender=world.outsider))
    assert earned - 3 * ROUNDING <= credited <= earned
    assert world.account(scene.own).credited == credited
    needed = scene.vault.previewWithdraw(principal)
    assert needed <= world.booked(scene.own).shares, "A3"
    assert returned(adapter.harvest(scene.own, sender=world.outsider)) == 0
    scene.check()

    before = world.balance(owner)
    part = returned(adapter.withdrawPrincipal(scene.own, 300 * USDC, sender=owner))
    assert part == 300 * USDC
    assert world.booked(scene.own).principal == principal - part
    rest = returned(adapter.withdrawPrincipal(scene.own, sender=owner))
    assert principal - 2 * ROUNDING <= part + rest <= principal
    assert world.balance(owner) - before == part + rest
    unspent = returned(world.position.withdrawUnspentYield(scene.own, sender=owner))
    assert unspent == credited
    scene.check()
    assert scene.value(scene.neighbour) >= others


@pytest.mark.sampled(5, first=1)
def test_withdraw_all__right_after_deposit__own_shares_only(scene: Scene) -> None:
    world = scene.world
    booked, others = world.booked(scene.own), scene.value(scene.neighbour)
    # Rounding: the vault wants more than it has just given.
    assert scene.vault.previewWithdraw(booked.principal) > booked.shares
    paid = returned(world.adapter.withdrawPrincipal(scene.own, sender=world.owner))
    assert booked.principal - ROUNDING <= paid <= booked.principal
    assert world.booked(scene.own)[1:3] == (0, 0)
    scene.check()
    assert scene.value(scene.neighbour) >= others


@pytest.mark.sampled(5, first=2)
def test_position__loss__own_part_and_final(scene: Scene) -> None:
    world = scene.world
    scene.lose(world.balance(scene.vault) * 2 // 5)
    own, others = scene.value(scene.own), scene.value(scene.neighbour)
    assert 590 * USDC < own < 610 * USDC
    assert world.adapter.principalValue(scene.own) == own
    assert returned(world.adapter.harvest(scene.own, sender=world.outsider)) == 0

    receipt = world.adapter.withdrawPrincipal(scene.own, 100 * USDC, sender=world.owner)
    part = returned(receipt)
    assert part == 100 * USDC
    assert world.booked(scene.own).principal == 900 * USDC

    receipt = world.adapter.withdrawPrincipal(scene.own, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    assert own - 2 * ROUNDING <= part + event.assets <= own
    assert event.loss == 900 * USDC - event.assets
    assert world.booked(scene.own)[1:3] == (0, 0)
    scene.check()
    assert scene.value(scene.neighbour) >= others


@pytest.mark.sampled(5, first=3)
def test_exit_in_kind__after_earnings__shares_worth_principal_and_yield(scene: Scene) -> None:
    world, owner = scene.world, scene.world.owner
    scene.earn(200 * USDC)
    worth, others = scene.value(scene.own), scene.value(scene.neighbour)
    shares = returned(world.adapter.exitInKind(scene.own, sender=owner))
    assert scene.vault.balanceOf(owner) == shares
    scene.check()
    before = world.balance(owner)
    scene.vault.redeem(shares, owner, owner, sender=owner)
    assert world.balance(owner) - before == worth > 1_050 * USDC
    assert scene.value(scene.neighbour) >= others


@pytest.mark.sampled(5, first=4)
def test_positions__strangers_harvest_and_donate__nobody_loses(scene: Scene) -> None:
    world, outsider = scene.world, scene.world.outsider
    credited = 0
    for amount in (CENT, 3 * USDC, 40 * USDC):
        scene.earn(amount)
        for token_id in (scene.own, scene.neighbour):
            receipt = world.adapter.harvest(token_id, sender=outsider)
            credited += returned(receipt) if token_id == scene.own else 0
    assert credited > 15 * USDC
    scene.check()
    for token_id, owner, principal in [
        (scene.own, world.owner, 1_000 * USDC),
        (scene.neighbour, world.second_owner, 500 * USDC),
    ]:
        paid = returned(world.adapter.withdrawPrincipal(token_id, sender=owner))
        assert principal - 4 * ROUNDING <= paid <= principal
    assert world.account(scene.own).credited == credited
    scene.check()


def inflate(world: RealWorld, vault: ContractInstance, donation: int) -> int:
    """Buy the smallest share and donate; return what it cost."""
    attacker = world.outsider
    world.fund(attacker, donation + 1)
    world.usdc.approve(vault, 1, sender=attacker)
    vault.deposit(1, attacker, sender=attacker)
    world.usdc.transfer(vault, donation, sender=attacker)
    return donation + 1


def test_deposit__inflated_after_quote__refused_by_floor(
    real: RealWorld, empty: ContractInstance
) -> None:
    token_id, victim = real.create(vault=empty), real.owner
    quoted = empty.previewDeposit(15_000 * USDC)
    inflate(real, empty, 10_000 * USDC)
    before = real.balance(victim)
    with ape.reverts("adapter: too few shares"):
        real.deposit(token_id, 15_000 * USDC, min_shares=quoted)
    assert real.booked(token_id)[1:3] == (0, 0)
    assert real.balance(victim) == before + 15_000 * USDC


def test_deposit__inflated_and_no_floor__attacker_gains_nothing(
    real: RealWorld, empty: ContractInstance
) -> None:
    token_id, attacker = real.create(vault=empty), real.outsider
    spent = inflate(real, empty, 40_000 * USDC)
    try:
        real.deposit(token_id, 15_000 * USDC)
    except VirtualMachineError as refusal:
        assert str(refusal) in ("adapter: no shares minted", "ZERO_SHARES")
        assert real.booked(token_id)[1:3] == (0, 0)
    else:
        # Only a vault that defends itself; what is lost to rounding is less than three cents.
        assert int(empty.previewRedeem(real.booked(token_id).shares)) > 15_000 * USDC - 3 * CENT
    before = real.balance(attacker)
    empty.redeem(empty.balanceOf(attacker), attacker, attacker, sender=attacker)
    assert real.balance(attacker) - before <= spent
