"""Answers that no mock gives: code is put at an address that says exactly what a test needs.

::

    USDC answers false ................. a payment reverts with its reason; `pay` credits instead
    a vault
    ├── lacks one view ................. cannot be opened
    ├── is gone ........................ harvests revert, it does not count as empty
    ├── answers nothing to a transfer .. is believed: many tokens do that
    ├── refuses `withdraw` alone ....... the position's own shares are redeemed
    └── claims absurd shares ........... refused
"""

from typing import Any

import ape
import pytest
from eth_utils.crypto import keccak

from tests.contract.world import USDC, World, batch_bytes, returned


def selector(signature: str) -> str:
    return keccak(text=signature)[:4].hex()


def answer_false_to(*signatures: str) -> bytes:
    """Return code that answers 0 to some functions and 1 to every other."""
    compared = "".join(f"8163{selector(signature)}1417" for signature in signatures)
    return bytes.fromhex("5f3560e01c5f" + compared + "155f5260205ff3")


def revert_on(signature: str, implementation: str) -> bytes:
    """Return code that refuses one function and has another contract's code do all others."""
    head = "5f3560e01c63" + selector(signature) + "1460{refuse:02x}57"
    delegate = "365f5f375f5f365f73" + implementation.removeprefix("0x") + "5af43d5f5f3e"
    pass_on = "60{succeed:02x}573d5ffd"
    succeed, refuse = "5b3d5ff3", "5b5f5ffd"
    at = len(head.format(refuse=0) + delegate + pass_on.format(succeed=0)) // 2
    where = {"succeed": at, "refuse": at + len(succeed) // 2}
    code = (head + delegate + pass_on).format(**where) + succeed + refuse
    return bytes.fromhex(code)


def set_code(contract: Any, code: bytes) -> None:
    ape.chain.provider.set_code(contract.address, code)


# ------------------------------------------------------------------------------- USDC answers false


def test_withdraw_unspent_yield__usdc_answers_false__reverts(world: World) -> None:
    token_id = world.create_with_credit(USDC)
    set_code(world.usdc, answer_false_to("transfer(address,uint256)"))
    with ape.reverts("position: usdc refused"):
        world.position.withdrawUnspentYield(token_id, sender=world.owner)
    assert world.account(token_id).withdrawn == 0


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("transferFrom(address,address,uint256)", "adapter: usdc refused"),
        ("approve(address,uint256)", "adapter: approval refused"),
        # It also answers that it holds 1 after the deposit of 1: that goes back, and is refused.
        ("transfer(address,uint256)", "adapter: usdc not paid"),
    ],
)
def test_deposit__usdc_answers_false__reverts(world: World, function: str, reason: str) -> None:
    vault = world.admin.deploy(world.project.HostileVault, world.usdc)
    token_id = world.create(vault=vault)
    set_code(world.usdc, answer_false_to(function))
    with ape.reverts(reason):
        world.adapter.deposit(token_id, 1, 0, sender=world.owner)


def test_pay__usdc_answers_false__credited(world: World) -> None:
    set_code(world.usdc, answer_false_to("transfer(address,uint256)", "paused()"))
    world.payouts.pay(batch_bytes(1), [world.payee], [1], sender=world.payer)
    assert world.payouts.credited(world.payee) == world.payouts.totalCredited() == 1
    with ape.reverts("payouts: usdc refused"):
        world.payouts.claim(world.payee, sender=world.payee)


# ------------------------------------------------------------------------------------------- vaults


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ("asset()", "adapter: not a usdc vault"),
        ("balanceOf(address)", "adapter: vault does not answer"),
        ("previewWithdraw(uint256)", "adapter: vault does not answer"),
        ("previewRedeem(uint256)", "adapter: vault does not answer"),
    ],
)
def test_create_vault__one_view_missing__reverts(world: World, view: str, reason: str) -> None:
    vault = world.deploy_vault()
    set_code(vault, revert_on(view, world.vault.address))
    with ape.reverts(reason):
        world.create(vault=vault)
    set_code(vault, revert_on("mint(uint256,address)", world.vault.address))
    world.create(vault=vault)


def test_harvest__vault_gone__reverts(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    set_code(world.vault, b"")
    with ape.reverts("adapter: vault does not answer"):
        world.adapter.harvest(token_id, sender=world.outsider)


def test_exit_in_kind__transfer_answers_nothing__believed(world: World) -> None:
    token_id = world.create_with_deposit(100 * USDC)
    set_code(world.vault, bytes.fromhex("00"))  # every call succeeds and answers nothing
    assert returned(world.adapter.exitInKind(token_id, sender=world.owner)) == 100 * USDC
    assert world.booked(token_id)[1:3] == (0, 0)


def test_withdraw_principal__withdraw_refused_alone__own_shares_redeemed(world: World) -> None:
    vault = world.admin.deploy(world.project.HostileVault, world.usdc)
    world.create_with_deposit(100 * USDC, vault=vault, owner=world.second_owner)
    token_id = world.create_with_deposit(100 * USDC, vault=vault)
    same = world.admin.deploy(world.project.HostileVault, world.usdc)
    set_code(vault, revert_on("withdraw(uint256,address,address)", same.address))
    part = world.adapter.withdrawPrincipal(token_id, 30 * USDC, sender=world.owner)
    assert returned(part) == 30 * USDC
    assert world.booked(token_id)[1:3] == (70 * USDC, 70 * USDC)
    assert returned(world.adapter.withdrawPrincipal(token_id, sender=world.owner)) == 70 * USDC
    assert vault.sharesOf(world.adapter) == world.booked(0).shares == 100 * USDC


def test_deposit__absurd_shares__reverts(world: World) -> None:
    token_id = world.create()
    world.fund(world.owner, USDC)
    world.usdc.approve(world.adapter, USDC, sender=world.owner)
    # `deposit` stores 1 in a slot of its own; every other function answers that times 2**192.
    deposit = selector("deposit(uint256,address)")
    code = "5f3560e01c63" + deposit + "14601a5760ff5460c01b5f5260205ff35b600160ff5500"
    set_code(world.vault, bytes.fromhex(code))
    with ape.reverts("adapter: too many shares"):
        world.adapter.deposit(token_id, USDC, 0, sender=world.owner)
