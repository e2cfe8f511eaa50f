"""The ERC-721 face of a position: never transferable (P6), readable by wallets."""

import base64
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from decimal import Decimal

import ape
import pytest

from tests.contract.world import USDC, World

ZERO = "0x" + "00" * 20
MOST = 2**63 - 1
SVG = "{http://www.w3.org/2000/svg}"


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


def fresh(world: World) -> int:
    """Open a position with principal that has earned nothing."""
    return world.create_with_deposit(1_000 * USDC)


def with_yield(world: World) -> int:
    """Open a position, not the first, that has harvested."""
    world.create()
    token_id = world.create_with_deposit(1_234_567_890)
    world.usdc.faucet(world.vault, 50_000_001, sender=world.admin)
    world.adapter.harvest(token_id, sender=world.outsider)
    return token_id


def smoothed_with_hold(world: World) -> int:
    """Open a position with a quarter of its credit a day, and a live hold."""
    token_id = world.create(bps=2_500)
    world.deposit(token_id, 25_000 * USDC)
    world.credit(token_id, 367_000_003)
    world.hold(token_id, 7_250_000)
    return token_id


def at_maximum(world: World) -> int:
    """Open a position whose principal and credit are as large as they can be, half of it held."""
    token_id = world.create_with_deposit(MOST)
    world.credit(token_id, MOST)
    world.hold(token_id, MOST // 2)
    return token_id


@pytest.mark.parametrize(
    ("state", "written"),
    [
        (fresh, ["1,000.000000", "0.000000", "0.000000", "0.000000"]),
        (with_yield, ["1,234.567890", "49.999998", "0.000000", "49.999998"]),
        (smoothed_with_hold, ["25,000.000000", "91.750000", "7.250000", "91.750000"]),
        (
            at_maximum,
            [
                *["9,223,372,036,854.775807", "9,223,372,036,854.775807"],
                *["4,611,686,018,427.387903", "9,223,372,036,854.775807"],
            ],
        ),
    ],
)
def test_token_uri__any_state__json_and_picture_say_what_the_views_say(
    world: World, state: Callable[[World], int], written: list[str]
) -> None:
    token_id = state(world)
    metadata = json.loads(
        decode(world.position.tokenURI(token_id), "application/json"), parse_float=Decimal
    )
    account = world.account(token_id)
    figures = {
        "Principal": world.booked(token_id).principal,
        "Allowance": world.position.remainingAllowance(token_id),
        "Held": account.held,
        "Cap today": account.day_cap,
    }
    assert set(metadata) == {"name", "description", "image", "attributes"}
    assert metadata["name"] == f"Current #{token_id}"
    assert metadata["attributes"] == [
        {
            "display_type": "number",
            "trait_type": f"{label} (USDC)",
            "value": Decimal(amount) / USDC,
        }
        for label, amount in figures.items()
    ]
    svg = ElementTree.fromstring(decode(metadata["image"], "image/svg+xml"))
    texts = [element.text for element in svg.iter(f"{SVG}text")]
    amounts = [f"{Decimal(amount) / USDC:,.6f}" for amount in figures.values()]
    assert amounts == written
    rows = zip(figures, amounts, strict=True)
    assert texts == [f"Current #{token_id}"] + [
        text for label, amount in rows for text in (label, f"{amount} USDC")
    ]


def test_token_uri__largest_figures__nothing_cut_off(world: World) -> None:
    metadata = json.loads(decode(world.position.tokenURI(at_maximum(world)), "application/json"))
    svg = ElementTree.fromstring(decode(metadata["image"], "image/svg+xml"))
    side = int(svg.attrib["width"])
    assert svg.tag == f"{SVG}svg"
    assert svg.attrib["height"] == svg.attrib["width"]
    assert svg.attrib["viewBox"] == f"0 0 {side} {side}"
    for element in svg.iter(f"{SVG}text"):
        size = int(element.attrib.get("font-size", svg.attrib["font-size"]))
        x, baseline = int(element.attrib["x"]), int(element.attrib["y"])
        assert element.text is not None
        # A monospaced letter is about 0.6 wide for its height; this leaves a tenth for wider ones.
        assert x + len(element.text) * size * 0.66 <= side
        assert size <= baseline <= side - size


def test_token_uri__every_length_of_an_amount__written_in_full(world: World) -> None:
    token_id = world.create()
    credited = 0
    for digits in range(1, 20):
        amount = int("9182736450918273645"[:digits])
        world.credit(token_id, amount - credited)
        credited = amount
        uri = world.position.tokenURI(token_id)
        metadata = json.loads(decode(uri, "application/json"), parse_float=Decimal)
        assert metadata["attributes"][1]["value"] == Decimal(amount) / USDC
        assert f">{Decimal(amount) / USDC:,.6f} USDC<" in decode(metadata["image"], "image/svg+xml")


def test_soulbound__long_data__same_reason(world: World) -> None:
    token_id = world.create()
    with ape.reverts("position: soulbound"):
        world.position.safeTransferFrom(
            world.owner, world.outsider, token_id, b"\x01" * 1_025, sender=world.owner
        )
