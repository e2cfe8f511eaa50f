"""Indexer and keeper on a chain whose nodes show what Base's show.

::

    deposits of type 0x7e in blocks, L1 fees in receipts and by the oracle, nothing finalized
    ├── from the harvest to the settlement, both fees in the report
    ├── receipts of blocks that are not sealed yet → taken as they are at last
    └── a block's logs are lost → found in its receipts, the deposit's among them
"""

from collections.abc import Mapping

import pytest

from contracts.chain import Web3Transport
from keeper.l1_fees import ORACLE
from keeper.report import load_spending
from ledger.database.engine import read
from scripts.audit import audit
from scripts.stack.base_like import L1_FEE_WEI, BaseLike
from scripts.stack.l1_oracle import build_oracle
from tests.support.deploy import USDC
from tests.support.keepers import Stage

COST_USDC = 700_000


@pytest.fixture
def base(stage: Stage) -> Stage:
    """Return the stage on a chain like Base: an oracle that takes 0.20 USDC a transaction."""
    stage.settings.update(ETHER_PRICE_USDC="4000000000", TIP_WEI="1000", TIP_WEI_MAX="1000")
    code = build_oracle(base_wei=L1_FEE_WEI, byte_wei=0)
    stage.world.anvil.request("anvil_setCode", ORACLE, code)
    stage.world.anvil.request("anvil_setNextBlockBaseFeePerGas", "0xa")
    stage.world.anvil.mine()
    stage.sync()
    return stage


def reach_by(stage: Stage, *, preconfirmations: int = 0) -> BaseLike:
    """Let keeper and indexer reach the chain through a node like Base's."""
    node = BaseLike(
        Web3Transport(stage.world.anvil.web3).request, preconfirmations=preconfirmations
    )
    stage.endpoints = [node]
    stage.reads_by = node
    return node


def act(stage: Stage, kind: str) -> None:
    """Let keepers make rounds until one has done what is due: receipts may come late."""
    acted: Mapping[str, int] = {}
    for _ in range(6):
        acted = stage.tick().acted
        if acted:
            break
        stage.world.anvil.mine()
        stage.sync()
    assert acted == {kind: 1}


def live(stage: Stage) -> int:
    """Harvest, hold, serve and settle; return the position."""
    token_id = stage.open_earning(20 * USDC)
    act(stage, "harvest")
    stage.want(token_id)
    act(stage, "hold")
    stage.spend(token_id, COST_USDC)
    act(stage, "settle")
    for _ in range(4):
        stage.world.anvil.mine(3)
        stage.sync()
        stage.tick()
    return token_id


def assert_whole(stage: Stage, token_id: int) -> None:
    assert stage.chain_spent(token_id) == COST_USDC
    assert stage.usage_states() == {"request-1": "settled"}
    assert {str(intent.state) for intent in stage.intents()} == {"confirmed"}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_base__from_harvest_to_settlement__all_lands_and_both_fees_are_counted(
    base: Stage,
) -> None:
    node = reach_by(base)

    assert_whole(base, live(base))

    assert node.deposits_shown > 0
    assert node.request("eth_getBlockByNumber", ["finalized", False]) is None
    with read(base.engine) as connection:
        spent = load_spending(connection, since_s=0, ether_price_usdc=4_000_000_000)
    assert [one.l1_fee_usdc for one in spent] == [200_000] * 3


def test_base__receipts_of_blocks_not_sealed_yet__end_at_the_block_that_is(base: Stage) -> None:
    reach_by(base, preconfirmations=2)

    assert_whole(base, live(base))

    for intent in base.intents():
        block = base.world.anvil.web3.eth.get_block(intent.mined_block or 0)
        assert intent.mined_block_hash == block["hash"].to_0x_hex()


def test_base__logs_of_a_block_are_lost__are_found_in_receipts_beside_the_deposit(
    base: Stage,
) -> None:
    node = reach_by(base)
    token_id = base.open_earning(20 * USDC)
    node.loses_logs = True

    assert base.tick().acted == {"harvest": 1}

    assert base.state(token_id).credited_usdc > 19 * USDC
