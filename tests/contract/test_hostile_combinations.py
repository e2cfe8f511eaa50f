"""Vaults that do two things wrong at once, and the odd habits of four families of honest ones.

::

    two misbehaviours at once (HostileVault) ... nobody else is hurt, measured is booked
    habits (FamilyVault)
    ├── short of USDC, at an unmoved price ..... what there is, again and again, until all is paid
    ├── the same, and max* answers 0 ........... paid in parts, never below the floor
    │   └── the shares do not suffice .......... what lies there idle, all the same
    ├── redeem pays under its preview .......... harvest up to 50 bps; a withdrawal takes what comes
    ├── withdraw silently pays less ............ booked is what came; the floor is the owner's
    ├── previewWithdraw reverts ................ the own shares are redeemed in proportion
    ├── an exit fee ............................ yield pays it first, then the principal
    ├── an exit loses a unit ................... every harvest goes through, A3 holds
    └── gates closed ........................... nothing moves, everything resumes
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import ape
import pytest
from ape.contracts import ContractInstance
from ape.exceptions import VirtualMachineError

from tests.contract.test_hostile_vault import Scene, State
from tests.contract.world import ALL, CENT, USDC, World, returned

ONE = 10**18
KINDS = [
    {"UNDERPAYS", "PAYS_NOTHING", "OVERPAYS"},
    {"BURNS_NOTHING", "BURNS_DOUBLE", "BURNS_ALL"},
    {"REVERTS_PREVIEWS", "PREVIEWS_ZERO", "PREVIEWS_HIGH", "PREVIEWS_FREE_WITHDRAWALS"},
    {"ZERO_MAX", "REVERTS_MAX", "HIGH_MAX"},
    {"SPIKES_PRICE", "CRASHES_PRICE"},
    {"DOUBLES_BALANCES"},
]
ENTRIES = {"MINTS_NOTHING", "BURNS_ON_DEPOSIT", "TAKES_HALF", "TAKES_NOTHING"}
LIE_ABOUT_BALANCES = "DOUBLES_BALANCES"


def is_one_kind(pair: tuple[str, str]) -> bool:
    """Whether both are of a kind, so that one hides the other."""
    return any(set(pair) <= kind for kind in KINDS)


PAIRS = [pair for pair in combinations(sorted(set().union(*KINDS)), 2) if not is_one_kind(pair)]
ENTRY_PAIRS = [
    (entry, other)
    for entry in sorted(ENTRIES)
    for other in ("SPIKES_PRICE", "DOUBLES_BALANCES", "OVERREPORTS", "REVERTS_PREVIEWS")
]


@pytest.fixture(scope="module")
def scene(deployed: World) -> Iterator[Scene]:
    """Two positions on a hostile vault, one on an honest one, all with principal and yield."""
    world = deployed
    hostile = world.admin.deploy(world.project.HostileVault, world.usdc)
    world.fund(hostile, 100_000 * USDC)
    own = world.create_with_deposit(1_000 * USDC, vault=hostile)
    neighbour = world.create_with_deposit(500 * USDC, vault=hostile, owner=world.second_owner)
    honest = world.create_with_deposit(500 * USDC, owner=world.second_owner)
    hostile.setPrice(ONE * 11 // 10, sender=world.admin)
    world.vault.push(50 * USDC, sender=world.admin)
    world.fund(world.owner, 100 * USDC)
    world.usdc.approve(world.adapter, ALL, sender=world.owner)
    yield Scene(world, hostile, own, neighbour, honest)


@pytest.fixture(scope="module")
def start(scene: Scene) -> State:
    """Return the state that every case begins in."""
    return scene.state()


def attempt(scene: Scene, start: State, pair: tuple[str, str], operation: str) -> None:
    """Make one call under two misbehaviours and judge what it left."""
    scene.misbehave(*pair)
    try:
        scene.calls_of_owner[operation]()
    except VirtualMachineError:
        assert scene.state() == start
        return
    end = scene.state()
    believed = LIE_ABOUT_BALANCES not in pair
    scene.check(is_believed=believed)
    assert end.others == start.others
    assert end.credited - start.credited == end.at_position - start.at_position
    if believed:
        # What is booked changed by what was measured, and no more was burned than was owned.
        assert end.booked.shares - start.booked.shares == end.pooled - start.pooled
        assert start.pooled - end.pooled <= start.booked.shares
    if operation == "harvest":
        assert end.booked.principal == start.booked.principal
        assert end.at_owner == start.at_owner


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
@pytest.mark.sampled(14)
def test_two_misbehaviours__leaving_or_harvesting__hurt_no_other(
    scene: Scene, start: State, pair: tuple[str, str]
) -> None:
    for operation in ("withdraw all", "withdraw part", "harvest"):
        with ape.chain.isolate():
            attempt(scene, start, pair, operation)


@pytest.mark.parametrize("pair", ENTRY_PAIRS, ids="+".join)
@pytest.mark.sampled(8)
def test_two_misbehaviours__paying_in__hurt_no_other(
    scene: Scene, start: State, pair: tuple[str, str]
) -> None:
    with ape.chain.isolate():
        attempt(scene, start, pair, "deposit")


# ------------------------------------------------------------------------------------- habits

HABITS = [
    "ZERO_MAX",
    "GATES_SHARES",
    "GATES_ASSETS",
    "LOSS_ON_EXIT",
    "NO_PREVIEW_WITHDRAW",
    "PAYS_WHAT_IT_HAS",
    "LOSES_A_UNIT",
    "REFUSES_REDEMPTIONS",
]
"""As ``FamilyVault.vy`` declares them, in that order."""


@pytest.fixture
def family(world: World) -> ContractInstance:
    """Return a vault without habits, of which a neighbour holds 500 shares through the adapter."""
    vault = world.admin.deploy(world.project.FamilyVault, world.usdc)
    world.create_with_deposit(500 * USDC, vault=vault, owner=world.second_owner)
    return vault


def grow(world: World, vault: ContractInstance, percent: int) -> None:
    """Earn: raise the price, and pay the USDC in."""
    world.fund(vault, world.balance(vault) * percent // 100)
    vault.setPrice(ONE * (100 + percent) // 100, sender=world.admin)


def have(world: World, vault: ContractInstance, *habits: str) -> None:
    vault.setHabits(sum(1 << HABITS.index(name) for name in habits), sender=world.admin)


def leave_only(world: World, vault: ContractInstance, assets: int) -> None:
    """Lend out all but this much."""
    vault.lend(world.payee, world.balance(vault) - assets, sender=world.admin)


def withdraw(world: World, token_id: int, *arguments: int) -> int:
    return returned(world.adapter.withdrawPrincipal(token_id, *arguments, sender=world.owner))


def check_neighbour(world: World, vault: ContractInstance) -> None:
    """Hold A1 with the neighbour's shares whole, and A2."""
    supply = int(world.position.totalSupply())
    booked = [world.booked(token_id) for token_id in range(supply)]
    shares = [each.shares for each in booked if each.vault == vault]
    assert shares[0] == 500 * USDC
    assert sum(shares) <= vault.balanceOf(world.adapter)
    assert world.balance(world.adapter) == 0


@pytest.mark.parametrize("fee_bps", [0, 30])
@pytest.mark.parametrize("pieces", [[1, 400 * USDC, 333, 10**9], [299_999_999] * 4])
def test_short_of_usdc__again_and_again__all_of_it_in_the_end(
    world: World, family: ContractInstance, pieces: list[int], fee_bps: int
) -> None:
    """MetaMorpho 1.1: no price shows that USDC is missing."""
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    family.setCosts(0, fee_bps, sender=world.admin)
    leave_only(world, family, 0)
    with ape.reverts("adapter: refused, name less"):
        withdraw(world, token_id)
    total = calls = 0
    for piece in pieces:
        world.fund(family, piece)
        expected = min(piece + world.balance(family) - piece, world.booked(token_id).principal)
        paid = withdraw(world, token_id)
        total, calls = total + paid, calls + 1
        assert expected - 2 - expected * fee_bps // 9_000 <= paid <= expected
        assert world.booked(token_id).principal == 1_000 * USDC - total
        check_neighbour(world, family)
    assert total == 1_000 * USDC
    world.fund(family, 1_000 * USDC)
    earned = returned(world.adapter.harvest(token_id, sender=world.outsider))
    due = 1_100 * USDC * (10_000 - fee_bps) // 10_000 - 1_000 * USDC
    assert due - 2 * (calls + 1) <= earned <= due + 2
    check_neighbour(world, family)


def test_short_of_usdc__max_answers_zero__paid_in_parts(
    world: World, family: ContractInstance
) -> None:
    """Morpho Vault V2: its max functions do not tell how much there is; asked for it, it pays."""
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    have(world, family, "ZERO_MAX")
    leave_only(world, family, 400 * USDC)
    with pytest.raises(VirtualMachineError):
        withdraw(world, token_id, ALL, 400 * USDC + 1)
    assert withdraw(world, token_id, 400 * USDC) == 400 * USDC
    assert world.booked(token_id).principal == 600 * USDC
    world.fund(family, 600 * USDC)
    assert withdraw(world, token_id) == 600 * USDC
    check_neighbour(world, family)


@pytest.mark.parametrize("price", [ONE * 9 // 10, ONE * 11 // 10 + 1])
def test_short_of_usdc__max_answers_zero_and_shares_do_not_suffice__idle_is_paid(
    world: World, family: ContractInstance, price: int
) -> None:
    """Morpho Vault V2 after a loss, and right after a deposit whose preview is a share above it."""
    is_loss = price < ONE
    if not is_loss:
        family.setPrice(price, sender=world.admin)
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    if is_loss:
        family.setPrice(price, sender=world.admin)
    have(world, family, "ZERO_MAX")
    leave_only(world, family, 300 * USDC)
    before = world.booked(token_id)
    assert family.previewWithdraw(before.principal) > before.shares

    assert withdraw(world, token_id) == 300 * USDC
    booked = world.booked(token_id)
    assert booked.principal == 700 * USDC
    assert before.shares - booked.shares == family.previewWithdraw(300 * USDC)
    world.fund(family, 1_000 * USDC)
    rest = withdraw(world, token_id)
    worth = 1_000 * USDC * price // ONE if is_loss else 1_000 * USDC
    assert worth - 3 <= 300 * USDC + rest <= worth
    check_neighbour(world, family)


def test_short_of_usdc__the_neighbour_has_shares_enough__no_share_of_it_is_burned(
    world: World, family: ContractInstance
) -> None:
    """More lies idle than the own shares are worth, and redemptions are refused."""
    token_id = world.create_with_deposit(100 * USDC, vault=family)
    family.setPrice(ONE // 2, sender=world.admin)
    have(world, family, "ZERO_MAX", "REFUSES_REDEMPTIONS")
    with ape.reverts("adapter: burned too many shares"):
        withdraw(world, token_id)
    check_neighbour(world, family)
    assert withdraw(world, token_id, 50 * USDC) == 50 * USDC
    check_neighbour(world, family)


@pytest.mark.parametrize("deposit", [20 * USDC, 1_000 * USDC + 1, 33_333_333])
def test_exit_loses_a_unit__many_harvests__none_reverts(world: World, deposit: int) -> None:
    """Without two units above the principal, most of these would cut into it, and revert."""
    vault = world.admin.deploy(world.project.FamilyVault, world.usdc)
    have(world, vault, "LOSES_A_UNIT")
    token_id = world.create_with_deposit(deposit, vault=vault)
    world.fund(vault, 100 * USDC)
    for step in range(1, 13):
        price = vault.price() * (10_000 + 7 * step) // 10_000
        vault.setPrice(price, sender=world.admin)
        credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
        assert credited >= CENT
        booked = world.booked(token_id)
        assert vault.previewWithdraw(booked.principal) <= booked.shares  # A3
    assert withdraw(world, token_id) == deposit


def test_short_of_usdc__harvest__waits_whole(world: World, family: ContractInstance) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    leave_only(world, family, 100 * USDC - 5)
    before = world.booked(token_id)
    with ape.reverts("erc20: transfer amount exceeds balance"):
        world.adapter.harvest(token_id, sender=world.outsider)
    assert world.booked(token_id) == before
    world.fund(family, 5)
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) >= 100 * USDC - 4
    check_neighbour(world, family)


@pytest.mark.parametrize(("loss_bps", "is_harvested"), [(0, True), (50, True), (51, False)])
def test_redeem_pays_less__harvest__up_to_fifty_bps(
    world: World, family: ContractInstance, loss_bps: int, *, is_harvested: bool
) -> None:
    # With the two units that stay above the principal, 1,000 USDC are there to be harvested.
    token_id = world.create_with_deposit(1_000 * USDC + 2, vault=family)
    family.setPrice(2 * ONE, sender=world.admin)
    world.fund(family, 2_000 * USDC)
    have(world, family, "LOSS_ON_EXIT")
    family.setCosts(loss_bps, 0, sender=world.admin)
    if not is_harvested:
        with ape.reverts("adapter: redeemed below preview"):
            world.adapter.harvest(token_id, sender=world.outsider)
        return
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert credited == 1_000 * USDC * (10_000 - loss_bps) // 10_000
    assert world.account(token_id).credited == credited
    check_neighbour(world, family)


@pytest.mark.parametrize("loss_bps", [1, 50, 2_000, 9_999])
def test_withdraw_refuses_a_loss__redeemed_at_a_loss_until_no_share_is_left(
    world: World, family: ContractInstance, loss_bps: int
) -> None:
    """Yearn V3 and TokenizedStrategy: withdraw allows no loss by default, redeem any."""
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    have(world, family, "LOSS_ON_EXIT")
    family.setCosts(loss_bps, 0, sender=world.admin)
    with ape.reverts("adapter: too little paid"):
        withdraw(world, token_id, ALL, 1_000 * USDC)
    total = 0
    # A last unit of principal can be worth less than a unit.
    while world.booked(token_id).principal > 1:
        total += withdraw(world, token_id)
        check_neighbour(world, family)
    # Yield makes good for principal as far as it goes; the rest is final.
    worth = 1_100 * USDC * (10_000 - loss_bps) // 10_000
    assert min(worth, 1_000 * USDC) - 4 <= total <= 1_000 * USDC
    assert (world.booked(token_id).shares == 0) is (worth < 1_000 * USDC)


def test_withdraw_silently_pays_less__booked_is_what_came(
    world: World, family: ContractInstance
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    have(world, family, "PAYS_WHAT_IT_HAS")
    leave_only(world, family, 250 * USDC)
    with ape.reverts("adapter: too little paid"):
        withdraw(world, token_id, ALL, 250 * USDC + 1)
    receipt = world.adapter.withdrawPrincipal(token_id, ALL, 250 * USDC, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    assert (event.assets, event.principalAfter, event.loss) == (250 * USDC, 750 * USDC, 0)
    check_neighbour(world, family)
    with ape.reverts("adapter: vault paid nothing"):
        withdraw(world, token_id)
    world.fund(family, 1_000 * USDC)
    receipt = world.adapter.withdrawPrincipal(token_id, sender=world.owner)
    (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
    # The shares that were yield are all that was left.
    assert 100 * USDC - 2 <= event.assets <= 100 * USDC
    assert event.assets + event.loss == 750 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)
    check_neighbour(world, family)


def test_harvest__silently_paid_less__reverts(world: World, family: ContractInstance) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    have(world, family, "PAYS_WHAT_IT_HAS")
    leave_only(world, family, 99 * USDC)
    with ape.reverts("adapter: redeemed below preview"):
        world.adapter.harvest(token_id, sender=world.outsider)


def test_no_preview_of_withdrawals__own_shares_in_proportion(
    world: World, family: ContractInstance
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    have(world, family, "NO_PREVIEW_WITHDRAW")
    with ape.reverts("adapter: vault does not answer"):
        world.create(vault=family)
    with ape.reverts("adapter: vault does not answer"):
        world.adapter.harvest(token_id, sender=world.outsider)
    # A tenth of the principal is a tenth of the shares, yield included: all of it the owner's.
    assert withdraw(world, token_id, 100 * USDC) == 110 * USDC
    assert world.booked(token_id)[1:3] == (890 * USDC, 900 * USDC)
    leave_only(world, family, 90 * USDC)
    assert 90 * USDC - 2 <= withdraw(world, token_id) <= 90 * USDC
    world.fund(family, 2_000 * USDC)
    assert 900 * USDC - 2 <= withdraw(world, token_id) <= 900 * USDC + 2
    assert world.booked(token_id)[1:3] == (0, 0)
    check_neighbour(world, family)


@pytest.mark.parametrize("fee_bps", [1, 100, 5_000])
def test_exit_fee__yield_pays_first__then_the_principal(
    world: World, family: ContractInstance, fee_bps: int
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    family.setCosts(0, fee_bps, sender=world.admin)
    gross = 1_100 * USDC
    net = gross * (10_000 - fee_bps) // 10_000
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert abs(credited - max(0, net - 1_000 * USDC)) <= 4
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) == 0
    paid = withdraw(world, token_id)
    assert abs(paid - min(net, 1_000 * USDC)) <= 2
    assert world.booked(token_id).principal == 0
    check_neighbour(world, family)


def test_loss_and_shortage__repeated__own_worth_and_no_more(
    world: World, family: ContractInstance
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    family.setPrice(ONE * 3 // 5, sender=world.admin)
    leave_only(world, family, 0)
    total = 0
    for piece in (100 * USDC, 250 * USDC, 250 * USDC):
        world.fund(family, piece)
        total += withdraw(world, token_id)
        check_neighbour(world, family)
    assert 600 * USDC - 6 <= total <= 600 * USDC
    while world.booked(token_id).shares:
        world.fund(family, CENT)
        total += withdraw(world, token_id)
    assert 600 * USDC - 8 <= total <= 600 * USDC
    assert world.booked(token_id).principal == 0


def test_gates_closed__nothing_moves__everything_resumes(
    world: World, family: ContractInstance
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    grow(world, family, 10)
    have(world, family, "GATES_ASSETS", "GATES_SHARES", "ZERO_MAX")
    before = world.booked(token_id)
    calls: list[tuple[str, Any]] = [
        (
            "vault: cannot receive assets",
            lambda: world.adapter.harvest(token_id, sender=world.owner),
        ),
        ("adapter: refused, name less", lambda: withdraw(world, token_id)),
        (
            "adapter: shares not transferable",
            lambda: world.adapter.exitInKind(token_id, sender=world.owner),
        ),
    ]
    for reason, call in calls:
        with ape.reverts(reason):
            call()
    assert world.booked(token_id) == before
    have(world, family, "ZERO_MAX")
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) >= 100 * USDC - 4
    assert withdraw(world, token_id) == 1_000 * USDC
    check_neighbour(world, family)


def test_short_of_usdc__max_answers_zero__pays_what_lies_there(world: World) -> None:
    vault = world.admin.deploy(world.project.FamilyVault, world.usdc)
    token_id = world.create_with_deposit(1_000 * USDC, vault=vault)
    vault.setHabits(1, sender=world.admin)  # ZERO_MAX
    vault.lend(world.payee, 600 * USDC, sender=world.admin)
    paid = returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner))
    assert paid == 400 * USDC
    assert world.booked(token_id).principal == 600 * USDC
