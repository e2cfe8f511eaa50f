"""What a caller with time and money would try, on contracts whose vaults are honest.

::

    numbers at the edge of their fields
    ├── hold, settle .................... exact or refused; no neighbouring field moves
    ├── sums above 64 bits .............. liabilities and owed keep them
    └── deposit, withdrawPrincipal ...... refused, or all there is
    batches
    ├── 200 items, duplicates ........... the last hold counts, costs add up; 201 are refused
    └── over midnight ................... each position opens its own day
    the treasury
    ├── duplicates, nothing, overflow ... paid each time, or the whole batch refused
    └── a payee with code ............... claims like any other
    openings
    ├── 31, 32, 33, 64 bytes of answer .. one whole word is needed
    ├── dirty upper bytes in asset() .... refused
    └── the vault's code is gone later .. nothing is paid in, others untouched
    a caller starves a call of gas ...... all of it happens, or nothing
    a price moved there and back ........ a harvest by a stranger costs the owner nothing
    dust ................................ two units of rounding an operation at most
    a wallet asked for its signature .... cannot look into the adapter meanwhile
"""

from collections.abc import Callable, Iterator
from typing import Any

import ape
import pytest
from ape.contracts import ContractInstance
from ape.exceptions import VirtualMachineError
from eth_abi.abi import encode
from eth_account import Account as EthAccount
from eth_utils.crypto import keccak
from web3.exceptions import Web3Exception

from tests.contract.test_signatures import deposit_nonce
from tests.contract.world import (
    ALL,
    CENT,
    DAY,
    HOUR,
    NO_SMOOTHING,
    NOON,
    ROOT,
    USDC,
    World,
    batch_bytes,
    returned,
)

MOST = 2**63 - 1
ONE = 10**18
MIDNIGHT = NOON + DAY // 2
BEYOND = [MOST + 1, 2**64 - 1, 2**64, 2**64 + 1, 2**128, ALL - 1, ALL]


# ---------------------------------------------------------------------- numbers at the edge


@pytest.mark.parametrize("amount", [0, 1, MOST, *BEYOND])
@pytest.mark.sampled(3)
def test_hold__amount_at_an_edge__granted_or_all_there_is(world: World, amount: int) -> None:
    token_id = world.create_with_credit(MOST, bps=9_999)
    available = MOST * 9_999 // 10_000
    before = world.account(token_id)
    world.hold(token_id, amount)
    after = world.account(token_id)
    granted = min(amount, available)
    expires_at = after.hold_expires_at if granted else 0
    assert after == before._replace(held=granted, hold_expires_at=expires_at)
    assert world.position.modelTier(token_id) == 1
    assert world.position.dailySmoothingBps(token_id) == 9_999
    assert world.position.remainingAllowance(token_id) == available
    assert world.position.withdrawableYield(token_id) == MOST - granted


@pytest.mark.parametrize("expires_at", [2**40 - 1, 2**40, 2**40 + NOON, 2**64 + NOON, ALL])
def test_hold__expiry_beyond_its_field__refused_or_irrelevant(
    world: World, expires_at: int
) -> None:
    token_id = world.create_with_credit(USDC)
    world.hold(token_id, USDC)
    before = world.account(token_id)
    with ape.reverts("position: hold too long"):
        world.position.hold([(token_id, 1, expires_at, 0)], sender=world.settler)
    assert world.account(token_id) == before
    # Nothing asked for frees, whatever else is said.
    world.position.hold([(token_id, 0, expires_at, ALL)], sender=world.settler)
    assert world.account(token_id) == before._replace(held=0, hold_expires_at=0)


@pytest.mark.parametrize("epoch", [1, 2**32, 2**32 + 1, ALL])
def test_hold__epoch_that_is_zero_only_when_cut__grants_nothing_more(
    world: World, epoch: int
) -> None:
    token_id = world.create_with_credit(USDC)
    world.hold(token_id, USDC, key_epoch=epoch)
    assert world.account(token_id)[3:5] == (0, 0)
    world.hold(token_id, USDC // 2)
    before = world.account(token_id)
    world.hold(token_id, USDC, expires_in=20 * HOUR, key_epoch=epoch)
    assert world.account(token_id) == before


@pytest.mark.parametrize("cost", BEYOND)
def test_settle__cost_beyond_its_field__reverts(world: World, cost: int) -> None:
    token_id = world.create_with_credit(MOST)
    world.hold(token_id, MOST)
    for items in ([(token_id, cost)], [(token_id, 1), (token_id, cost)]):
        with ape.reverts("position: cost above hold"):
            world.settle(*items, batch=1)
    world.settle((token_id, MOST), batch=1)
    assert world.account(token_id)[:4] == (MOST, MOST, 0, 0)


def test_settle__sums_above_64_bits__kept_and_swept(world: World) -> None:
    tokens = [world.create_with_credit(MOST, owner=world.second_owner) for _ in range(3)]
    assert world.position.liabilities() == 3 * MOST
    for token_id in tokens:
        world.hold(token_id, MOST)
    world.settle(*[(token_id, MOST) for token_id in tokens])
    assert (world.position.owed(), world.position.liabilities()) == (3 * MOST, 3 * MOST)
    assert world.position.totalSupply() == 3
    assert returned(world.position.sweep(sender=world.outsider)) == 3 * MOST
    assert world.balance(world.payouts) == 3 * MOST
    assert (world.position.owed(), world.position.liabilities()) == (0, 0)


@pytest.mark.parametrize("token_id", [1, 2**64, 2**255, ALL])
def test_any_function__no_such_position__reverts(world: World, token_id: int) -> None:
    world.create_with_deposit(USDC)
    position, adapter, owner = world.position, world.adapter, world.owner
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("position", lambda: world.hold(token_id, 0)),
        ("position", lambda: world.settle((token_id, 0))),
        ("position", lambda: position.withdrawUnspentYield(token_id, sender=owner)),
        ("position", lambda: position.requestRelease(token_id, sender=owner)),
        ("position", lambda: position.bumpKeyEpoch(token_id, sender=owner)),
        ("position", lambda: adapter.deposit(token_id, 1, 0, sender=owner)),
        ("position", lambda: adapter.withdrawPrincipal(token_id, sender=owner)),
        ("position", lambda: adapter.exitInKind(token_id, sender=owner)),
        ("position", lambda: adapter.setHarvestInterval(token_id, 60, sender=owner)),
        ("adapter", lambda: adapter.harvest(token_id, sender=owner)),
    ]
    reasons = {"position": "position: unknown token", "adapter": "adapter: unknown position"}
    for module, call in calls:
        with ape.reverts(reasons[module]):
            call()


@pytest.mark.parametrize("assets", BEYOND)
def test_deposit__beyond_its_field__reverts(world: World, assets: int) -> None:
    token_id = world.create()
    with ape.reverts("adapter: amount too large"):
        world.adapter.deposit(token_id, assets, 0, sender=world.owner)


def test_deposit__endless_floor__reverts(world: World) -> None:
    token_id = world.create()
    with ape.reverts("adapter: too few shares"):
        world.deposit(token_id, MOST, min_shares=ALL)


@pytest.mark.parametrize("assets", [100 * USDC, 100 * USDC + 1, *BEYOND])
@pytest.mark.sampled(3)
def test_withdraw_principal__as_much_or_more__all(world: World, assets: int) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    with ape.reverts("adapter: too little paid"):
        world.adapter.withdrawPrincipal(token_id, assets, ALL, sender=world.owner)
    paid = world.adapter.withdrawPrincipal(token_id, assets, 100 * USDC, sender=world.owner)
    assert returned(paid) == 100 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)


# ---------------------------------------------------------------------------------- batches


def test_hold__two_hundred_for_one_position__the_last_counts(world: World) -> None:
    token_id = world.create_with_credit(200)
    expiry = world.now + HOUR
    requests = [(token_id, amount, expiry, 0) for amount in range(1, 201)]
    world.position.hold(requests, sender=world.settler)
    assert world.account(token_id).held == 200
    world.position.hold([*requests[1:], (token_id, 0, 0, 0)], sender=world.settler)
    assert world.account(token_id).held == 0
    with pytest.raises(VirtualMachineError):
        world.position.hold([*requests, requests[0]], sender=world.settler)


def test_settle__two_hundred_for_one_position__costs_add_up(world: World) -> None:
    token_id = world.create_with_credit(201)
    world.hold(token_id, 200)
    with ape.reverts("position: cost above hold"):
        world.settle(*[(token_id, 1)] * 199, (token_id, 2), batch=9)
    with pytest.raises(VirtualMachineError):
        world.settle(*[(token_id, 0)] * 201, batch=9)
    world.settle(*[(token_id, 1)] * 200, batch=9)
    account = world.account(token_id)
    assert (account.spent, account.held, account.day_spent) == (200, 0, 200)
    assert world.position.owed() == 200


def test_settle__empty_or_free__uses_the_id_and_moves_nothing(world: World) -> None:
    token_id = world.create_with_credit(USDC)
    before = world.account(token_id)
    world.settle(batch=3)
    world.settle((token_id, 0), batch=2**256 - 1)
    assert world.account(token_id) == before
    assert world.position.owed() == 0
    for number in (3, 2**256 - 1):
        with ape.reverts("position: batch already settled"):
            world.settle(batch=number)


def test_batches__at_midnight__each_position_opens_its_own_day(world: World) -> None:
    """One is touched in the last second, one in the first, one only by the settlement itself."""
    early, late, untouched = (world.create_with_credit(10 * USDC, bps=5_000) for _ in range(3))
    for token_id in (early, untouched):
        world.hold(token_id, 5 * USDC, expires_in=24 * HOUR)
    world.next_at(MIDNIGHT - 1)
    world.settle((early, 2 * USDC))
    world.next_at(MIDNIGHT)
    expiry = MIDNIGHT + HOUR
    world.position.hold([(late, 5 * USDC, expiry, 0)], sender=world.settler)
    world.settle((early, 3 * USDC), (late, 5 * USDC), (untouched, 5 * USDC))
    spent = [world.account(token_id) for token_id in (early, late, untouched)]
    assert [account.day_spent for account in spent] == [3 * USDC, 5 * USDC, 5 * USDC]
    assert [account.day_cap for account in spent] == [4 * USDC, 5 * USDC, 5 * USDC]
    assert [account.held for account in spent] == [0, 0, 0]
    left = [world.position.remainingAllowance(token_id) for token_id in (early, late, untouched)]
    assert left == [USDC, 0, 0]


def test_withdraw_unspent_yield__first_second_of_a_day_under_a_hold__leaves_the_hold(
    world: World,
) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 2 * USDC, expires_in=24 * HOUR)
    world.next_at(MIDNIGHT)
    assert returned(world.position.withdrawUnspentYield(token_id, sender=world.owner)) == 8 * USDC
    account = world.account(token_id)
    # The day opened before the withdrawal: its cap is that of 10 USDC, of which 2 are left.
    assert (account.day_cap, account.held, account.day_spent) == (5 * USDC, 2 * USDC, 0)
    assert world.position.remainingAllowance(token_id) == 2 * USDC
    assert world.position.withdrawableYield(token_id) == 0
    # The cap leaves room, but there is nothing to fill it with.
    world.hold(token_id, 5 * USDC)
    assert world.account(token_id).held == 2 * USDC
    world.settle((token_id, 2 * USDC))
    assert world.position.liabilities() == world.position.owed() == 2 * USDC
    with ape.reverts("position: nothing to withdraw"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)


def test_request_release__hold_lapsed_or_never_there__only_an_event(world: World) -> None:
    token_id = world.create_with_credit(USDC)
    for _ in range(2):
        receipt = world.position.requestRelease(token_id, sender=world.owner)
        assert len(receipt.decode_logs(world.position.ReleaseRequested)) == 1
        assert world.account(token_id).held == 0
        world.hold(token_id, USDC, expires_in=60)
        world.wait(60)


def test_position__usdc_sent_by_mistake__belongs_to_nobody(world: World) -> None:
    token_id = world.create_with_credit(3 * USDC)
    world.fund(world.position, 5 * USDC)
    assert world.position.liabilities() == 3 * USDC
    assert returned(world.position.sweep(sender=world.outsider)) == 0
    assert returned(world.position.withdrawUnspentYield(token_id, sender=world.owner)) == 3 * USDC
    assert world.balance(world.position) == 5 * USDC


# ------------------------------------------------------------------------------ the treasury


def test_pay__same_payee_thrice_and_nothing_once__each_paid(world: World) -> None:
    world.fund(world.payouts, 6 * USDC)
    payees = [world.payee] * 3 + [world.second_payee]
    amounts = [USDC, 2 * USDC, 3 * USDC, 0]
    receipt = world.payouts.pay(batch_bytes(0), payees, amounts, sender=world.payer)
    assert [e.amount for e in receipt.decode_logs(world.payouts.Paid)] == amounts
    assert world.balance(world.payee) == 6 * USDC


def test_pay__same_blacklisted_payee_twice__credits_add_up(world: World) -> None:
    world.fund(world.payouts, 3 * USDC)
    world.usdc.blacklist(world.payee, True, sender=world.admin)
    payees = [world.payee, world.payee]
    world.payouts.pay(batch_bytes(ALL), payees, [USDC, 2 * USDC], sender=world.payer)
    assert world.payouts.credited(world.payee) == world.payouts.totalCredited() == 3 * USDC
    assert world.payouts.available() == 0


@pytest.mark.parametrize("amounts", [[ALL, 1], [ALL], [2**255, 2**255, 1], [1, 1]])
def test_pay__sum_overflows_or_is_missing__reverts_whole(world: World, amounts: list[int]) -> None:
    world.fund(world.payouts, 1)
    payees = [world.payee] * len(amounts)
    with pytest.raises(VirtualMachineError):
        world.payouts.pay(batch_bytes(1), payees, amounts, sender=world.payer)
    assert not world.payouts.batchPaid(batch_bytes(1))
    assert world.balance(world.payee) == 0


def test_pay__treasury_blacklisted__credited_not_paid_twice(world: World) -> None:
    world.fund(world.payouts, 4 * USDC)
    world.usdc.blacklist(world.payouts, True, sender=world.admin)
    world.payouts.pay(batch_bytes(1), [world.payee], [4 * USDC], sender=world.payer)
    with ape.reverts("payouts: insufficient funds"):
        world.payouts.pay(batch_bytes(2), [world.payee], [1], sender=world.payer)
    with ape.reverts("usdc: blacklisted"):
        world.payouts.claim(world.payee, sender=world.payee)
    world.usdc.blacklist(world.payouts, False, sender=world.admin)
    assert returned(world.payouts.claim(world.payee, sender=world.payee)) == 4 * USDC
    with ape.reverts("payouts: nothing to claim"):
        world.payouts.claim(world.payee, sender=world.payee)


def test_claim__by_a_contract__paid_where_it_says(world: World) -> None:
    wallet = world.admin.deploy(world.project.ContractWallet, world.owner)
    world.fund(world.payouts, USDC)
    world.usdc.blacklist(wallet, True, sender=world.admin)
    world.payouts.pay(batch_bytes(1), [wallet], [USDC], sender=world.payer)
    call = world.payouts.claim.encode_input(world.payee)
    wallet.act(world.payouts, call, sender=world.owner)
    assert world.balance(world.payee) == USDC


# ---------------------------------------------------------------------------------- openings


def answer(word: int, size: int) -> bytes:
    """Return code that answers ``size`` bytes to every call, the first 32 of them ``word``."""
    code = "7f" + word.to_bytes(32, "big").hex() + "5f52" + "60" + size.to_bytes(1, "big").hex()
    return bytes.fromhex(code + "5ff3")


@pytest.fixture
def set_code() -> Iterator[Callable[[str, bytes], None]]:
    """Give an address other code; put back afterwards, as snapshots may not."""
    changed: dict[str, bytes] = {}
    provider = ape.chain.provider

    def change(address: str, code: bytes) -> None:
        changed.setdefault(address, bytes(provider.get_code(address)))
        provider.set_code(address, code)

    yield change
    for address, code in changed.items():
        provider.set_code(address, code)


STRANGE = "0x00000000000000000000000000000000DeaDBeef"


@pytest.mark.parametrize(
    ("size", "factor", "upper", "is_accepted"),
    [
        (0, 1, 0, False),
        (31, 1, 0, False),
        (31, 256, 0, False),  # which read as a number is the address
        (32, 1, 0, True),
        (33, 1, 0, True),
        (64, 1, 0, True),
        (32, 1, 1, False),
        (64, 1, 2**95, False),
    ],
)
@pytest.mark.sampled(3)
def test_create_vault__strange_answers__one_clean_word_needed(
    world: World,
    set_code: Callable[[str, bytes], None],
    size: int,
    factor: int,
    upper: int,
    *,
    is_accepted: bool,
) -> None:
    set_code(STRANGE, answer(int(world.usdc.address, 16) * factor + (upper << 160), size))
    if is_accepted:
        assert world.create(vault=STRANGE) == 0
        return
    with ape.reverts("adapter: not a usdc vault"):
        world.create(vault=STRANGE)


def test_vault__code_gone_later__pays_nothing_in_and_hurts_no_other(
    world: World, set_code: Callable[[str, bytes], None]
) -> None:
    gone = world.deploy_vault()
    token_id = world.create_with_deposit(100 * USDC, vault=gone)
    honest = world.create_with_deposit(100 * USDC, owner=world.second_owner)
    set_code(gone.address, b"")
    adapter, owner = world.adapter, world.owner
    world.fund(owner, USDC)
    world.usdc.approve(adapter, USDC, sender=owner)
    calls: list[Callable[[], Any]] = [
        lambda: adapter.deposit(token_id, USDC, 0, sender=owner),
        lambda: adapter.harvest(token_id, sender=world.outsider),
        lambda: adapter.withdrawPrincipal(token_id, sender=owner),
        lambda: adapter.pendingYield(token_id),
        lambda: adapter.principalValue(token_id),
    ]
    for call in calls:
        with ape.reverts("adapter: vault does not answer"):
            call()
    assert world.balance(owner) == USDC
    paid = adapter.withdrawPrincipal(honest, sender=world.second_owner)
    assert returned(paid) == 100 * USDC


# --------------------------------------------------------------------------------------- gas


def outcomes(contract: ContractInstance, call: bytes, sender: Any) -> set[int | None]:
    """Simulate a call with every part of the gas it needs; None stands for a revert."""
    web3 = ape.chain.provider.web3
    transaction = {"from": str(sender), "to": contract.address, "data": "0x" + call.hex()}
    enough = int(web3.eth.estimate_gas(transaction)) * 5 // 4
    found: set[int | None] = set()
    for part in range(1, 101):
        try:
            got = web3.eth.call({**transaction, "gas": 21_000 + (enough - 21_000) * part // 100})
            found.add(int.from_bytes(got, "big"))
        except (Web3Exception, ValueError):
            found.add(None)
    return found


@pytest.mark.parametrize("kind", ["MockVault", "FamilyVault", "PlainVault"])
def test_gas__starved__all_or_nothing(world: World, kind: str) -> None:
    """A fallback that a lack of gas could choose would be a third outcome."""
    vault = world.admin.deploy(getattr(world.project, kind), world.usdc)
    token_id = world.create_with_deposit(1_000 * USDC, vault=vault)
    world.fund(vault, 50 * USDC)
    if kind == "FamilyVault":
        vault.setPrice(ONE * 21 // 20, sender=world.admin)
    adapter = world.adapter
    pending = int(adapter.pendingYield(token_id))
    assert pending > 49 * USDC
    harvest = bytes(adapter.harvest.encode_input(token_id))
    assert outcomes(adapter, harvest, world.outsider) == {None, pending}
    withdraw = bytes(adapter.withdrawPrincipal.encode_input(token_id))
    assert outcomes(adapter, withdraw, world.owner) == {None, 1_000 * USDC}
    leave = bytes(adapter.exitInKind.encode_input(token_id))
    shares = world.booked(token_id).shares
    assert outcomes(adapter, leave, world.owner) == {None, shares}


def test_gas__starved_while_paying__nobody_credited_who_could_be_paid(world: World) -> None:
    world.fund(world.payouts, 3)
    payees = [world.payee, world.second_payee, world.outsider]
    call = bytes(world.payouts.pay.encode_input(batch_bytes(1), payees, [1, 1, 1]))
    web3 = ape.chain.provider.web3
    transaction = {"from": world.payer.address, "to": world.payouts.address, "data": call}
    enough = int(web3.eth.estimate_gas(transaction))
    for part in range(30, 101, 2):
        with ape.chain.isolate():
            try:
                receipt = world.payouts.pay(
                    batch_bytes(1),
                    payees,
                    [1, 1, 1],
                    sender=world.payer,
                    gas_limit=enough * part // 100,
                )
            except VirtualMachineError:
                continue
            assert receipt.decode_logs(world.payouts.PayoutCredited) == []
            assert world.balance(world.outsider) == 1
    assert world.payouts.totalCredited() == 0


# --------------------------------------------------------------------- prices there and back


@pytest.fixture
def family(world: World) -> ContractInstance:
    """Return a vault whose price anybody moves at will, with USDC to pay."""
    vault = world.admin.deploy(world.project.FamilyVault, world.usdc)
    world.fund(vault, 1_000_000 * USDC)
    return vault


@pytest.mark.parametrize("factor", [2, 10, 1_000])
def test_harvest__price_inflated_there_and_back__owner_loses_nothing(
    world: World, family: ContractInstance, factor: int
) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    family.setPrice(factor * ONE, sender=world.outsider)
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    booked = world.booked(token_id)
    assert family.previewWithdraw(booked.principal) <= booked.shares  # A3, at that block's price
    family.setPrice(ONE, sender=world.outsider)
    assert credited + world.adapter.principalValue(token_id) >= 1_000 * USDC - 2
    assert world.position.remainingAllowance(token_id) == credited
    taken = returned(world.position.withdrawUnspentYield(token_id, sender=world.owner))
    paid = returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner))
    assert taken + paid >= 1_000 * USDC - 3  # A5
    assert world.booked(token_id)[1:3] == (0, 0)


@pytest.mark.parametrize("donation", [1_000 * USDC, 9_999_999_999])
def test_harvest__donation_before_it__donor_loses_owner_gains(world: World, donation: int) -> None:
    """Who holds nearly all of a vault's shares donates, has a stranger harvested, and leaves."""
    token_id = world.create_with_deposit(1_000 * USDC)
    attacker = world.outsider
    world.fund(attacker, 99_000 * USDC + donation)
    world.usdc.approve(world.vault, ALL, sender=attacker)
    world.vault.deposit(99_000 * USDC, attacker, sender=attacker)
    world.usdc.transfer(world.vault, donation, sender=attacker)
    credited = returned(world.adapter.harvest(token_id, sender=attacker))
    shares = world.vault.balanceOf(attacker)
    world.vault.redeem(shares, attacker, attacker, sender=attacker)
    assert world.balance(attacker) < 99_000 * USDC + donation
    assert credited >= donation // 100 - 4
    paid = returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner))
    assert paid >= 1_000 * USDC - 2


def test_harvest__price_deflated__nothing_to_take(world: World, family: ContractInstance) -> None:
    token_id = world.create_with_deposit(1_000 * USDC, vault=family)
    before = world.booked(token_id)
    family.setPrice(ONE // 2, sender=world.outsider)
    assert returned(world.adapter.harvest(token_id, sender=world.outsider)) == 0
    assert world.booked(token_id) == before


# -------------------------------------------------------------------------------------- dust


@pytest.mark.parametrize("price", [ONE, ONE * 7 // 5, 1_123_456_789_012_345_678, 3 * ONE])
def test_dust__many_small_operations__two_units_each_at_most(
    world: World, family: ContractInstance, price: int
) -> None:
    family.setPrice(price, sender=world.admin)
    token_id = world.create_with_deposit(10 * USDC, vault=family)
    paid_in, operations = 10 * USDC, 1
    for assets in (7, 11, 13, 10_001):
        world.deposit(token_id, assets)
        paid_in, operations = paid_in + assets, operations + 1
    family.setPrice(price * 101 // 100, sender=world.admin)
    earned = int(family.previewRedeem(world.booked(token_id).shares)) - paid_in
    out = 0
    for assets in (1, 2, 3, 9_999):
        out += returned(world.adapter.withdrawPrincipal(token_id, assets, sender=world.owner))
        operations += 1
    for _ in range(3):
        out += returned(world.adapter.harvest(token_id, sender=world.outsider))
        operations += 1
    out += returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner))
    # Shares that were left by rounding may be worth a unit; under a cent, nothing harvests them.
    out += int(world.adapter.pendingYield(token_id))
    assert out >= paid_in + earned - 2 * (operations + 1)  # A4


def test_deposit__too_small_for_a_share__refused_and_kept(
    world: World, family: ContractInstance
) -> None:
    token_id = world.create_with_deposit(10 * USDC, vault=family)
    family.setPrice(3 * ONE, sender=world.admin)
    before = world.booked(token_id)
    world.fund(world.owner, 2)
    world.usdc.approve(world.adapter, 2, sender=world.owner)
    with ape.reverts("vault: zero shares"):
        world.adapter.deposit(token_id, 2, 0, sender=world.owner)
    assert world.booked(token_id) == before
    assert world.balance(world.owner) == 2


@pytest.mark.parametrize(("pending", "is_harvested"), [(CENT - 2, False), (CENT, True)])
def test_harvest__exactly_at_the_minimum__harvested(
    world: World, family: ContractInstance, pending: int, *, is_harvested: bool
) -> None:
    token_id = world.create_with_deposit(pending + 2, vault=family)
    # At twice the price half of the shares are surplus, but for the share of the two units.
    family.setPrice(2 * ONE, sender=world.admin)
    assert world.adapter.pendingYield(token_id) == pending
    credited = returned(world.adapter.harvest(token_id, sender=world.outsider))
    assert credited == (pending if is_harvested else 0)


# ----------------------------------------------------------------- a wallet that is asked


@pytest.fixture
def walletland(world: World) -> tuple[World, ContractInstance]:
    """Return a second deployment on a USDC that asks wallets, and a wallet with 10 USDC there."""
    admin, project = world.admin, world.project
    usdc = admin.deploy(project.WalletUSDC)
    vault = admin.deploy(project.PlainVault, usdc)
    address = admin.get_deployment_address(admin.nonce + 1)
    position = admin.deploy(project.YieldFundedPosition, usdc, address, world.payouts, admin)
    adapter = admin.deploy(project.LendingYieldAdapter, usdc, position)
    wallet = admin.deploy(project.ContractWallet, world.owner)
    usdc.faucet(wallet, 10 * USDC, sender=admin)
    changed = {"usdc": usdc, "vault": vault, "position": position, "adapter": adapter}
    return World(**{**world.__dict__, **changed}), wallet


def sign(world: World, type_hash: bytes, *values: Any) -> tuple[int, bytes, bytes]:
    """Sign a typed message of USDC's with the wallet's key."""
    kinds = ["bytes32", "address", "address", "uint256", "uint256"]
    kinds += ["uint256", "bytes32"] if len(values) == 6 else ["uint256"]
    struct_hash = keccak(encode(kinds, [type_hash, *values]))
    digest = keccak(b"\x19\x01" + bytes(world.usdc.DOMAIN_SEPARATOR()) + struct_hash)
    signed = EthAccount.unsafe_sign_hash(digest, world.owner.private_key)
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


PERMIT = keccak(
    text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
RECEIVE = keccak(
    text="ReceiveWithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


def peek_everywhere(world: World, wallet: ContractInstance, token_id: int) -> None:
    """Have the wallet try every function of the adapter when it is asked for a signature."""
    adapter = world.adapter
    calls = [
        getattr(adapter, name).encode_input(token_id)
        for name in ("positionOf", "pendingYield", "principalValue", "harvestDueAt")
    ]
    calls += [adapter.harvest.encode_input(token_id), adapter.exitInKind.encode_input(token_id)]
    calls += [adapter.withdrawPrincipal.encode_input(token_id)]
    calls += [adapter.deposit.encode_input(token_id, 1, 0)]
    for call in calls:
        wallet.peek(adapter, call, sender=world.owner)


def test_wallet__asked_by_usdc__deposits_and_sees_nothing_half_written(
    walletland: tuple[World, ContractInstance],
) -> None:
    world, wallet = walletland
    adapter, owner = world.adapter, world.owner
    create = adapter.createVault.encode_input(1, NO_SMOOTHING, world.vault, 60)
    wallet.act(adapter, create, sender=owner)
    assert world.position.ownerOf(0) == wallet
    peek_everywhere(world, wallet, 0)

    signature = sign(world, PERMIT, wallet.address, adapter.address, 3 * USDC, 0, ALL)
    permit = adapter.depositWithPermit.encode_input(0, 3 * USDC, 0, ALL, *signature)
    wallet.act(adapter, permit, sender=owner)
    assert world.booked(0).principal == 3 * USDC
    assert world.usdc.allowance(wallet, adapter) == 0

    nonce = deposit_nonce(world, 0, 4 * USDC, owner=wallet.address, salt=ROOT)
    signature = sign(world, RECEIVE, wallet.address, adapter.address, 4 * USDC, 0, 2**255, nonce)
    call = adapter.depositWithAuthorization.encode_input(
        0, 4 * USDC, 4 * USDC, 0, 2**255, ROOT, *signature
    )
    wallet.act(adapter, call, sender=owner)
    assert world.booked(0)[1:3] == (7 * USDC, 7 * USDC)
    with ape.reverts("usdc: authorization used"):
        wallet.act(adapter, call, sender=owner)
    assert world.balance(adapter) == 0


def test_wallet__says_no__nothing_happens(walletland: tuple[World, ContractInstance]) -> None:
    world, wallet = walletland
    adapter, owner = world.adapter, world.owner
    call = adapter.openWithPermit.encode_input(
        1, NO_SMOOTHING, world.vault, 60, USDC, 0, ALL, 27, ROOT, ROOT
    )
    with ape.reverts("adapter: permit refused"):
        wallet.act(adapter, call, sender=owner)
    assert world.position.totalSupply() == 0
