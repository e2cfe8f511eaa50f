"""Circle's USDC (FiatTokenV2_2 behind its proxy) under our contracts, where the mock stood in.

::

    deposits by signature ...... EIP-2612 and EIP-3009, good once
    paused ..................... nothing moves, keys still die, everything resumes
    blacklisted
    ├── an owner ............... keeps all, exits in kind, is paid once free again
    ├── the vault .............. traps only its positions, and only for that time
    └── a payee ................ is credited, and claims elsewhere
"""

from __future__ import annotations

import ape
import pytest
from ape.contracts import ContractInstance

from bench.peers import load_peers
from tests.contract.test_signatures import (
    AMOUNT,
    SALT,
    deposit_nonce,
    sign_authorization,
    sign_permit,
)
from tests.contract.third_party import RealWorld, deploy_real_world
from tests.contract.world import ALL, USDC, World, batch_bytes, returned

PAUSED = "Pausable: paused"
BLACKLISTED = "Blacklistable: account is blacklisted"


@pytest.fixture(scope="module")
def real(deployed: World) -> RealWorld:
    return deploy_real_world(deployed, load_peers())


@pytest.fixture
def token_id(real: RealWorld) -> int:
    """Return a position with principal and credit; its owner has USDC and has approved nothing."""
    token_id = real.create_with_deposit(1_000 * USDC)
    real.fund(real.vault, 50 * USDC)
    real.adapter.harvest(token_id, sender=real.outsider)
    real.fund(real.owner, 2 * AMOUNT)
    return token_id


def test_deposit_with_permit__signed__deposited(real: RealWorld, token_id: int) -> None:
    signature = sign_permit(real)
    real.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=real.owner)
    assert real.booked(token_id).principal == 1_000 * USDC + AMOUNT
    assert real.usdc.allowance(real.owner, real.adapter) == 0


def test_deposit_with_permit__front_run__deposited_all_the_same(
    real: RealWorld, token_id: int
) -> None:
    signature = sign_permit(real)
    real.usdc.permit(real.owner, real.adapter, AMOUNT, ALL, *signature, sender=real.outsider)
    real.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=real.owner)
    assert real.booked(token_id).principal == 1_000 * USDC + AMOUNT


def test_deposit_with_permit__wrong_signer__reverts(real: RealWorld, token_id: int) -> None:
    signature = sign_permit(real, signer=real.outsider)
    with ape.reverts("adapter: permit refused"):
        real.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=real.owner)


def test_deposit_with_authorization__signed__deposited_once(real: RealWorld, token_id: int) -> None:
    signature = sign_authorization(real, deposit_nonce(real, token_id, 1))
    call = (token_id, AMOUNT, 1, 0, ALL, SALT, *signature)
    # Whoever sends it: the owner needs no ether.
    real.adapter.depositWithAuthorization(*call, sender=real.outsider)
    assert real.booked(token_id).principal == 1_000 * USDC + AMOUNT
    with ape.reverts("FiatTokenV2: authorization is used or canceled"):
        real.adapter.depositWithAuthorization(*call, sender=real.owner)


def test_deposit_with_authorization__another_position_or_payee__reverts(
    real: RealWorld, token_id: int
) -> None:
    other = real.create()
    nonce = deposit_nonce(real, token_id, 1)
    signature = sign_authorization(real, nonce)
    with ape.reverts("FiatTokenV2: invalid signature"):
        real.adapter.depositWithAuthorization(
            other, AMOUNT, 1, 0, ALL, SALT, *signature, sender=real.owner
        )
    with ape.reverts("FiatTokenV2: caller must be the payee"):
        real.usdc.receiveWithAuthorization(
            real.owner, real.adapter, AMOUNT, 0, ALL, nonce, *signature, sender=real.outsider
        )


def test_paused__nothing_moves__everything_resumes(real: RealWorld, token_id: int) -> None:
    adapter, position, owner = real.adapter, real.position, real.owner
    real.usdc.approve(adapter, AMOUNT, sender=owner)
    real.hold(token_id, 10 * USDC)
    real.fund(real.vault, 50 * USDC)
    before = (real.booked(token_id), real.account(token_id), real.balance(owner))
    real.usdc.pause(sender=real.admin)
    for call, arguments in [
        (adapter.deposit, (token_id, AMOUNT, 0)),
        (adapter.harvest, (token_id,)),
        (position.withdrawUnspentYield, (token_id,)),
    ]:
        with ape.reverts(PAUSED):
            call(*arguments, sender=owner)
    with ape.reverts("adapter: refused, name less"):
        adapter.withdrawPrincipal(token_id, sender=owner)
    assert (real.booked(token_id), real.account(token_id), real.balance(owner)) == before
    # What moves no USDC goes on.
    real.settle((token_id, USDC))
    position.bumpKeyEpoch(token_id, sender=owner)
    with ape.reverts(PAUSED):
        position.sweep(sender=real.outsider)

    real.usdc.unpause(sender=real.admin)
    assert returned(position.sweep(sender=real.outsider)) == USDC
    assert returned(adapter.harvest(token_id, sender=real.outsider)) >= 49 * USDC
    adapter.deposit(token_id, AMOUNT, 0, sender=owner)
    paid = returned(adapter.withdrawPrincipal(token_id, sender=owner))
    assert paid >= 1_000 * USDC + AMOUNT - 2


def test_blacklisted__owner__loses_nothing(real: RealWorld, token_id: int) -> None:
    adapter, position, owner = real.adapter, real.position, real.owner
    before = (real.booked(token_id), real.account(token_id))
    real.usdc.blacklist(owner, sender=real.admin)
    for call in (adapter.withdrawPrincipal, position.withdrawUnspentYield):
        with ape.reverts(BLACKLISTED):
            call(token_id, sender=owner)
    assert (real.booked(token_id), real.account(token_id)) == before
    # The allowance still serves, and the shares are not USDC.
    real.hold(token_id, USDC)
    real.settle((token_id, USDC))
    shares = returned(adapter.exitInKind(token_id, sender=owner))
    assert real.vault.balanceOf(owner) == shares == before[0].shares

    real.usdc.unBlacklist(owner, sender=real.admin)
    unspent = returned(position.withdrawUnspentYield(token_id, sender=owner))
    assert unspent == before[1].credited - USDC


def test_blacklisted__vault__traps_only_its_positions(real: RealWorld, token_id: int) -> None:
    adapter = real.adapter
    other_vault = real.deploy_vault_of("solady", load_peers())
    other = real.create_with_deposit(100 * USDC, vault=other_vault, owner=real.second_owner)
    real.usdc.blacklist(real.vault, sender=real.admin)
    with ape.reverts("adapter: refused, name less"):
        adapter.withdrawPrincipal(token_id, sender=real.owner)
    paid = returned(adapter.withdrawPrincipal(other, sender=real.second_owner))
    assert paid >= 100 * USDC - 2

    real.usdc.unBlacklist(real.vault, sender=real.admin)
    paid = returned(adapter.withdrawPrincipal(token_id, sender=real.owner))
    assert paid >= 1_000 * USDC - 2


def test_blacklisted__payee__credited_and_claims_elsewhere(real: RealWorld) -> None:
    payouts: ContractInstance = real.payouts
    real.fund(payouts, 10 * USDC)
    real.usdc.blacklist(real.payee, sender=real.admin)
    payees = [real.payee, real.second_payee]
    payouts.pay(batch_bytes(1), payees, [3 * USDC, 4 * USDC], sender=real.payer)
    assert real.balance(real.second_payee) == 4 * USDC
    assert payouts.available() == 3 * USDC
    payouts.claim(real.outsider, sender=real.payee)
    assert real.balance(real.outsider) == 3 * USDC
