"""The ERC-721 face of a position: never transferable (P6), readable by wallets."""

import base64
import json
import xml.etree.ElementTree as ElementTree

import ape
import pytest

from tests.contract.world import DAY, NOON, USDC, World

ZERO = "0x" + "00" * 20


def test_soulbound__every_way_to_move_or_approve__reverts(world: World) -> None:
    token_id = world.create()
    owner, other = world.owner, world.outsider
    calls = [
        (world.position.transferFrom, (owner, other, token_id)),
        (world.position.safeTransferFrom, (owner, other, token_id)),
        (world.position.safeTransferFrom, (owner, other, token_id, b"data")),
        (world.position.approve, (other, token_id)),
        (world.position.setApprovalForAll, (other, True)),
    ]
    for call, arguments in calls:
        with ape.reverts("position: soulbound"):
            call(*arguments, sender=owner)
    assert world.position.ownerOf(token_id) == owner.address
    assert world.position.getApproved(token_id) == ZERO
    assert world.position.isApprovedForAll(owner, other) is False
    assert world.position.locked(token_id) is True


def test_views__unknown_token__revert(world: World) -> None:
    views = ["ownerOf", "getApproved", "locked", "tokenURI", "keyEpoch", "modelTier"]
    views += ["dailySmoothingBps", "remainingAllowance", "accountOf"]
    for view in views:
        with ape.reverts("position: unknown token"):
            getattr(world.position, view)(0)


def test_balance_of__zero_address__reverts(world: World) -> None:
    with ape.reverts("position: zero owner"):
        world.position.balanceOf(ZERO)


@pytest.mark.parametrize(
    ("interface", "supported"),
    [
        ("01ffc9a7", True),  # ERC-165
        ("80ac58cd", True),  # ERC-721
        ("5b5e139f", True),  # ERC-721 Metadata
        ("b45a3c0e", True),  # ERC-5192
        ("780e9d63", False),  # ERC-721 Enumerable
        ("ffffffff", False),
    ],
)
def test_supports_interface__by_id__as_implemented(
    world: World, interface: str, supported: bool
) -> None:
    assert world.position.supportsInterface(bytes.fromhex(interface)) is supported


def test_names__constant(world: World) -> None:
    assert world.position.name() == "Current yield position"
    assert world.position.symbol() == "CURRENT"


def decode(uri: str, kind: str) -> str:
    prefix = f"data:{kind};base64,"
    assert uri.startswith(prefix)
    return base64.b64decode(uri.removeprefix(prefix), validate=True).decode("ascii")


def test_token_uri__live_figures__json_and_picture(world: World) -> None:
    world.create()
    token_id = world.create_with_deposit(1_234_567_890)
    world.warp(NOON + DAY)
    world.credit(token_id, 10_000_001)
    world.hold(token_id, 4 * USDC)
    metadata = json.loads(decode(world.position.tokenURI(token_id), "application/json"))
    assert metadata["name"] == "Current #1"
    assert {t["trait_type"]: t["value"] for t in metadata["attributes"]} == {
        "Principal": "1234.567890 USDC",
        "Allowance": "6.000001 USDC",
        "Held": "4.000000 USDC",
        "Cap today": "10.000001 USDC",
    }
    svg = ElementTree.fromstring(decode(metadata["image"], "image/svg+xml"))
    texts = [element.text for element in svg.iter() if element.text and element.text.strip()]
    assert texts == [
        "Current #1",
        *["Principal", "1234.567890 USDC", "Allowance", "6.000001 USDC"],
        *["Held", "4.000000 USDC", "Cap today", "10.000001 USDC"],
    ]


def test_token_uri__largest_figures__still_fit(world: World) -> None:
    token_id = world.create()
    world.credit(token_id, 2**63 - 1)
    metadata = json.loads(decode(world.position.tokenURI(token_id), "application/json"))
    assert metadata["attributes"][1]["value"] == "9223372036854.775807 USDC"
    ElementTree.fromstring(decode(metadata["image"], "image/svg+xml"))
