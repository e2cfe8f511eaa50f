"""Deposits by signature: EIP-2612 permits and EIP-3009 authorizations, signed for real."""

from typing import Any

import ape
import pytest
from eth_abi.abi import encode
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from tests.contract.world import ALL, NO_SMOOTHING, USDC, World

AMOUNT = 5 * USDC
SALT = b"\x09" * 32
DOMAIN_FIELDS = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
PERMIT_FIELDS = [
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
]
AUTHORIZATION_FIELDS = [
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
]


def sign(
    world: World, kind: str, fields: list[tuple[str, str]], message: dict[str, Any], signer: Any
) -> tuple[int, bytes, bytes]:
    typed_data = {
        "types": {
            "EIP712Domain": DOMAIN_FIELDS,
            kind: [{"name": name, "type": type_} for name, type_ in fields],
        },
        "primaryType": kind,
        "domain": {
            "name": "USD Coin",
            "version": "2",
            "chainId": ape.chain.chain_id,
            "verifyingContract": world.usdc.address,
        },
        "message": message,
    }
    signed = EthAccount.sign_message(encode_typed_data(full_message=typed_data), signer.private_key)
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def sign_permit(
    world: World, *, signer: Any = None, value: int = AMOUNT
) -> tuple[int, bytes, bytes]:
    message = {
        "owner": world.owner.address,
        "spender": world.adapter.address,
        "value": value,
        "nonce": world.usdc.nonces(world.owner),
        "deadline": ALL,
    }
    return sign(world, "Permit", PERMIT_FIELDS, message, signer or world.owner)


def sign_authorization(
    world: World, nonce: bytes, *, signer: Any = None
) -> tuple[int, bytes, bytes]:
    message = {
        "from": world.owner.address,
        "to": world.adapter.address,
        "value": AMOUNT,
        "validAfter": 0,
        "validBefore": ALL,
        "nonce": nonce,
    }
    kind = "ReceiveWithAuthorization"
    return sign(world, kind, AUTHORIZATION_FIELDS, message, signer or world.owner)


def deposit_nonce(token_id: int, floor: int) -> bytes:
    return keccak(encode(["uint256", "uint256", "bytes32"], [token_id, floor, SALT]))


@pytest.fixture
def token_id(world: World) -> int:
    """Return a position whose owner has USDC but has approved nothing."""
    world.fund(world.owner, 2 * AMOUNT)
    return world.create()


def test_deposit_with_permit__signed__deposited(world: World, token_id: int) -> None:
    signature = sign_permit(world)
    world.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=world.owner)
    assert world.booked(token_id).principal == AMOUNT
    assert world.usdc.allowance(world.owner, world.adapter) == 0


def test_deposit_with_permit__front_run__deposited_all_the_same(
    world: World, token_id: int
) -> None:
    signature = sign_permit(world)
    world.usdc.permit(world.owner, world.adapter, AMOUNT, ALL, *signature, sender=world.outsider)
    world.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=world.owner)
    assert world.booked(token_id).principal == AMOUNT


def test_deposit_with_permit__wrong_signer__reverts(world: World, token_id: int) -> None:
    signature = sign_permit(world, signer=world.outsider)
    with ape.reverts("adapter: permit refused"):
        world.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=world.owner)


def test_deposit_with_permit__not_owner__reverts(world: World, token_id: int) -> None:
    signature = sign_permit(world)
    with ape.reverts("adapter: not owner"):
        world.adapter.depositWithPermit(token_id, AMOUNT, 0, ALL, *signature, sender=world.outsider)


def test_open_with_permit__signed__opened(world: World) -> None:
    world.fund(world.owner, AMOUNT)
    signature = sign_permit(world)
    world.adapter.openWithPermit(
        1, NO_SMOOTHING, world.vault, 60, AMOUNT, 0, ALL, *signature, sender=world.owner
    )
    assert world.booked(0).principal == AMOUNT
    assert world.position.ownerOf(0) == world.owner.address


def test_open_with_permit__unsigned__reverts(world: World) -> None:
    world.fund(world.owner, AMOUNT)
    with ape.reverts("adapter: permit refused"):
        world.adapter.openWithPermit(
            1, NO_SMOOTHING, world.vault, 60, AMOUNT, 0, ALL, 27, SALT, SALT, sender=world.owner
        )


def test_deposit_with_authorization__signed__deposited_once(world: World, token_id: int) -> None:
    signature = sign_authorization(world, deposit_nonce(token_id, AMOUNT))
    call = (token_id, AMOUNT, AMOUNT, 0, ALL, SALT, *signature)
    world.adapter.depositWithAuthorization(*call, sender=world.owner)
    assert world.booked(token_id).principal == AMOUNT
    assert world.usdc.allowance(world.owner, world.adapter) == 0
    with ape.reverts("usdc: authorization used"):
        world.adapter.depositWithAuthorization(*call, sender=world.owner)


def test_deposit_with_authorization__for_another_position_or_floor__reverts(
    world: World, token_id: int
) -> None:
    other = world.create()
    signature = sign_authorization(world, deposit_nonce(token_id, AMOUNT))
    for wrong_token, floor in ((other, AMOUNT), (token_id, 0)):
        with ape.reverts("usdc: invalid signature"):
            world.adapter.depositWithAuthorization(
                wrong_token, AMOUNT, floor, 0, ALL, SALT, *signature, sender=world.owner
            )


def test_deposit_with_authorization__nothing__reverts(world: World, token_id: int) -> None:
    with ape.reverts("adapter: nothing to deposit"):
        world.adapter.depositWithAuthorization(
            token_id, 0, 0, 0, ALL, SALT, 27, SALT, SALT, sender=world.owner
        )


def test_deposit_with_authorization__not_owner__reverts(world: World, token_id: int) -> None:
    signature = sign_authorization(world, deposit_nonce(token_id, 0))
    with ape.reverts("adapter: not owner"):
        world.adapter.depositWithAuthorization(
            token_id, AMOUNT, 0, 0, ALL, SALT, *signature, sender=world.outsider
        )


def open_nonce(world: World, *, bps: int = NO_SMOOTHING) -> bytes:
    types = ["uint8", "uint16", "address", "uint16", "uint256", "bytes32"]
    return keccak(encode(types, [1, bps, world.vault.address, 60, 0, SALT]))


def test_open_with_authorization__signed__opened(world: World) -> None:
    world.fund(world.owner, AMOUNT)
    signature = sign_authorization(world, open_nonce(world))
    world.adapter.openWithAuthorization(
        1, NO_SMOOTHING, world.vault, 60, AMOUNT, 0, 0, ALL, SALT, *signature, sender=world.owner
    )
    assert world.booked(0).principal == AMOUNT


def test_open_with_authorization__nothing__reverts(world: World) -> None:
    with ape.reverts("adapter: nothing to deposit"):
        world.adapter.openWithAuthorization(
            1, NO_SMOOTHING, world.vault, 60, 0, 0, 0, ALL, SALT, 27, SALT, SALT, sender=world.owner
        )


def test_open_with_authorization__other_arguments__reverts(world: World) -> None:
    world.fund(world.owner, AMOUNT)
    signature = sign_authorization(world, open_nonce(world, bps=1))
    with ape.reverts("usdc: invalid signature"):
        world.adapter.openWithAuthorization(
            1,
            NO_SMOOTHING,
            world.vault,
            60,
            AMOUNT,
            0,
            0,
            ALL,
            SALT,
            *signature,
            sender=world.owner,
        )
