# pragma version 0.4.3
"""
@title PlainVault
@notice snekmate's ERC-4626 and nothing else: the honest vault whose gas the budgets are measured on. What is
    sent to it is its yield.
"""

from ethereum.ercs import IERC20
from snekmate.extensions import erc4626

initializes: erc4626

exports: erc4626.__interface__


@deploy
def __init__(asset_: address):
    """
    @param asset_ The underlying token.
    """
    erc4626.__init__("Plain vault", "PLAIN", IERC20(asset_), 0, "Plain vault", "1")
