"""The real Multicall3, as keepers use it, and our stand-in beside it.

::

    aggregate3
    ├── harvests of many ........... one that fails stops no other
    ├── one that must not fail ..... takes all others back
    ├── an owner's call ............ is Multicall3's, so it is nobody's
    └── our stand-in ............... the same answers to the same calls
"""

from __future__ import annotations

from typing import Any

import ape
import pytest
from ape.contracts import ContractInstance
from eth_abi.abi import decode

from bench.peers import Peers, load_peers
from tests.contract.third_party import RealWorld, deploy, deploy_real_world
from tests.contract.world import NO_SMOOTHING, USDC, World

MISSING = 99


@pytest.fixture(scope="module")
def peers() -> Peers:
    return load_peers()


@pytest.fixture(scope="module")
def real(deployed: World, peers: Peers) -> RealWorld:
    return deploy_real_world(deployed, peers)


@pytest.fixture(scope="module")
def multicall(real: RealWorld, peers: Peers) -> ContractInstance:  # noqa: ARG001 - after the world
    return deploy(peers, "Multicall3", "Multicall3")


@pytest.fixture
def token_ids(real: RealWorld) -> list[int]:
    """Return positions that have all earned."""
    token_ids = [real.create_with_deposit(amount * USDC) for amount in (1_000, 2_000, 500)]
    real.fund(real.vault, 70 * USDC)
    return token_ids


def harvests(real: RealWorld, *token_ids: int, may_fail: bool = True) -> list[Any]:
    harvest = real.adapter.harvest
    return [(real.adapter, may_fail, harvest.encode_input(token_id)) for token_id in token_ids]


def test_harvests__one_fails_and_may__others_done(
    real: RealWorld, multicall: ContractInstance, token_ids: list[int]
) -> None:
    first, second, third = token_ids
    receipt = multicall.aggregate3(
        harvests(real, first, MISSING, second, third), sender=real.outsider
    )
    (success, refusal), *others = (
        (result.success, bytes(result.returnData))
        for result in (receipt.return_value[index] for index in (1, 0, 2, 3))
    )
    assert success is False
    assert b"adapter: unknown position" in refusal
    credited = [int.from_bytes(answer, "big") for _, answer in others]
    assert all(done for done, _ in others)
    assert credited == [real.account(token_id).credited for token_id in token_ids]
    assert [amount // USDC for amount in credited] == [19, 39, 9]  # of 70, less the virtual share's
    assert len(receipt.decode_logs(real.adapter.Harvested)) == 3
    assert real.balance(real.adapter) == real.balance(multicall) == 0


def test_harvests__one_fails_and_must_not__nothing_done(
    real: RealWorld, multicall: ContractInstance, token_ids: list[int]
) -> None:
    calls = [*harvests(real, *token_ids), *harvests(real, MISSING, may_fail=False)]
    with ape.reverts("Multicall3: call failed"):
        multicall.aggregate3(calls, sender=real.outsider)
    assert [real.account(token_id).credited for token_id in token_ids] == [0, 0, 0]


def test_harvests__one_vault_reverts__others_done(
    real: RealWorld, multicall: ContractInstance, token_ids: list[int], peers: Peers
) -> None:
    vault = real.deploy_vault_of("solmate", peers)
    trapped = real.create_with_deposit(1_000 * USDC, vault=vault)
    real.fund(vault, 50 * USDC)
    real.usdc.blacklist(vault, sender=real.admin)
    receipt = multicall.aggregate3(harvests(real, trapped, *token_ids), sender=real.outsider)
    assert [result.success for result in receipt.return_value] == [False, True, True, True]
    assert real.account(trapped).credited == 0
    assert all(real.account(token_id).credited > 9 * USDC for token_id in token_ids)


def test_calls_of_owners__through_multicall__refused(
    real: RealWorld, multicall: ContractInstance, token_ids: list[int]
) -> None:
    adapter, position, owner = real.adapter, real.position, real.owner
    token_id = token_ids[0]
    real.fund(owner, USDC)
    real.usdc.approve(adapter, USDC, sender=owner)
    before = (real.booked(token_id), real.account(token_id), real.balance(owner))
    calls = {
        adapter.deposit: (token_id, USDC, 0),
        adapter.withdrawPrincipal: (token_id,),
        adapter.exitInKind: (token_id,),
        adapter.setHarvestInterval: (token_id, 30),
        position.withdrawUnspentYield: (token_id,),
        position.bumpKeyEpoch: (token_id,),
        position.requestRelease: (token_id,),
        position.transferFrom: (owner, real.outsider, token_id),
        position.hold: ([(token_id, USDC, real.now + 60, 0)],),
        position.setSettler: (real.outsider, True),
    }
    receipt = multicall.aggregate3(
        [(call.contract, True, call.encode_input(*arguments)) for call, arguments in calls.items()],
        sender=owner,
    )
    refusals = [bytes(result.returnData) for result in receipt.return_value]
    assert not any(result.success for result in receipt.return_value)
    reasons = [decode(["string"], refusal[4:])[0] for refusal in refusals]
    assert reasons == [
        *["adapter: not owner"] * 4,
        *["position: not owner"] * 3,
        "position: soulbound",
        "position: not settler",
        "owner: not owner",
    ]
    assert (real.booked(token_id), real.account(token_id), real.balance(owner)) == before


def test_open__through_multicall__belongs_to_multicall(
    real: RealWorld, multicall: ContractInstance
) -> None:
    # So nobody may open by it: such a position answers to whoever calls Multicall3.
    token_id = int(real.position.totalSupply())
    terms = real.adapter.createVault.encode_input(1, NO_SMOOTHING, real.vault, 60)
    multicall.aggregate3([(real.adapter, False, terms)], sender=real.owner)
    assert real.position.ownerOf(token_id) == multicall.address


def test_stand_in__same_calls__same_answers(
    real: RealWorld, multicall: ContractInstance, token_ids: list[int]
) -> None:
    stand_in = real.admin.deploy(real.project.Multicall3)
    nobody = real.payee
    batches = [
        [],
        harvests(real, *token_ids),
        harvests(real, MISSING, *token_ids, MISSING),
        [
            (real.position, True, real.position.accountOf.encode_input(token_ids[0])),
            (real.usdc, True, real.usdc.balanceOf.encode_input(real.vault)),
            (real.usdc, True, real.usdc.transfer.encode_input(nobody, USDC)),
            (real.vault, True, b""),
            (nobody, True, b"no code at all"),
        ],
    ]
    for calls in batches:
        # The calldata of one is that of the other: the selector and the layout are the same.
        data = multicall.aggregate3.encode_input(calls)
        assert data == stand_in.aggregate3.encode_input(calls)
        answers = [
            ape.chain.provider.web3.eth.call({"to": target.address, "data": data})
            for target in (multicall, stand_in)
        ]
        assert answers[0] == answers[1]
    for target in (multicall, stand_in):
        with ape.reverts("Multicall3: call failed"):
            target.aggregate3(harvests(real, MISSING, may_fail=False), sender=nobody)
