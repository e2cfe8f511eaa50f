"""Every line of `docs/depositors.md` does what the page says, by `cast` and by web3.py.

::

    the page
    ├── run from top to bottom, on fresh contracts
    │   ├── its Python, as it stands
    │   └── its `cast` lines, read as `cast` reads them: signature, arguments, sender
    │       both: the same figures after every heading, to the unit
    ├── every function of an owner: in Python, by `cast`, in the explorer's table
    ├── the explorer's table: the fields of the ABI, in its order
    └── the refusals: reasons that the contracts give
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from eth_account import Account
from web3.exceptions import ContractLogicError

from contracts.bindings import load_abi
from scripts.stack.anvil_path import ROOT
from tests.support.deploy import USDC, World
from tests.support.documents import find_document
from tests.support.walkthrough import Reader

PAGE: Final = find_document("docs/depositors.md")
PASSWORD: Final = "a password of the test"
BEGIN: Final = "Before you begin"
TOKEN: Final = 0
ANSWERS_ZERO_MAX: Final = 64
"""MockVault does not say how much it has."""
NOT_OF_OWNERS: Final = {
    *("mint", "creditYield", "hold", "settle", "sweep", "setSettler"),
    *("transferOwnership", "acceptOwnership"),
    *("transferFrom", "safeTransferFrom", "approve", "setApprovalForAll"),
}


@pytest.fixture
def reader(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Return a reader with 1,000 USDC and ether, and a relayer with ether."""
    keystores = tmp_path / ".foundry" / "keystores"
    keystores.mkdir(parents=True)
    for name, role in (("depositor", "owner"), ("relayer", "outsider")):
        keyfile = Account.encrypt(world.accounts[role].key, PASSWORD, kdf="pbkdf2", iterations=1)
        (keystores / name).write_text(json.dumps(keyfile))
    ours = world.contracts
    environment = {
        "ETH_KEYSTORE_ACCOUNT": "depositor",
        "ETH_RPC_URL": world.anvil.url,
        "USDC": ours.usdc.address,
        "POSITION": ours.position.address,
        "ADAPTER": ours.adapter.address,
        "VAULT": world.vault.address,
        "FRIEND": world.accounts["second_owner"].address,
        "OWNER": world.accounts["owner"].address,
    }
    for name, value in {**environment, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    monkeypatch.chdir(ROOT)
    world.fund_usdc(world.accounts["owner"].address, 1_000 * USDC)
    return Reader(world, PAGE, environment)


# -------------------------------------------------------------------------- what comes of the page


@dataclass(frozen=True, slots=True)
class Figures:
    """The depositor's wallet and first position, in units, and how many positions there are."""

    wallet_usdc: int
    principal_usdc: int = 0
    shares: int = 0
    credited_usdc: int = 0
    spent_usdc: int = 0
    withdrawn_usdc: int = 0
    held_usdc: int = 0
    key_epoch: int = 0
    interval_minutes: int = 60
    own_vault_shares: int = 0
    positions: int = 4


def read_figures(world: World) -> Figures:
    ours, owner = world.contracts, world.accounts["owner"].address
    _, principal, shares, interval, _ = ours.adapter.functions.positionOf(TOKEN).call()
    credited, spent, withdrawn, held, _, _, _, epoch = ours.position.functions.accountOf(
        TOKEN
    ).call()
    return Figures(
        wallet_usdc=ours.usdc.functions.balanceOf(owner).call(),
        principal_usdc=principal,
        shares=shares,
        credited_usdc=credited,
        spent_usdc=spent,
        withdrawn_usdc=withdrawn,
        held_usdc=held,
        key_epoch=epoch,
        interval_minutes=interval,
        own_vault_shares=world.vault.functions.balanceOf(owner).call(),
        positions=ours.position.functions.totalSupply().call(),
    )


def place_hold(world: World, amount_usdc: int) -> None:
    expires_at_s = world.anvil.now_s() + 7_200
    request = (TOKEN, amount_usdc, expires_at_s, 0)
    world.send("keeper", world.contracts.position.functions.hold([request]))


def settle_and_free(world: World) -> None:
    position = world.contracts.position
    assert len(position.events.ReleaseRequested().get_logs(from_block=0)) == 1
    settled = position.functions.settle(bytes(32), bytes(32), [(TOKEN, 10 * USDC)])
    world.send("keeper", settled)
    place_hold(world, 0)


def lend_out(world: World) -> None:
    """Leave 60 USDC in a vault that does not say so."""
    world.send("admin", world.vault.functions.setLiquidity(60 * USDC))
    world.send("admin", world.vault.functions.setMisbehaviour(ANSWERS_ZERO_MAX))
    everything = world.contracts.adapter.functions.withdrawPrincipal(TOKEN)
    with pytest.raises(ContractLogicError, match="adapter: refused, name less"):
        everything.call({"from": world.accounts["owner"].address})


def lose_a_fifth(world: World) -> None:
    world.send("admin", world.vault.functions.setLiquidity(2**256 - 1))
    world.send("admin", world.vault.functions.setMisbehaviour(0))
    lost = world.vault.functions.totalAssets().call() // 5
    world.send("admin", world.vault.functions.realiseLoss(lost))


def give_again(world: World) -> None:
    giver, adapter = world.accounts["second_owner"].address, world.contracts.adapter
    world.fund_usdc(giver, 30 * USDC)
    approve = world.contracts.usdc.functions.approve(adapter.address, 30 * USDC)
    world.send("second_owner", approve)
    world.send("second_owner", adapter.functions.depositFor(TOKEN, 30 * USDC, 0))


BEFORE: Final[dict[str, Callable[[World], None]]] = {
    "Your allowance": lambda world: world.earn(52 * USDC),
    "Release what is held": lambda world: place_hold(world, 30 * USDC),
    "Cash out unspent yield": settle_and_free,
    "When the vault is short of USDC": lend_out,
    "When the vault lost money": lose_a_fifth,
    "Leave in kind": give_again,
}


# What the reader has after each heading. The vault earns a tenth before the allowance is read, so
# that the position's 490 USDC earn 49, of which 3 units stay behind; later it loses a fifth.
_OPENED: Final = Figures(700 * USDC, 300 * USDC, 300 * USDC, positions=2)
_ADDED: Final = replace(
    _OPENED, wallet_usdc=600 * USDC, principal_usdc=400 * USDC, shares=400 * USDC
)
_SIGNED: Final = Figures(540 * USDC, 450 * USDC, 450 * USDC, positions=3)
_RELAYED: Final = Figures(480 * USDC, 490 * USDC, 490 * USDC)
_HARVESTED: Final = replace(_RELAYED, shares=445_454_548, credited_usdc=48_999_997)
_CASHED: Final = replace(
    _HARVESTED, wallet_usdc=518_999_997, spent_usdc=10 * USDC, withdrawn_usdc=38_999_997
)
_PARTLY_OUT: Final = replace(
    _CASHED, wallet_usdc=668_999_997, principal_usdc=340 * USDC, shares=309_090_911
)
_SHORT: Final = replace(
    _PARTLY_OUT, wallet_usdc=718_999_997, principal_usdc=290 * USDC, shares=263_636_365
)
_OUT: Final = replace(_SHORT, wallet_usdc=950_999_999, principal_usdc=0, shares=0)
_IN_KIND: Final = replace(_OUT, own_vault_shares=34_090_907)
_REVOKED: Final = replace(_IN_KIND, key_epoch=1)
AFTER: Final = {
    "Open a position": _OPENED,
    "Deposit again": _ADDED,
    "Sign instead of approving": _SIGNED,
    "Deposit without ether": _RELAYED,
    "Your allowance": _HARVESTED,
    "Release what is held": replace(_HARVESTED, held_usdc=30 * USDC),
    "Cash out unspent yield": _CASHED,
    "Take principal out": _PARTLY_OUT,
    "When the vault is short of USDC": _SHORT,
    "When the vault lost money": _OUT,
    "Leave in kind": _IN_KIND,
    "Revoke all keys": _REVOKED,
    "Gifts": replace(_REVOKED, wallet_usdc=905_999_999, positions=5),
}


@pytest.mark.parametrize("way", ["python", "cast"])
def test_page__followed_from_top_to_bottom__does_what_it_says(
    world: World, reader: Reader, way: str
) -> None:
    headings = list(dict.fromkeys(block.heading for block in reader.blocks))
    assert headings == [BEGIN, *AFTER]
    ours, owner = world.contracts, world.accounts["owner"].address
    reader.follow(BEGIN, way)

    for heading, expected in AFTER.items():
        if heading in BEFORE:
            BEFORE[heading](world)
        ether_wei = world.anvil.web3.eth.get_balance(owner)
        reader.follow(heading, way)
        assert (heading, read_figures(world)) == (heading, expected)
        paid_fees = world.anvil.web3.eth.get_balance(owner) < ether_wei
        assert paid_fees is (heading != "Deposit without ether")

    friend = world.accounts["second_owner"].address
    owners = [ours.position.functions.ownerOf(token_id).call() for token_id in range(5)]
    assert owners == [owner, owner, owner, owner, friend]
    booked = [ours.adapter.functions.positionOf(token_id).call()[1] for token_id in range(5)]
    assert booked == [0, 0, 10 * USDC, 20 * USDC, 40 * USDC]
    assert ours.position.functions.accountOf(4).call()[0] == 5 * USDC
    assert len(ours.usdc.events.AuthorizationCanceled().get_logs(from_block=0)) == 1
    withdrawn = ours.adapter.events.PrincipalWithdrawn().get_logs(from_block=0)
    assert [log["args"]["loss"] for log in withdrawn] == [0, 0, 57_999_998]


# ---------------------------------------------------------------------------- what the page names


def list_owner_functions() -> set[tuple[str, str]]:
    """Return the name of each contract's functions that an owner or a giver sends."""
    names = {("adapter", "LendingYieldAdapter"), ("position", "YieldFundedPosition")}
    return {
        (contract, one["name"])
        for contract, abi_name in names
        for one in load_abi(abi_name)
        if one["type"] == "function" and one["stateMutability"] == "nonpayable"
        if contract == "adapter" or one["name"] not in NOT_OF_OWNERS
    } | {("usdc", "approve"), ("usdc", "cancelAuthorization")}


def read_table() -> list[tuple[str, str, str]]:
    """Return contract, function and fields of each row of the explorer's table."""
    rows = re.findall(
        r"^\| (\w+) \| `(\w+)`.*? \| (.+) \|$", PAGE.section("In a block explorer"), re.M
    )
    return [(contract.lower(), function, fields) for contract, function, fields in rows]


def test_functions_of_an_owner__each__in_python_by_cast_and_in_the_explorer() -> None:
    text = PAGE.fenced
    cast = re.findall(r'^cast send (?:--account \w+ )?\$(\w+) "(\w+)\(', text, re.M)
    python = re.findall(
        r"^ *send\((\w+)\.functions\.(\w+)|send\((\w+)\.functions\.(\w+)", text, re.M
    )

    assert {(contract.lower(), name) for contract, name in cast} == list_owner_functions()
    assert {(a or b, c or d) for a, c, b, d in python} == list_owner_functions()
    assert {row[:2] for row in read_table()} == list_owner_functions()


def test_explorers_table__each_row__has_the_fields_of_the_abi() -> None:
    abis = {"usdc": "MockUSDC", "adapter": "LendingYieldAdapter", "position": "YieldFundedPosition"}
    for contract, name, cell in read_table():
        shown = [re.findall(r"`(\w+)`", part) for part in cell.split(" (")[0].split("; or ")]
        functions = [one for one in load_abi(abis[contract]) if one.get("name") == name]
        real = [[one["name"] for one in function["inputs"]] for function in functions]
        assert (name, shown) == (name, real)


def test_refusals__each__is_a_reason_of_the_contracts() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "contracts").glob("*.vy")))
    cells = re.findall(r"^\| (`.+?) \|", PAGE.section("Refusals"), re.M)
    reasons = re.findall(r"`((?:adapter|position): [^`]+)`", " ".join(cells))

    assert len(reasons) > 8
    assert [reason for reason in reasons if f'"{reason}"' not in sources] == []
