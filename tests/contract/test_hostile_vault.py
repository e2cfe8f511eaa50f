"""A hostile vault (``HostileVault.vy``) hurts nobody but those who chose it, and those only so far.

::

    each misbehaviour
    ├── in each operation of one position
    │   ├── others on an honest vault ........ untouched
    │   ├── others on the same vault ......... keep their shares, A1
    │   ├── the adapter ...................... keeps no USDC (A2), no approval
    │   ├── the own position ................. reverts whole, or booked is what was measured
    │   └── exitInKind ....................... works, unless the share token itself refuses
    ├── one after the other .................. others then leave with all that is theirs
    └── before createVault ................... refused where its checks promise so
    re-entry into every function
    ├── of the adapter ....................... reverts, from calls and from views
    └── of the position contract ............. reverts, or is the vault's own affair
    the price moved within a block ........... minSharesOut and minAssetsOut are the owner's floor
    a megabyte of answer ..................... traps nobody
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ape
import pytest
from ape.contracts import ContractInstance
from ape.exceptions import VirtualMachineError

from tests.contract.world import ALL, NO_SMOOTHING, USDC, Position, World, returned

SOURCE = Path(__file__).parents[2] / "contracts" / "mocks" / "HostileVault.vy"
NAMES = re.findall(r"^    ([A-Z_]+)  # ", SOURCE.read_text(), re.MULTILINE)
ONE = 10**18

LIES_ABOUT_BALANCES = {"DOUBLES_BALANCES"}
"""What is booked is what a vault says it holds; for its believers, that is all there is."""
REFUSES_SHARES = {"REFUSES_TRANSFER", "DENIES_TRANSFER"}
REFUSED_AT_OPENING = {
    "WRONG_ASSET": "adapter: not a usdc vault",
    "BURNS_GAS_IN_VIEWS": "adapter: not a usdc vault",
    "REVERTS_BALANCES": "adapter: vault does not answer",
    "REVERTS_PREVIEWS": "adapter: vault does not answer",
}


def flag(*names: str) -> int:
    return sum(1 << NAMES.index(name) for name in names)


class State(NamedTuple):
    """What a call finds and leaves."""

    others: tuple[Any, ...]
    booked: Position
    credited: int
    at_owner: int
    at_position: int
    pooled: int  # shares of the hostile vault that the adapter really has


@dataclass(frozen=True)
class Scene:
    """Three positions with principal and yield: two on the hostile vault, one on an honest one."""

    world: World
    hostile: ContractInstance
    own: int
    neighbour: int
    honest: int

    @property
    def calls_of_owner(self) -> dict[str, Callable[[], Any]]:
        """What can be done with the position of the hostile vault's friend."""
        adapter, owner = self.world.adapter, self.world.owner
        tail = (self.hostile, 60)
        return {
            "deposit": lambda: adapter.deposit(self.own, 100 * USDC, 0, sender=owner),
            "withdraw all": lambda: adapter.withdrawPrincipal(self.own, sender=owner),
            "withdraw part": lambda: adapter.withdrawPrincipal(self.own, 9 * USDC, sender=owner),
            "harvest": lambda: adapter.harvest(self.own, sender=self.world.outsider),
            "exit in kind": lambda: adapter.exitInKind(self.own, sender=owner),
            "open": lambda: adapter.open(1, 5_000, *tail, 100 * USDC, 0, sender=owner),
        }

    def state(self) -> State:
        """Read all that a reverted call must not change."""
        world = self.world
        return State(
            others=(
                world.booked(self.neighbour),
                world.booked(self.honest),
                world.account(self.neighbour),
                world.vault.balanceOf(world.adapter),
                world.balance(world.vault),
                world.balance(world.second_owner),
            ),
            booked=world.booked(self.own),
            credited=world.account(self.own).credited,
            at_owner=world.balance(world.owner),
            at_position=world.balance(world.position),
            pooled=int(self.hostile.sharesOf(world.adapter)),
        )

    def check(self, *, is_believed: bool = True) -> None:
        """Hold A1, A2, P1 and the rule that principal needs shares."""
        world = self.world
        supply = int(world.position.totalSupply())
        booked = [world.booked(token_id) for token_id in range(supply)]
        for vault, shares in [
            (self.hostile, self.hostile.sharesOf(world.adapter)),
            (world.vault, world.vault.balanceOf(world.adapter)),
        ]:
            if is_believed or vault is world.vault:
                assert sum(each.shares for each in booked if each.vault == vault) <= shares, "A1"
        assert world.balance(world.adapter) == 0, "A2"
        assert world.usdc.allowance(world.adapter, self.hostile) == 0
        assert world.balance(world.position) >= world.position.liabilities(), "P1"
        assert all(each.shares or not each.principal for each in booked)

    def misbehave(self, *names: str) -> None:
        self.hostile.misbehave(flag(*names), sender=self.world.admin)


@pytest.fixture(scope="module")
def scene(deployed: World) -> Iterator[Scene]:
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
    """Return the state that every test begins in."""
    return scene.state()


OPERATIONS = ["deposit", "withdraw all", "withdraw part", "harvest", "exit in kind", "open"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["", *NAMES])
@pytest.mark.sampled(14)
def test_hostile_vault__any_operation__hurts_no_other(
    scene: Scene, start: State, name: str, operation: str
) -> None:
    world = scene.world
    if name:
        scene.misbehave(name)
    try:
        receipt = scene.calls_of_owner[operation]()
    except VirtualMachineError:
        assert name, "an honest vault serves"
        assert operation != "exit in kind" or name in REFUSES_SHARES
        assert scene.state() == start
        return
    scene.check(is_believed=name not in LIES_ABOUT_BALANCES)
    end = scene.state()
    assert end.others == start.others
    credited = end.credited - start.credited
    assert credited == end.at_position - start.at_position
    burned = start.pooled - end.pooled
    if operation == "harvest":
        assert returned(receipt) == credited
    if operation.startswith("withdraw"):
        (event,) = receipt.decode_logs(world.adapter.PrincipalWithdrawn)
        assert event.assets == end.at_owner - start.at_owner
        assert burned <= start.booked.shares
    if operation == "exit in kind":
        assert name not in REFUSES_SHARES
        assert returned(receipt) == start.booked.shares
        assert burned == (0 if name == "PRETENDS_TRANSFER" else start.booked.shares)


@pytest.mark.slow
def test_hostile_vault__after_every_misbehaviour__others_leave_whole(
    scene: Scene, start: State
) -> None:
    world, second = scene.world, scene.world.second_owner
    world.fund(world.owner, 100_000 * USDC)
    for name in NAMES:
        if name in LIES_ABOUT_BALANCES:
            continue
        scene.hostile.setPrice(ONE * 11 // 10, sender=world.admin)
        scene.misbehave(name)
        for operation in ("deposit", "harvest", "withdraw part"):
            try:
                scene.calls_of_owner[operation]()
            except VirtualMachineError:
                continue
    scene.misbehave()
    scene.check()
    assert scene.state().others == start.others
    assert returned(world.adapter.harvest(scene.honest, sender=second)) >= 50 * USDC - 4
    paid = returned(world.adapter.withdrawPrincipal(scene.honest, sender=second))
    assert paid >= 500 * USDC - 2
    shares = world.booked(scene.neighbour).shares
    assert returned(world.adapter.exitInKind(scene.neighbour, sender=second)) == shares
    assert scene.hostile.sharesOf(second) == shares


@pytest.mark.parametrize(("name", "reason"), REFUSED_AT_OPENING.items())
def test_create_vault__views_fail__reverts(scene: Scene, name: str, reason: str) -> None:
    scene.misbehave(name)
    with ape.reverts(reason):
        scene.world.create(vault=scene.hostile)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("UNDERPAYS", "adapter: redeemed below preview"),
        ("PAYS_NOTHING", "adapter: redeemed below preview"),
        ("BURNS_DOUBLE", "adapter: burned above request"),
        ("BURNS_ALL", "adapter: burned above request"),
        ("CRASHES_PRICE", "adapter: principal not covered"),
        ("PREVIEWS_FREE_WITHDRAWALS", "adapter: principal not covered"),
        ("REVERTS_PREVIEWS", "adapter: vault does not answer"),
        ("REVERTS_BALANCES", "adapter: vault does not answer"),
        ("BURNS_GAS_IN_VIEWS", "adapter: vault does not answer"),
        ("REVERTS_EXITS", "vault: refuses"),
    ],
)
def test_harvest__hostile_vault__reverts_whole(
    scene: Scene, start: State, name: str, reason: str
) -> None:
    scene.misbehave(name)
    with ape.reverts(reason):
        scene.calls_of_owner["harvest"]()
    assert scene.state() == start


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PAYS_NOTHING", "adapter: vault paid nothing"),
        ("BURNS_ALL", "adapter: burned too many shares"),
        ("BURNS_DOUBLE", "adapter: refused, name less"),
        ("REVERTS_EXITS", "adapter: refused, name less"),
        ("REVERTS_AT_LENGTH", "adapter: refused, name less"),
        ("REVERTS_BALANCES", "adapter: vault does not answer"),
    ],
)
def test_withdraw_principal__hostile_vault__never_from_others(
    scene: Scene, start: State, name: str, reason: str
) -> None:
    scene.misbehave(name)
    with ape.reverts(reason):
        scene.calls_of_owner["withdraw all"]()
    assert scene.state() == start


@pytest.mark.parametrize(
    "name",
    ["ZERO_MAX", "REVERTS_MAX", "HIGH_MAX", "REVERTS_PREVIEWS", "PREVIEWS_HIGH", "OVERREPORTS"],
)
def test_withdraw_principal__lying_or_silent_views__paid_from_the_own_shares(
    scene: Scene, name: str
) -> None:
    world = scene.world
    scene.misbehave(name)
    paid = returned(scene.calls_of_owner["withdraw all"]())
    assert paid >= 1_000 * USDC
    assert scene.hostile.sharesOf(world.adapter) >= world.booked(scene.neighbour).shares
    scene.check()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MINTS_NOTHING", "adapter: no shares minted"),
        ("BURNS_ON_DEPOSIT", "adapter: no shares minted"),
    ],
)
def test_deposit__no_shares__reverts(scene: Scene, start: State, name: str, reason: str) -> None:
    scene.misbehave(name)
    with ape.reverts(reason):
        scene.calls_of_owner["deposit"]()
    assert scene.state() == start


@pytest.mark.parametrize(("name", "taken"), [("TAKES_HALF", 50 * USDC), ("TAKES_NOTHING", 0)])
def test_deposit__not_all_taken__rest_goes_back(
    scene: Scene, start: State, name: str, taken: int
) -> None:
    scene.misbehave(name)
    scene.calls_of_owner["deposit"]()
    assert scene.world.booked(scene.own).principal - start.booked.principal == taken
    assert scene.world.balance(scene.world.owner) == 100 * USDC - taken
    scene.check()


# ------------------------------------------------------------------------------------- re-entry


def encode_arguments(contract: ContractInstance, method: Any, owner: str, token_id: int) -> bytes:
    """Return calldata for a function, with arguments that concern the vault's own position."""
    samples: dict[str, Any] = {"address": owner, "bool": True, "bytes": b"", "uint256": token_id}
    arguments: list[Any] = []
    for item in method.inputs:
        kind = str(item.type)
        if kind.endswith("]"):
            arguments.append([])
        elif kind.startswith("bytes") and kind != "bytes":
            arguments.append(bytes(int(kind[5:])))
        else:
            arguments.append(samples.get(kind, 60))
    handler = getattr(contract, method.name)
    return bytes(handler.encode_input(*arguments))


@pytest.fixture(scope="module")
def vault_owned(scene: Scene, start: State) -> int:  # noqa: ARG001 - which is read before
    """Open a position that the hostile vault owns, with principal, yield and credit."""
    world, hostile = scene.world, scene.hostile
    token_id = int(world.position.totalSupply())
    hostile.setPrice(ONE, sender=world.admin)
    for target, call in [
        (world.adapter, world.adapter.createVault.encode_input(1, NO_SMOOTHING, hostile, 60)),
        (world.usdc, world.usdc.approve.encode_input(world.adapter, ALL)),
        (world.adapter, world.adapter.deposit.encode_input(token_id, 100 * USDC, 0)),
    ]:
        hostile.act(target, call, sender=world.admin)
    hostile.setPrice(ONE * 11 // 10, sender=world.admin)
    world.credit(token_id, USDC)
    assert world.position.ownerOf(token_id) == hostile
    return token_id


def plan_every_function(scene: Scene, contract: ContractInstance, token_id: int) -> list[str]:
    """Have the vault re-enter every function of a contract; return their names, in order."""
    kind = contract.contract_type
    methods = [*kind.view_methods, *kind.mutable_methods]
    for method in methods:
        data = encode_arguments(contract, method, scene.hostile.address, token_id)
        scene.hostile.reenter(contract, data, sender=scene.world.admin)
    return [str(method.name) for method in methods]


def succeeded(scene: Scene, names: list[str]) -> set[str]:
    """Return the functions that the vault entered with success."""
    bits = int(scene.hostile.reentered())
    return {name for index, name in enumerate(names) if bits >> index & 1}


ENTERING = ["deposit", "withdraw all", "harvest", "exit in kind", "open"]


@pytest.mark.parametrize("operation", ENTERING)
@pytest.mark.sampled(2)
def test_reentry__into_the_adapter__locked(scene: Scene, vault_owned: int, operation: str) -> None:
    names = plan_every_function(scene, scene.world.adapter, vault_owned)
    scene.misbehave("REENTERS")
    before = scene.world.booked(vault_owned)
    others = scene.state().others
    scene.calls_of_owner[operation]()
    # Both are immutable, and no function of the contract.
    assert succeeded(scene, names) <= {"usdc", "position"}
    assert scene.world.booked(vault_owned) == before
    assert scene.state().others == others
    scene.check()


@pytest.mark.parametrize("operation", ENTERING)
@pytest.mark.sampled(2)
def test_reentry__into_the_position__only_the_vaults_own_affairs(
    scene: Scene, vault_owned: int, operation: str
) -> None:
    position = scene.world.position
    names = plan_every_function(scene, position, vault_owned)
    mutable = {str(method.name) for method in position.contract_type.mutable_methods}
    scene.misbehave("REENTERS")
    others = scene.state().others
    credited = scene.state().credited
    scene.calls_of_owner[operation]()
    own_affairs = {"withdrawUnspentYield", "requestRelease", "bumpKeyEpoch"}
    entered = succeeded(scene, names) & mutable
    assert own_affairs <= entered, "or this test enters nothing"
    assert entered <= own_affairs | {"sweep"}
    end = scene.state()
    assert end.others == others
    assert (end.credited > credited) is (operation == "harvest")
    assert position.liabilities() == scene.world.balance(position)
    scene.check()


@pytest.mark.parametrize("operation", ["withdraw all", "harvest", "open"])
def test_reentry__from_views__no_function_answers(
    scene: Scene, vault_owned: int, operation: str
) -> None:
    adapter = scene.world.adapter
    for method in adapter.contract_type.view_methods:
        if method.name not in {"usdc", "position"}:
            data = encode_arguments(adapter, method, scene.hostile.address, vault_owned)
            scene.hostile.reenter(adapter, data, sender=scene.world.admin)
    for method in adapter.contract_type.mutable_methods:
        data = encode_arguments(adapter, method, scene.hostile.address, vault_owned)
        scene.hostile.reenter(adapter, data, sender=scene.world.admin)
    scene.misbehave("REENTERS_IN_VIEWS")
    others = scene.state().others
    scene.calls_of_owner[operation]()  # the vault reverts if a function let it in
    assert scene.state().others == others
    scene.check()


# ----------------------------------------------------------------------- price, megabytes, zero


def test_deposit__price_spiked_within_the_block__floor_protects(scene: Scene) -> None:
    world = scene.world
    scene.misbehave("SPIKES_PRICE")
    fair = 100 * USDC * 10 // 11
    with ape.reverts("adapter: too few shares"):
        world.adapter.deposit(scene.own, 100 * USDC, fair, sender=world.owner)
    scene.misbehave()
    world.adapter.deposit(scene.own, 100 * USDC, fair, sender=world.owner)


def test_withdraw_principal__price_crashed_within_the_block__floor_protects(scene: Scene) -> None:
    world = scene.world
    scene.hostile.setPrice(ONE // 10, sender=world.admin)
    with ape.reverts("adapter: too little paid"):
        world.adapter.withdrawPrincipal(scene.own, ALL, 1_000 * USDC, sender=world.owner)
    scene.hostile.setPrice(ONE, sender=world.admin)
    paid = world.adapter.withdrawPrincipal(scene.own, ALL, 1_000 * USDC, sender=world.owner)
    assert returned(paid) == 1_000 * USDC


def test_harvest__needs_no_share_for_the_principal__keeps_principal_and_shares(
    scene: Scene, start: State
) -> None:
    scene.misbehave("PREVIEWS_FREE_WITHDRAWALS")
    with ape.reverts("adapter: principal not covered"):
        scene.calls_of_owner["harvest"]()
    scene.misbehave()
    assert scene.world.booked(scene.own) == start.booked


def test_harvest__burns_nothing__shares_stay_booked(scene: Scene, start: State) -> None:
    scene.misbehave("BURNS_NOTHING")
    assert returned(scene.calls_of_owner["harvest"]()) > 0
    assert scene.world.booked(scene.own).shares == start.booked.shares == 1_000 * USDC


@pytest.mark.parametrize(
    ("deposited", "harvested"), [(20_003, 0), (20_004, 0), (20_005, 10_000), (20_006, 10_000)]
)
def test_harvest__exactly_a_cent__is_enough(scene: Scene, deposited: int, harvested: int) -> None:
    """At a price of 1.5 a third of the shares is yield, less what two units of slack need:
    6_666 shares are worth 9_999, 6_667 are worth 10_000."""
    world = scene.world
    scene.hostile.setPrice(ONE, sender=world.admin)
    token_id = world.create_with_deposit(deposited, vault=scene.hostile)
    scene.hostile.setPrice(ONE * 3 // 2, sender=world.admin)
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) == harvested


def set_price_in_redemption(scene: Scene, price: int) -> None:
    """Have the vault lower its price between preview and payment."""
    data = scene.hostile.setPrice.encode_input(price)
    scene.hostile.reenter(scene.hostile, data, sender=scene.world.admin)
    scene.misbehave("REENTERS")


def test_harvest__shortfall__50_bps_accepted_51_refused(scene: Scene) -> None:
    world = scene.world
    scene.hostile.setPrice(ONE * 5 // 4, sender=world.admin)
    world.adapter.withdrawPrincipal(scene.own, sender=world.owner)
    shares = world.booked(scene.own).shares
    scene.hostile.setPrice(ONE, sender=world.admin)
    assert world.adapter.pendingYield(scene.own) == shares == 200 * USDC
    set_price_in_redemption(scene, ONE * 9_949 // 10_000)
    with ape.reverts("adapter: redeemed below preview"):
        world.adapter.harvest(scene.own, sender=world.outsider)
    set_price_in_redemption(scene, ONE * 9_950 // 10_000)
    credited = returned(world.adapter.harvest(scene.own, sender=world.outsider))
    assert credited == world.account(scene.own).credited == 199 * USDC
    scene.check()


def test_harvest__one_share_too_few_for_the_principal__reverts(scene: Scene) -> None:
    world = scene.world
    scene.hostile.setPrice(2 * ONE, sender=world.admin)
    # Two units of slack keep one share more than the principal needs: one more is missing.
    lower = 1_000 * USDC * ONE // (500 * USDC + 2) + 1
    set_price_in_redemption(scene, lower)
    with ape.reverts("adapter: principal not covered"):
        world.adapter.harvest(scene.own, sender=world.outsider)
    set_price_in_redemption(scene, 2 * ONE)
    assert returned(world.adapter.harvest(scene.own, sender=world.outsider)) == 1_000 * USDC - 2


@pytest.mark.parametrize("ending", ["f3", "fd"], ids=["returned", "reverted"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.sampled(4)
def test_hostile_vault__answers_a_megabyte__traps_nobody(
    scene: Scene, start: State, operation: str, ending: str
) -> None:
    provider, address = ape.chain.provider, scene.hostile.address
    # Every call answers 2**20 bytes, the first word of them 1: mstore(0, 1), return(0, 2**20).
    code = provider.get_code(address)
    provider.set_code(address, bytes.fromhex("60015f52621000005f" + ending))
    try:
        scene.calls_of_owner[operation]()
    except VirtualMachineError:
        assert (operation, ending) != ("exit in kind", "f3")
    provider.set_code(address, code)
    assert scene.state().others == start.others
    scene.check()
