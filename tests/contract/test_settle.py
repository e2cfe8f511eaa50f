"""``YieldFundedPosition.settle`` and ``batchSettled``

::

    settle
    ├── not a settler .................. reverts
    ├── batch settled before ........... reverts (P5)
    ├── an item above its live hold .... reverts, the other items too
    ├── an item of an unknown token .... reverts
    └── within the holds ............... books spent and owed, moves no USDC
"""

import ape
import pytest

from tests.contract.world import DAY, HOUR, NOON, ROOT, USDC, World, batch_bytes


def test_settle__within_hold__books_and_moves_nothing(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    before = world.balance(world.position)
    receipt = world.settle((token_id, 3 * USDC), batch=77)
    (settled,) = receipt.decode_logs(world.position.Settled)
    (batch,) = receipt.decode_logs(world.position.BatchSettled)
    assert settled.event_arguments == {
        "tokenId": token_id,
        "batchId": batch_bytes(77),
        "cost": 3 * USDC,
        "spentAfter": 3 * USDC,
    }
    assert batch.event_arguments == {
        "batchId": batch_bytes(77),
        "receiptsRoot": ROOT,
        "total": 3 * USDC,
        "itemCount": 1,
    }
    account = world.account(token_id)
    assert (account.spent, account.held, account.day_spent) == (3 * USDC, USDC, 3 * USDC)
    assert world.position.owed() == 3 * USDC
    assert world.position.liabilities() == 10 * USDC
    assert world.balance(world.position) == before


def test_settle__same_token_twice__consumes_in_order(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    receipt = world.settle((token_id, 3 * USDC), (token_id, USDC))
    assert [e.spentAfter for e in receipt.decode_logs(world.position.Settled)] == [
        3 * USDC,
        4 * USDC,
    ]
    assert world.account(token_id).held == 0


def test_settle__one_above_hold__reverts_all(world: World) -> None:
    first = world.create_with_credit(10 * USDC)
    second = world.create_with_credit(10 * USDC)
    world.hold(first, 4 * USDC)
    world.hold(second, 4 * USDC)
    with ape.reverts("position: cost above hold"):
        world.settle((first, USDC), (second, 4 * USDC + 1), batch=5)
    assert world.account(first).spent == 0
    assert not world.position.batchSettled(batch_bytes(5))
    world.settle((first, USDC), (second, 4 * USDC), batch=5)


def test_settle__at_expiry__reverts(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC, expires_in=HOUR)
    expiry = world.account(token_id).hold_expires_at
    world.next_at(expiry)
    with ape.reverts("position: cost above hold"):
        world.settle((token_id, 1))


def test_settle__last_second__accepted(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC, expires_in=HOUR)
    world.next_at(world.account(token_id).hold_expires_at - 1)
    world.settle((token_id, 4 * USDC))
    assert world.account(token_id).spent == 4 * USDC


def test_settle__after_key_epoch_bump__still_pays(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    world.position.bumpKeyEpoch(token_id, sender=world.owner)
    world.settle((token_id, 4 * USDC))
    assert world.account(token_id).spent == 4 * USDC


def test_settle__first_touch_of_day__opens_it(world: World) -> None:
    token_id = world.create_with_credit(10 * USDC, bps=5_000)
    world.hold(token_id, 5 * USDC, expires_in=20 * HOUR)
    world.settle((token_id, USDC))
    world.warp(NOON + DAY // 2 + HOUR)
    world.settle((token_id, 2 * USDC))
    account = world.account(token_id)
    assert (account.day_spent, account.day_cap) == (2 * USDC, 4_500_000)


@pytest.mark.parametrize("number", [0, 255, 256, 2**256 - 1])
def test_settle__batch_twice__reverts(world: World, number: int) -> None:
    token_id = world.create_with_credit(10 * USDC)
    world.hold(token_id, 4 * USDC)
    assert not world.position.batchSettled(batch_bytes(number))
    world.settle((token_id, 1), batch=number)
    assert world.position.batchSettled(batch_bytes(number))
    with ape.reverts("position: batch already settled"):
        world.settle((token_id, 1), batch=number)
    neighbour = number ^ 1
    assert not world.position.batchSettled(batch_bytes(neighbour))


def test_settle__batch_ids_of_one_word__each_counts_once(world: World) -> None:
    for number in (0, 1, 128):
        world.settle(batch=number)
    for number in (0, 1, 128):
        with ape.reverts("position: batch already settled"):
            world.settle(batch=number)


def test_settle__unknown_token__reverts(world: World) -> None:
    with ape.reverts("position: unknown token"):
        world.settle((0, 0))


def test_settle__by_outsider__reverts(world: World) -> None:
    with ape.reverts("position: not settler"):
        world.position.settle(batch_bytes(1), ROOT, [], sender=world.outsider)
