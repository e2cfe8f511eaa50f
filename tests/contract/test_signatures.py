"""Deposits by signature: EIP-2612 permits and EIP-3009 authorizations, signed for real.

::

    permit ........ the owner sends it; who used it first stops nothing
    authorization
    ├── by anyone ............................. deposits, opens, for the signer; once
    ├── any word changed ...................... refused: sum, position, floor, vault, times …
    ├── for another adapter, chain or owner ... refused
    └── relayed into shares worth too little .. refused; the owner may send it all the same
"""

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
    world: World, nonce: bytes, *, signer: Any = None, payee: str | None = None
) -> tuple[int, bytes, bytes]:
    message = {
        "from": world.owner.address,
        "to": payee or world.adapter.address,
        "value": AMOUNT,
        "validAfter": 0,
        "validBefore": ALL,
        "nonce": nonce,
    }
    kind = "ReceiveWithAuthorization"
    return sign(world, kind, AUTHORIZATION_FIELDS, message, signer or world.owner)


def deposit_nonce(
    world: World,
    token_id: int,
    floor: int,
    *,
    chain_id: int | None = None,
    adapter: str | None = None,
    owner: str | None = None,
    vault: str | None = None,
    salt: bytes = SALT,
) -> bytes:
    """Hash what an owner signs a deposit for, in the world's first vault by default."""
    types = ["uint256", "address", "address", "uint256", "address", "uint256", "bytes32"]
    chain_id = ape.chain.chain_id if chain_id is None else chain_id
    parties = [adapter or world.adapter.address, owner or world.owner.address]
    target = [token_id, vault or world.vault.address]
    return keccak(encode(types, [chain_id, *parties, *target, floor, salt]))


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
    signature = sign_authorization(world, deposit_nonce(world, token_id, AMOUNT))
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
    signature = sign_authorization(world, deposit_nonce(world, token_id, AMOUNT))
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


def test_deposit_with_authorization__relayed__is_the_owners(world: World, token_id: int) -> None:
    signature = sign_authorization(world, deposit_nonce(world, token_id, AMOUNT))
    receipt = world.adapter.depositWithAuthorization(
        token_id, AMOUNT, AMOUNT, 0, ALL, SALT, *signature, sender=world.outsider
    )
    (event,) = receipt.decode_logs(world.adapter.Deposited)
    assert event.event_arguments["owner"] == world.owner.address
    assert receipt.decode_logs(world.adapter.DepositGiven) == []
    assert world.booked(token_id)[1:3] == (AMOUNT, AMOUNT)
    assert world.balance(world.owner) == AMOUNT
    assert world.balance(world.outsider) == 0


def test_deposit_with_authorization__signed_by_anyone_else__reverts(
    world: World, token_id: int
) -> None:
    """The relayer's own signature moves nothing into another's position."""
    world.fund(world.outsider, AMOUNT)
    nonce = deposit_nonce(world, token_id, 0, owner=world.outsider.address)
    signature = sign_authorization(world, nonce, signer=world.outsider)
    with ape.reverts("usdc: invalid signature"):
        world.adapter.depositWithAuthorization(
            token_id, AMOUNT, 0, 0, ALL, SALT, *signature, sender=world.outsider
        )


def test_deposit_with_authorization__for_another_chain_adapter_or_owner__reverts(
    world: World, token_id: int
) -> None:
    for elsewhere in (
        {"chain_id": ape.chain.chain_id + 1},
        {"adapter": world.vault.address},
        {"owner": world.outsider.address},
    ):
        nonce = deposit_nonce(world, token_id, 0, **elsewhere)
        with ape.reverts("usdc: invalid signature"):
            world.adapter.depositWithAuthorization(
                *(token_id, AMOUNT, 0, 0, ALL, SALT),
                *sign_authorization(world, nonce),
                sender=world.outsider,
            )
    signature = sign_authorization(
        world, deposit_nonce(world, token_id, 0), payee=world.vault.address
    )
    with ape.reverts("usdc: invalid signature"):
        world.adapter.depositWithAuthorization(
            token_id, AMOUNT, 0, 0, ALL, SALT, *signature, sender=world.outsider
        )


def test_deposit_with_authorization__same_token_id_in_another_vault__reverts(world: World) -> None:
    """The owner signs for an opening that a reorg undoes; its token id is a stranger's gift."""
    world.fund(world.owner, AMOUNT)
    with ape.chain.isolate():
        token_id = world.create()
        signature = sign_authorization(world, deposit_nonce(world, token_id, AMOUNT))
    bait = world.deploy_vault()
    world.fund(world.outsider, 1)
    world.usdc.approve(world.adapter, 1, sender=world.outsider)
    given = (world.owner, 1, NO_SMOOTHING, bait, 60, 1, 0)
    opened = world.adapter.openFor(*given, sender=world.outsider)
    assert opened.return_value[0] == token_id
    assert world.position.ownerOf(token_id) == world.owner.address

    call = (token_id, AMOUNT, AMOUNT, 0, ALL, SALT)
    with ape.reverts("usdc: invalid signature"):
        world.adapter.depositWithAuthorization(*call, *signature, sender=world.outsider)
    assert world.balance(world.owner) == AMOUNT
    # Only the vault was wrong: the same words signed for the bait are good for it.
    nonce = deposit_nonce(world, token_id, AMOUNT, vault=bait.address)
    signature = sign_authorization(world, nonce)
    world.adapter.depositWithAuthorization(*call, *signature, sender=world.outsider)
    assert world.balance(bait) == AMOUNT + 1


def test_deposit_with_authorization__relayed_but_dear__only_the_owner_may(world: World) -> None:
    vault = world.deploy_vault()
    vault.setFees(0, 51, sender=world.admin)
    token_id = world.create(vault=vault)
    world.fund(world.owner, AMOUNT)
    nonce = deposit_nonce(world, token_id, 0, vault=vault.address)
    call = (token_id, AMOUNT, 0, 0, ALL, SALT, *sign_authorization(world, nonce))
    with ape.reverts("adapter: shares worth too little"):
        world.adapter.depositWithAuthorization(*call, sender=world.outsider)
    world.adapter.depositWithAuthorization(*call, sender=world.owner)
    assert world.booked(token_id).principal == AMOUNT


def test_deposit_with_authorization__relayed_rest__returned_to_the_owner(
    world: World, token_id: int
) -> None:
    world.vault.setMisbehaviour(world.misbehaviour("TAKES_HALF"), sender=world.admin)
    signature = sign_authorization(world, deposit_nonce(world, token_id, 0))
    world.adapter.depositWithAuthorization(
        token_id, AMOUNT, 0, 0, ALL, SALT, *signature, sender=world.outsider
    )
    assert world.booked(token_id)[1:3] == (AMOUNT // 2, AMOUNT // 2)
    assert world.balance(world.owner) == AMOUNT + AMOUNT // 2
    assert world.balance(world.outsider) == world.balance(world.adapter) == 0


def open_nonce(world: World, *, bps: int = NO_SMOOTHING, floor: int = 0) -> bytes:
    types = ["uint256", "address", "address", "uint8", "uint16", "address", "uint16", "uint256"]
    parties = [ape.chain.chain_id, world.adapter.address, world.owner.address]
    given = [1, bps, world.vault.address, 60, floor]
    return keccak(encode([*types, "bytes32"], [*parties, *given, SALT]))


def open_call(world: World, signature: tuple[int, bytes, bytes], **changed: Any) -> tuple[Any, ...]:
    given = {
        "owner": world.owner,
        "tier": 1,
        "bps": NO_SMOOTHING,
        "vault": world.vault,
        "minutes": 60,
        "assets": AMOUNT,
        "floor": 0,
        "after": 0,
        "before": ALL,
        "salt": SALT,
    }
    return (*{**given, **changed}.values(), *signature)


@pytest.mark.parametrize("sender", ["owner", "outsider"])
def test_open_with_authorization__by_anyone__is_the_signers(world: World, sender: str) -> None:
    world.fund(world.owner, AMOUNT)
    call = open_call(world, sign_authorization(world, open_nonce(world)))
    receipt = world.adapter.openWithAuthorization(*call, sender=getattr(world, sender))
    assert tuple(receipt.return_value) == (0, AMOUNT)
    assert receipt.decode_logs(world.adapter.PositionGiven) == []
    assert world.booked(0)[:3] == (world.vault.address, AMOUNT, AMOUNT)
    assert world.position.ownerOf(0) == world.owner.address
    with ape.reverts("usdc: authorization used"):
        world.adapter.openWithAuthorization(*call, sender=getattr(world, sender))
    assert world.position.totalSupply() == 1


def test_open_with_authorization__relayed_but_dear__reverts_whole(world: World) -> None:
    world.fund(world.owner, AMOUNT)
    world.vault.setFees(0, 51, sender=world.admin)
    call = open_call(world, sign_authorization(world, open_nonce(world)))
    with ape.reverts("adapter: shares worth too little"):
        world.adapter.openWithAuthorization(*call, sender=world.outsider)
    assert world.position.totalSupply() == 0
    assert world.balance(world.owner) == AMOUNT


def test_open_with_authorization__nothing__reverts(world: World) -> None:
    call = open_call(world, (27, SALT, SALT), assets=0)
    with ape.reverts("adapter: nothing to deposit"):
        world.adapter.openWithAuthorization(*call, sender=world.owner)


@pytest.mark.parametrize(
    "changed",
    [
        {"owner": "second_owner"},
        {"tier": 2},
        {"bps": 1},
        {"vault": "other vault"},
        {"minutes": 61},
        {"assets": AMOUNT - 1},
        {"floor": 1},
        {"after": 1},
        {"before": ALL - 1},
        {"salt": b"\x08" * 32},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.sampled(3)
def test_open_with_authorization__one_word_changed__reverts(
    world: World, changed: dict[str, Any]
) -> None:
    world.fund(world.owner, AMOUNT)
    signature = sign_authorization(world, open_nonce(world))
    people = {"second_owner": world.second_owner, "other vault": world.deploy_vault()}
    given = {name: people.get(str(value), value) for name, value in changed.items()}
    with ape.reverts("usdc: invalid signature"):
        world.adapter.openWithAuthorization(
            *open_call(world, signature, **given), sender=world.outsider
        )
    world.adapter.openWithAuthorization(*open_call(world, signature), sender=world.outsider)
