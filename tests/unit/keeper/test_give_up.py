"""How deep a failed attempt must lie before what stood on it may stand on something else."""

import pytest

from indexer.settings import IndexerSettings
from keeper.facts import Kind
from keeper.fees import FeeRules
from keeper.transactor import PAYOUT_GIVE_UP_BLOCKS, SendRules


def make_rules(give_up_blocks: int) -> SendRules:
    return SendRules(
        fees=FeeRules(fee_wei_max=1, tip_wei=1, tip_wei_max=1),
        confirmations=2,
        give_up_blocks=give_up_blocks,
        receipt_timeout_s=1.0,
        receipt_poll_s=0.1,
        replace_after_s=60,
        gas_margin_bps=0,
    )


@pytest.mark.parametrize(("configured", "payout"), [(0, 256), (64, 256), (256, 256), (300, 300)])
def test_give_up_blocks__payout__never_within_a_reorg_that_is_followed(
    configured: int, payout: int
) -> None:
    rules = make_rules(configured)
    assert rules.get_give_up_blocks(Kind.SETTLE) == configured
    assert rules.get_give_up_blocks(Kind.PAYOUT) == payout


def test_payout_depth__the_indexers_window__not_less() -> None:
    assert IndexerSettings.model_fields["window_blocks"].default <= PAYOUT_GIVE_UP_BLOCKS
