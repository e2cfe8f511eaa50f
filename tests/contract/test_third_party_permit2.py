"""Permit2, with the code that lies on every chain: of use to owners, of no harm to positions.

::

    a signature for Permit2
    ├── a Safe pulls and deposits ........ one transaction, into the Safe's own position
    ├── an owner's helper pulls .......... and the owner deposits
    └── used twice, or by another ........ refused
    a standing allowance
    ├── of the owner, to anybody ......... reaches the owner's USDC, no position's
    ├── of adapter and position .......... there is none
    └── over the token ................... a position cannot move
"""

from __future__ import annotations

from typing import Any

import ape
import pytest
from ape.contracts import ContractInstance
from eth_utils.crypto import keccak

from bench.peers import Peers, load_peers
from tests.contract.third_party import (
    PERMIT2,
    Call,
    RealWorld,
    SafeFactory,
    deploy_permit2,
    deploy_real_world,
    sign,
    typed_data,
)
from tests.contract.world import ALL, NO_SMOOTHING, USDC, World, returned

AMOUNT = 500 * USDC
MAX_AMOUNT = 2**160 - 1
FOREVER = 2**48 - 1
PERMIT_TRANSFER = {
    "PermitTransferFrom": [
        ("permitted", "TokenPermissions"),
        ("spender", "address"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
    ],
    "TokenPermissions": [("token", "address"), ("amount", "uint256")],
}


@pytest.fixture(scope="module")
def peers() -> Peers:
    return load_peers()


@pytest.fixture(scope="module")
def real(deployed: World, peers: Peers) -> RealWorld:
    return deploy_real_world(deployed, peers)


@pytest.fixture(scope="module")
def permit2(real: RealWorld, peers: Peers) -> ContractInstance:
    """Return Permit2, which both owners have approved for all their USDC, as its users do."""
    permit2 = deploy_permit2(peers)
    for owner in (real.owner, real.second_owner):
        real.fund(owner, 2 * AMOUNT)
        real.usdc.approve(permit2, ALL, sender=owner)
    return permit2


def selector(error: str) -> str:
    """Return how Ape shows an error that is in no interface."""
    return "0x" + keccak(text=error)[:4].hex()


def pull(real: RealWorld, owner: Any, spender: str, *, nonce: int = 0) -> tuple[Any, ...]:
    """Return the arguments by which ``spender`` may take ``AMOUNT`` of the owner's USDC, once."""
    permitted = {"token": real.usdc.address, "amount": AMOUNT}
    terms = {"nonce": nonce, "deadline": FOREVER}
    domain = {"name": "Permit2", "chainId": ape.chain.chain_id, "verifyingContract": PERMIT2}
    message = {"permitted": permitted, "spender": spender, **terms}
    signature = sign(owner, typed_data(domain, PERMIT_TRANSFER, message))
    permit = ((real.usdc.address, AMOUNT), nonce, FOREVER)
    return permit, (spender, AMOUNT), owner.address, signature


def test_signature__safe_pulls__into_its_own_position(
    real: RealWorld, permit2: ContractInstance, peers: Peers
) -> None:
    factory = SafeFactory.deploy(peers)
    safe = factory.make([real.owner, real.second_owner, real.payee], 0, real.outsider)
    token_id = int(real.position.totalSupply())
    permit = pull(real, real.owner, safe.address)
    terms = (1, NO_SMOOTHING, real.vault, 60, AMOUNT, AMOUNT)
    before = real.balance(real.owner)
    safe.send_all(
        [
            Call(permit2.address, permit2.permitTransferFrom.encode_input(*permit)),
            Call(real.usdc.address, real.usdc.approve.encode_input(real.adapter, AMOUNT)),
            Call(real.adapter.address, real.adapter.open.encode_input(*terms)),
        ]
    )
    assert before - real.balance(real.owner) == AMOUNT
    assert real.position.ownerOf(token_id) == safe.address
    assert real.booked(token_id).principal == AMOUNT
    # The one who paid signed for the USDC only.
    with ape.reverts("adapter: not owner"):
        real.adapter.withdrawPrincipal(token_id, sender=real.owner)


def test_signature__from_another_wallet__owner_deposits(
    real: RealWorld, permit2: ContractInstance
) -> None:
    token_id = real.create(real.owner)
    permit = pull(real, real.second_owner, real.owner.address)
    before = real.balance(real.owner)
    permit2.permitTransferFrom(*permit, sender=real.owner)
    real.usdc.approve(real.adapter, AMOUNT, sender=real.owner)
    real.adapter.deposit(token_id, AMOUNT, AMOUNT, sender=real.owner)
    assert real.booked(token_id).principal == AMOUNT
    assert real.balance(real.owner) == before
    with ape.reverts(selector("InvalidNonce()")):
        permit2.permitTransferFrom(*permit, sender=real.owner)


def test_signature__another_spender__refused(real: RealWorld, permit2: ContractInstance) -> None:
    permit, (_, amount), owner, signature = pull(real, real.owner, real.adapter.address)
    before = real.balance(real.owner)
    with ape.reverts(selector("InvalidSigner()")):
        permit2.permitTransferFrom(
            permit, (real.outsider.address, amount), owner, signature, sender=real.outsider
        )
    assert real.balance(real.owner) == before


def test_allowance__from_owner_to_anybody__reaches_no_position(
    real: RealWorld, permit2: ContractInstance
) -> None:
    outsider = real.outsider
    token_id = real.create_with_deposit(AMOUNT)
    real.fund(real.vault, 50 * USDC)
    real.adapter.harvest(token_id, sender=outsider)
    booked, account = real.booked(token_id), real.account(token_id)
    assert account.credited > 49 * USDC
    for spender in (outsider, real.adapter, real.position, real.vault):
        for token in (real.usdc, real.vault, real.position):
            permit2.approve(token, spender, MAX_AMOUNT, FOREVER, sender=real.owner)

    for holder in (real.adapter, real.position, real.payouts, real.vault):
        for token in (real.usdc, real.vault):
            assert token.allowance(holder, permit2) == 0
            assert permit2.allowance(holder, token, outsider)[0] == 0
            with ape.reverts(permit2.AllowanceExpired):
                permit2.transferFrom(holder, outsider, 1, token, sender=outsider)
    # It cannot be turned into a deposit or a withdrawal either.
    for call, arguments in [
        (real.adapter.deposit, (token_id, AMOUNT, 0)),
        (real.adapter.withdrawPrincipal, (token_id,)),
        (real.adapter.exitInKind, (token_id,)),
    ]:
        with ape.reverts("adapter: not owner"):
            call(*arguments, sender=outsider)
    with ape.reverts("position: not owner"):
        real.position.withdrawUnspentYield(token_id, sender=outsider)
    assert (real.booked(token_id), real.account(token_id)) == (booked, account)

    # What it does reach is the owner's own USDC.
    before = real.balance(outsider)
    permit2.transferFrom(real.owner, outsider, USDC, real.usdc, sender=outsider)
    assert real.balance(outsider) - before == USDC


def test_allowance__over_the_token__position_does_not_move(
    real: RealWorld, permit2: ContractInstance
) -> None:
    token_id = real.create_with_deposit(AMOUNT)
    outsider = real.outsider
    for operator in (permit2.address, outsider.address):
        with ape.reverts("position: soulbound"):
            real.position.approve(operator, token_id, sender=real.owner)
        with ape.reverts("position: soulbound"):
            real.position.setApprovalForAll(operator, True, sender=real.owner)
    # Permit2 takes any contract for a token, and calls `transferFrom` with the id as an amount.
    permit2.approve(real.position, outsider, MAX_AMOUNT, FOREVER, sender=real.owner)
    with ape.reverts("TRANSFER_FROM_FAILED"):
        permit2.transferFrom(real.owner, outsider, token_id, real.position, sender=outsider)
    assert real.position.ownerOf(token_id) == real.owner.address


def test_exit_in_kind__shares_through_permit2__once_they_are_the_owners(
    real: RealWorld, permit2: ContractInstance
) -> None:
    token_id = real.create_with_deposit(AMOUNT)
    neighbour = real.create_with_deposit(AMOUNT, owner=real.second_owner)
    real.vault.approve(permit2, ALL, sender=real.owner)
    permit2.approve(real.vault, real.outsider, MAX_AMOUNT, FOREVER, sender=real.owner)
    with ape.reverts("TRANSFER_FROM_FAILED"):
        permit2.transferFrom(real.owner, real.outsider, 1, real.vault, sender=real.outsider)
    shares = returned(real.adapter.exitInKind(token_id, sender=real.owner))
    permit2.transferFrom(real.owner, real.outsider, shares, real.vault, sender=real.outsider)
    assert real.vault.balanceOf(real.outsider) == shares
    assert real.vault.balanceOf(real.adapter) == real.booked(neighbour).shares
