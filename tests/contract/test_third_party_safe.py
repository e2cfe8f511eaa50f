"""A Safe as owner, as admin and as signer of keys; everything signed by its owners for real.

::

    a Safe of three, two sign
    ├── as owner
    │   ├── call by call .......... opens, deposits, withdraws, asks, revokes, exits in kind
    │   ├── in one transaction .... opens and deposits through MultiSend
    │   ├── too few signatures .... nothing happens
    │   └── its members alone ..... are not the owner
    ├── as admin .................. takes over in two steps, appoints, hands on
    └── as signer of a key (ERC-1271, ERC-6492)
        ├── deployed .............. two members in the Safe's wrapping, nobody else, no other text
        ├── a member leaves ....... no longer counts
        └── not deployed yet ...... with its factory's call, and stays undeployed
"""

from __future__ import annotations

from collections.abc import Sequence

import ape
import pytest
from ape.api import TestAccountAPI
from ape.contracts import ContractInstance
from eth_abi.abi import encode
from eth_account.messages import defunct_hash_message, encode_defunct
from eth_typing import HexStr
from web3.exceptions import ContractLogicError

from bench.peers import Peers, load_peers
from contracts.chain import Web3Transport
from contracts.reader import ChainReader
from contracts.signature_checker import SignatureChecker
from contracts.signatures import ERC6492_SUFFIX
from proxy.keys.key_message import build_key_message
from tests.contract.third_party import (
    SAFES,
    Call,
    RealWorld,
    Safe,
    SafeFactory,
    deploy,
    deploy_real_world,
    sign,
)
from tests.contract.world import HOUR, NO_SMOOTHING, USDC, World, returned

TEXT = build_key_message(token_id=0, timestamp_ms=1_700_000_000_000)
OTHER_TEXT = build_key_message(token_id=1, timestamp_ms=1_700_000_000_000)


@pytest.fixture(scope="module")
def peers() -> Peers:
    return load_peers()


@pytest.fixture(scope="module")
def real(deployed: World, peers: Peers) -> RealWorld:
    return deploy_real_world(deployed, peers)


@pytest.fixture(scope="module")
def factory(real: RealWorld, peers: Peers) -> SafeFactory:  # noqa: ARG001 - after the world
    return SafeFactory.deploy(peers)


@pytest.fixture(scope="module")
def safe(real: RealWorld, factory: SafeFactory) -> Safe:
    return factory.make([real.owner, real.second_owner, real.payee], 0, real.outsider)


@pytest.fixture(params=SAFES)
def any_factory(request: pytest.FixtureRequest, real: RealWorld, peers: Peers) -> SafeFactory:  # noqa: ARG001
    """Return the factory of each version that people use."""
    return SafeFactory.deploy(peers, request.param)


@pytest.fixture
def any_safe(real: RealWorld, any_factory: SafeFactory) -> Safe:
    return any_factory.make([real.owner, real.second_owner, real.payee], 0, real.outsider)


def open_and_deposit(real: RealWorld, safe: Safe, assets: int) -> int:
    """Open a position call by call and return its token id."""
    real.fund(safe.contract, assets)
    token_id = int(real.position.totalSupply())
    safe.send(real.adapter, "createVault", 1, NO_SMOOTHING, real.vault.address, 60)
    safe.send(real.usdc, "approve", real.adapter.address, assets)
    safe.send(real.adapter, "deposit", token_id, assets, assets)
    return token_id


def test_owner__call_by_call__everything_an_owner_can(real: RealWorld, any_safe: Safe) -> None:
    adapter, position = real.adapter, real.position
    token_id = open_and_deposit(real, any_safe, 1_000 * USDC)
    assert position.ownerOf(token_id) == any_safe.address
    assert real.booked(token_id)[1:3] == (1_000 * USDC, 1_000 * USDC)

    any_safe.send(adapter, "setHarvestInterval", token_id, 90)
    assert real.booked(token_id).interval_minutes == 90

    real.fund(real.vault, 50 * USDC)
    credited = returned(adapter.harvest(token_id, sender=real.outsider))
    assert credited > 49 * USDC
    real.hold(token_id, 10 * USDC, expires_in=2 * HOUR)
    receipt = any_safe.send(position, "requestRelease", token_id)
    (event,) = receipt.decode_logs(position.ReleaseRequested)
    assert event.event_arguments == {"tokenId": token_id, "owner": any_safe.address}

    any_safe.send(position, "withdrawUnspentYield", token_id)
    assert real.balance(any_safe.contract) == credited - 10 * USDC

    any_safe.send(position, "bumpKeyEpoch", token_id)
    assert position.keyEpoch(token_id) == 1

    any_safe.send(adapter, "withdrawPrincipal", token_id, 400 * USDC, 400 * USDC)
    assert real.balance(any_safe.contract) == credited - 10 * USDC + 400 * USDC
    assert real.booked(token_id).principal == 600 * USDC

    shares = real.booked(token_id).shares
    any_safe.send(adapter, "exitInKind", token_id)
    assert real.booked(token_id)[1:3] == (0, 0)
    assert real.vault.balanceOf(any_safe.address) == shares
    any_safe.send(real.vault, "redeem", shares, any_safe.address, any_safe.address)
    assert 1_040 * USDC - 4 <= real.balance(any_safe.contract) <= 1_040 * USDC


def test_owner__one_transaction__opened_and_deposited(real: RealWorld, safe: Safe) -> None:
    real.fund(safe.contract, 1_000 * USDC)
    token_id = int(real.position.totalSupply())
    terms = (1, NO_SMOOTHING, real.vault, 60, 900 * USDC, 0)
    safe.send_all(
        [
            Call(real.usdc.address, real.usdc.approve.encode_input(real.adapter, 900 * USDC)),
            Call(real.adapter.address, real.adapter.open.encode_input(*terms)),
        ]
    )
    assert real.position.ownerOf(token_id) == safe.address
    assert real.booked(token_id).principal == 900 * USDC
    assert real.usdc.allowance(safe.address, real.adapter) == 0


def test_owner__too_few_or_foreign_signatures__nothing_happens(real: RealWorld, safe: Safe) -> None:
    token_id = open_and_deposit(real, safe, 100 * USDC)
    data = real.adapter.exitInKind.encode_input(token_id)
    first, second, _ = safe.owners
    # GS020 too short, GS026 not a member (or one twice).
    for signers, reason in [
        ([first], "GS020"),
        ([first, first], "GS026"),
        ([first, real.settler], "GS026"),
    ]:
        with ape.reverts(reason):
            safe.execute(real.adapter.address, data, signers=signers)
    assert real.booked(token_id).shares == 100 * USDC
    safe.execute(real.adapter.address, data, signers=[first, second])
    assert real.booked(token_id).shares == 0


def test_owner__a_member_alone__is_not_the_owner(real: RealWorld, safe: Safe) -> None:
    token_id = open_and_deposit(real, safe, 100 * USDC)
    member = safe.owners[0]
    with ape.reverts("adapter: not owner"):
        real.adapter.setHarvestInterval(token_id, 60, sender=member)
    for call in (real.adapter.withdrawPrincipal, real.adapter.exitInKind):
        with ape.reverts("adapter: not owner"):
            call(token_id, sender=member)
    position = real.position
    for call in (position.withdrawUnspentYield, position.bumpKeyEpoch, position.requestRelease):
        with ape.reverts("position: not owner"):
            call(token_id, sender=member)


def test_owner__token__moves_not_even_for_a_safe(real: RealWorld, safe: Safe) -> None:
    token_id = open_and_deposit(real, safe, USDC)
    to = real.outsider.address
    for method, arguments in [
        ("transferFrom", (safe.address, to, token_id)),
        ("safeTransferFrom", (safe.address, to, token_id)),
        ("approve", (to, token_id)),
        ("setApprovalForAll", (to, True)),
    ]:
        with ape.reverts("position: soulbound"):
            safe.send(real.position, method, *arguments)
    assert real.position.ownerOf(token_id) == safe.address


@pytest.mark.parametrize("name", ["position", "payouts"])
def test_admin__two_steps__safe_takes_over_and_hands_on(
    real: RealWorld, safe: Safe, name: str
) -> None:
    owned: ContractInstance = getattr(real, name)
    appoint, is_appointed = {
        "position": ("setSettler", "isSettler"),
        "payouts": ("setPayer", "isPayer"),
    }[name]
    owned.transferOwnership(safe.address, sender=real.admin)
    assert owned.owner() == real.admin.address
    safe.send(owned, "acceptOwnership")
    assert owned.owner() == safe.address

    safe.send(owned, appoint, real.outsider.address, True)
    assert getattr(owned, is_appointed)(real.outsider) is True
    with ape.reverts("owner: not owner"):
        getattr(owned, appoint)(real.outsider, False, sender=real.admin)

    safe.send(owned, "transferOwnership", real.admin.address)
    owned.acceptOwnership(sender=real.admin)
    assert owned.owner() == real.admin.address


# ------------------------------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def multicall(real: RealWorld, peers: Peers) -> ContractInstance:  # noqa: ARG001 - after the world
    return deploy(peers, "Multicall3", "Multicall3")


@pytest.fixture(scope="module")
def checker(multicall: ContractInstance) -> SignatureChecker:
    """Return the proxy's check, asking this chain."""
    return SignatureChecker(
        ChainReader(Web3Transport(ape.chain.provider.web3)), multicall3=str(multicall.address)
    )


def asked_by_viem(peers: Peers, owner: str, digest: bytes, signature: bytes) -> bool:
    """Return what viem's ERC-6492 validator says, run without being deployed."""
    code = peers.found["Multicall3"].codes["SignatureValidator"].bytecode
    question = encode(["address", "bytes32", "bytes"], [owner, digest, signature])
    try:
        answer = ape.chain.provider.web3.eth.call({"data": HexStr(code + question.hex())})
    except ContractLogicError:  # a wallet's own refusal, passed on
        return False
    return int.from_bytes(answer, "big") == 1


def digest_of(text: str) -> bytes:
    return bytes(defunct_hash_message(text=text))


def members(safe: Safe, *indexes: int) -> Sequence[TestAccountAPI]:
    return [safe.owners[index] for index in indexes]


def test_key__deployed_safe__any_two_members_sign(
    any_safe: Safe, checker: SignatureChecker, peers: Peers
) -> None:
    for pair in ((0, 1), (0, 2), (1, 2)):
        signature = any_safe.sign_message(digest_of(TEXT), members(any_safe, *pair))
        assert checker.is_signed_by(any_safe.address, TEXT, signature)
        assert checker.is_signed_by(any_safe.address.lower(), TEXT, signature)
        assert asked_by_viem(peers, any_safe.address, digest_of(TEXT), signature)


def test_key__deployed_safe__nothing_less_is_accepted(
    real: RealWorld, any_safe: Safe, checker: SignatureChecker, peers: Peers
) -> None:
    first, second, _ = any_safe.owners
    right = any_safe.sign_message(digest_of(TEXT), [first, second])
    plain = b"".join(
        sign(signer, encode_defunct(text=TEXT))
        for signer in sorted([first, second], key=lambda signer: int(signer.address, 16))
    )
    refused = {
        "one member": any_safe.sign_message(digest_of(TEXT), [first]),
        "one member twice": any_safe.sign_message(digest_of(TEXT), [first, first]),
        "a stranger": any_safe.sign_message(digest_of(TEXT), [first, real.settler]),
        "strangers": any_safe.sign_message(digest_of(TEXT), [real.settler, real.admin]),
        "another text": any_safe.sign_message(digest_of(OTHER_TEXT), [first, second]),
        "not in the Safe's wrapping": plain,
        "wrong order": right[65:] + right[:65],
        "cut short": right[:-1],
        "nothing": b"",
    }
    assert checker.is_signed_by(any_safe.address, TEXT, right)
    for name, signature in refused.items():
        assert not checker.is_signed_by(any_safe.address, TEXT, signature), name
        assert not asked_by_viem(peers, any_safe.address, digest_of(TEXT), signature), name
    assert not checker.is_signed_by(any_safe.address, OTHER_TEXT, right)


def test_key__one_member_as_a_person__refused(any_safe: Safe, checker: SignatureChecker) -> None:
    member = any_safe.owners[0]
    signature = sign(member, encode_defunct(text=TEXT))
    assert checker.is_signed_by(member.address, TEXT, signature)
    assert not checker.is_signed_by(any_safe.address, TEXT, signature)


def test_key__signed_for_another_safe__refused(
    real: RealWorld, any_safe: Safe, any_factory: SafeFactory, checker: SignatureChecker
) -> None:
    twin = any_factory.make(any_safe.owners, 7, real.outsider)
    signature = any_safe.sign_message(digest_of(TEXT), members(any_safe, 0, 1))
    assert checker.is_signed_by(any_safe.address, TEXT, signature)
    assert not checker.is_signed_by(twin.address, TEXT, signature)


def test_key__member_removed__no_longer_counts(any_safe: Safe, checker: SignatureChecker) -> None:
    signature = any_safe.sign_message(digest_of(TEXT), members(any_safe, 0, 1))
    assert checker.is_signed_by(any_safe.address, TEXT, signature)
    listed = list(any_safe.contract.getOwners())
    leaving = any_safe.owners[0].address
    before = listed.index(leaving) - 1
    previous = listed[before] if before >= 0 else "0x" + "00" * 19 + "01"  # the list's sentinel
    any_safe.send(any_safe.contract, "removeOwner", previous, leaving, 2)
    assert not checker.is_signed_by(any_safe.address, TEXT, signature)
    remaining = any_safe.sign_message(digest_of(TEXT), members(any_safe, 1, 2))
    assert checker.is_signed_by(any_safe.address, TEXT, remaining)


def test_key__undeployed_safe__accepted_with_factory_call(
    real: RealWorld,
    any_safe: Safe,
    any_factory: SafeFactory,
    checker: SignatureChecker,
    peers: Peers,
) -> None:
    salt = 11
    future = any_factory.predict(any_safe.owners, salt, real.outsider)

    def wrap(signature: bytes, *, salt: int = salt) -> bytes:
        deployment = any_factory.deployment(any_safe.owners, salt)
        parts = [any_factory.proxies.address, deployment, signature]
        return encode(["address", "bytes", "bytes"], parts) + ERC6492_SUFFIX

    right = future.sign_message(digest_of(TEXT), members(any_safe, 0, 2))
    wrapped = wrap(right)
    assert checker.is_signed_by(future.address, TEXT, wrapped)
    assert asked_by_viem(peers, future.address, digest_of(TEXT), wrapped)
    assert ape.chain.provider.get_code(future.address) == b""

    assert not checker.is_signed_by(future.address, TEXT, right)
    assert not checker.is_signed_by(future.address, TEXT, wrap(right, salt=salt + 1))
    assert not checker.is_signed_by(future.address, TEXT, wrap(right[:65]))
    # Once it is deployed, both ways of signing are good.
    any_factory.make(any_safe.owners, salt, real.outsider)
    assert checker.is_signed_by(future.address, TEXT, wrapped)
    assert checker.is_signed_by(future.address, TEXT, right)
