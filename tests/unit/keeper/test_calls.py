"""The keeper's calldata is what web3 makes of the exported ABI."""

from eth_abi.abi import encode
from web3 import Web3

from contracts.bindings import bind_contracts
from keeper.duties.harvest_trial import build_harvest, read_harvest
from keeper.duties.hold import HoldItem, build_hold
from keeper.duties.payout import build_payout
from keeper.duties.settle import build_settle
from ledger.selling.payouts import PlannedPayout
from ledger.spending.batches import PlannedBatch
from tests.support.ledgers import DEPLOYMENT

CONTRACTS = bind_contracts(Web3(), DEPLOYMENT)
BATCH_ID = "0x" + "0b" * 32
ROOT = "0x" + "0c" * 32


def test_build_hold__several__is_the_abi_s() -> None:
    call = build_hold(
        CONTRACTS, [HoldItem(2**64, 3, 4, 5, "open"), HoldItem(6, 0, 0, 9, "release")]
    )

    expected = [(2**64, 3, 4, 5), (6, 0, 0, 9)]
    assert call.data == CONTRACTS.position.encode_abi("hold", args=[expected])
    assert (call.to, call.token_ids) == (CONTRACTS.position.address, (2**64, 6))


def test_build_settle__a_batch__is_the_abi_s() -> None:
    call = build_settle(CONTRACTS, PlannedBatch(BATCH_ID, ROOT, ((1, 2), (3, 4))))

    expected = [bytes.fromhex(BATCH_ID[2:]), bytes.fromhex(ROOT[2:]), [(1, 2), (3, 4)]]
    assert call.data == CONTRACTS.position.encode_abi("settle", args=expected)
    assert (call.batch_id, call.token_ids) == (BATCH_ID, (1, 3))


def test_build_payout__a_batch__is_the_abi_s() -> None:
    payees = ["0x" + "ab" * 20, "0x" + "cd" * 20]
    call = build_payout(CONTRACTS, PlannedPayout(BATCH_ID, ((payees[0], 1), (payees[1], 2))))

    checksummed = [Web3.to_checksum_address(payee) for payee in payees]
    expected = [bytes.fromhex(BATCH_ID[2:]), checksummed, [1, 2]]
    assert call.data == CONTRACTS.payouts.encode_abi("pay", args=expected)
    assert (call.to, call.batch_id) == (CONTRACTS.payouts.address, BATCH_ID)


def test_build_harvest__several__are_calls_that_may_fail_with_gas_for_each() -> None:
    call = build_harvest(CONTRACTS, [7, 8], gas_each=400_000)

    adapter = CONTRACTS.adapter
    calls = [(adapter.address, True, adapter.encode_abi("harvest", args=[t])) for t in (7, 8)]
    assert call.data == CONTRACTS.multicall3.encode_abi("aggregate3", args=[calls])
    assert call.gas == 860_000


def test_read_harvest__answers__a_failure_or_anything_but_a_number_is_none() -> None:
    results = [(True, (5).to_bytes(32)), (False, b""), (True, b""), (True, (0).to_bytes(32))]
    answer = encode(("(bool,bytes)[]",), [results])

    assert read_harvest(answer) == [5, None, None, 0]
