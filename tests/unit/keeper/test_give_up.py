"""How deep a failed attempt must lie before what stood on it may stand on something else."""

from typing import Any

import pytest

from indexer.settings import IndexerSettings
from keeper.duties.payout import GIVE_UP_BLOCKS_MIN, Payout
from keeper.duties.registry import Rules
from keeper.duties.settle import Settle

NOTHING: Any = None


@pytest.mark.parametrize(("configured", "payout"), [(0, 256), (64, 256), (256, 256), (300, 300)])
def test_give_up_blocks__payout__never_within_a_reorg_that_is_followed(
    configured: int, payout: int
) -> None:
    rules = Rules(give_up_blocks=configured)
    assert Settle(NOTHING, rules).give_up_blocks == configured
    assert Payout(NOTHING, rules).give_up_blocks == payout


def test_payout_depth__the_indexers_window__not_less() -> None:
    assert IndexerSettings.model_fields["window_blocks"].default <= GIVE_UP_BLOCKS_MIN
