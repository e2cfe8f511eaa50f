# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title MockVault
@notice An ERC-4626 vault of MockUSDC for a devnet and for tests: interest by the clock or pushed in, settable
    liquidity, losses, entry and exit fees, and misbehaviours by name. Shares have 6 decimals.
@dev
    INTEREST is simple, on what lies here, and really there: it is minted from the faucet of MockUSDC whenever
    the vault is used, and counted by the views before.
    ROUNDING follows ERC-4626, with one virtual share and asset.
    MISBEHAVIOUR is for tests of the adapter; 0 is an honest vault.
"""

from ethereum.ercs import IERC4626
from snekmate.auth import ownable
from snekmate.tokens import erc20
from snekmate.utils import math

initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.approve,
    erc20.transferFrom,
    erc20.permit,
    erc20.nonces,
    erc20.DOMAIN_SEPARATOR,
)


interface MockUSDC:
    def faucet(to: address, amount: uint256): nonpayable
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable


event ApySet:
    apyBps: uint256


event InterestAccrued:
    interest: uint256


# What a vault can do wrong.
flag Misbehaviour:
    MINTS_NOTHING  # takes a deposit and mints no shares
    TAKES_HALF  # pulls only half of a deposit
    BURNS_DOUBLE  # burns twice the shares of what it pays
    UNDERPAYS  # pays 1% less than previewed
    REVERTS_VIEWS  # every preview and max reverts
    REVERTS_EXITS  # withdraw and redeem revert
    ANSWERS_ZERO_MAX  # maxWithdraw and maxRedeem answer 0 although it pays
    KEEPS_SHARES  # transfer moves nothing and answers False
    LOSES_ON_EXIT  # loses 1% of its assets with every withdrawal


BPS: constant(uint256) = 10_000
SECONDS_A_YEAR: constant(uint256) = 365 * 86_400
BLACK_HOLE: constant(address) = 0x000000000000000000000000000000000000dEaD

asset: public(immutable(address))

apyBps: public(uint256)
accruedAt: public(uint256)  # until when interest was minted, unix seconds
liquidity: public(uint256)  # the most that one call pays out, USDC (1e-6)
entryFeeBps: public(uint256)
exitFeeBps: public(uint256)
misbehaviour: public(Misbehaviour)


@deploy
def __init__(asset_: address):
    """
    @param asset_ A MockUSDC.
    """
    ownable.__init__()
    erc20.__init__("Mock USDC vault", "mUSDC", 6, "Mock USDC vault", "1")
    asset = asset_
    self.accruedAt = block.timestamp
    self.liquidity = max_value(uint256)


# ------------------------------------------------------------------------------------------ the levers


@external
def setApyBps(bps: uint256):
    """
    @notice The interest from now on, simple, in 1/10_000 a year. Anyone may call.
    """
    self._accrue()
    self.apyBps = bps
    log ApySet(apyBps=bps)


@external
def accrue():
    """
    @notice Mint the interest of the time gone by.
    """
    self._accrue()


@external
def push(assets: uint256):
    """
    @notice Earn `assets` at once, from the faucet.
    """
    self._accrue()
    extcall MockUSDC(asset).faucet(self, assets)


@external
def realiseLoss(assets: uint256):
    """
    @notice Lose `assets` for ever.
    """
    self._accrue()
    self._send(BLACK_HOLE, assets)


@external
def setLiquidity(limit: uint256):
    """
    @notice The most that one call pays out, USDC (1e-6).
    """
    self.liquidity = limit


@external
def setFees(entryBps: uint256, exitBps: uint256):
    """
    @notice Fees on deposits and on withdrawals, in 1/10_000; they stay in the vault.
    """
    assert entryBps < BPS and exitBps < BPS, "vault: fee too high"
    self.entryFeeBps = entryBps
    self.exitFeeBps = exitBps


@external
def setMisbehaviour(kinds: Misbehaviour):
    """
    @notice Misbehave from now on, see `Misbehaviour`; 0 to behave.
    """
    self.misbehaviour = kinds


# -------------------------------------------------------------------------------------------- ERC-4626


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._accrue()
    taken: uint256 = assets // 2 if Misbehaviour.TAKES_HALF in self.misbehaviour else assets
    shares: uint256 = self._preview_deposit(taken)
    self._enter(taken, shares, receiver)
    return shares


@external
def mint(shares: uint256, receiver: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._accrue()
    assets: uint256 = self._preview_mint(shares)
    self._enter(assets, shares, receiver)
    return assets


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._accrue()
    shares: uint256 = self._preview_withdraw(assets)
    self._exit(assets, shares, receiver, owner)
    return shares


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._accrue()
    assets: uint256 = self._preview_redeem(shares)
    self._exit(assets, shares, receiver, owner)
    return assets


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice ERC-20.
    """
    if Misbehaviour.KEEPS_SHARES in self.misbehaviour:
        return False
    erc20._transfer(msg.sender, to, amount)
    return True


@external
@view
def totalAssets() -> uint256:
    """
    @notice ERC-4626: what lies here and the interest due.
    """
    return self._total_assets()


@external
@view
def convertToShares(assets: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._to_shares(assets, False)


@external
@view
def convertToAssets(shares: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._to_assets(shares, False)


@external
@view
def previewDeposit(assets: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    return self._preview_deposit(assets)


@external
@view
def previewMint(shares: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    return self._preview_mint(shares)


@external
@view
def previewWithdraw(assets: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    return self._preview_withdraw(assets)


@external
@view
def previewRedeem(shares: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    return self._preview_redeem(shares)


@external
@view
def maxDeposit(receiver: address) -> uint256:
    """
    @notice ERC-4626: no limit.
    """
    return max_value(uint256)


@external
@view
def maxMint(receiver: address) -> uint256:
    """
    @notice ERC-4626: no limit.
    """
    return max_value(uint256)


@external
@view
def maxWithdraw(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    if Misbehaviour.ANSWERS_ZERO_MAX in self.misbehaviour:
        return 0
    return min(self._preview_redeem(erc20.balanceOf[owner]), self.liquidity)


@external
@view
def maxRedeem(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    self._check_views()
    if Misbehaviour.ANSWERS_ZERO_MAX in self.misbehaviour:
        return 0
    if self._preview_redeem(erc20.balanceOf[owner]) <= self.liquidity:
        return erc20.balanceOf[owner]
    return self._to_shares(self.liquidity, False)


# ------------------------------------------------------------------------------------------ internals


@internal
def _accrue():
    interest: uint256 = self._interest_due()
    self.accruedAt = block.timestamp
    if interest != 0:
        extcall MockUSDC(asset).faucet(self, interest)
        log InterestAccrued(interest=interest)


@internal
def _enter(assets: uint256, shares: uint256, receiver: address):
    assert extcall MockUSDC(asset).transferFrom(msg.sender, self, assets), "vault: not paid"
    if Misbehaviour.MINTS_NOTHING not in self.misbehaviour:
        erc20._mint(receiver, shares)
    log IERC4626.Deposit(sender=msg.sender, owner=receiver, assets=assets, shares=shares)


@internal
def _exit(assets: uint256, shares: uint256, receiver: address, owner: address):
    assert Misbehaviour.REVERTS_EXITS not in self.misbehaviour, "vault: refuses"
    assert assets <= self.liquidity, "vault: not enough liquidity"
    if msg.sender != owner:
        erc20._spend_allowance(owner, msg.sender, shares)
    erc20._burn(owner, 2 * shares if Misbehaviour.BURNS_DOUBLE in self.misbehaviour else shares)
    self._send(receiver, assets * 99 // 100 if Misbehaviour.UNDERPAYS in self.misbehaviour else assets)
    if Misbehaviour.LOSES_ON_EXIT in self.misbehaviour:
        self._send(BLACK_HOLE, self._total_assets() // 100)
    log IERC4626.Withdraw(sender=msg.sender, receiver=receiver, owner=owner, assets=assets, shares=shares)


@internal
def _send(to: address, assets: uint256):
    assert extcall MockUSDC(asset).transfer(to, assets), "vault: payment refused"


@internal
@view
def _check_views():
    assert Misbehaviour.REVERTS_VIEWS not in self.misbehaviour, "vault: no answer"


@internal
@view
def _interest_due() -> uint256:
    elapsed: uint256 = block.timestamp - self.accruedAt
    return staticcall MockUSDC(asset).balanceOf(self) * self.apyBps * elapsed // (BPS * SECONDS_A_YEAR)


@internal
@view
def _total_assets() -> uint256:
    return staticcall MockUSDC(asset).balanceOf(self) + self._interest_due()


@internal
@view
def _to_shares(assets: uint256, roundUp: bool) -> uint256:
    return math._mul_div(assets, erc20.totalSupply + 1, self._total_assets() + 1, roundUp)


@internal
@view
def _to_assets(shares: uint256, roundUp: bool) -> uint256:
    return math._mul_div(shares, self._total_assets() + 1, erc20.totalSupply + 1, roundUp)


@internal
@view
def _preview_deposit(assets: uint256) -> uint256:
    return self._to_shares(assets * (BPS - self.entryFeeBps) // BPS, False)


@internal
@view
def _preview_mint(shares: uint256) -> uint256:
    return math._mul_div(self._to_assets(shares, True), BPS, BPS - self.entryFeeBps, True)


@internal
@view
def _preview_withdraw(assets: uint256) -> uint256:
    return self._to_shares(math._mul_div(assets, BPS, BPS - self.exitFeeBps, True), True)


@internal
@view
def _preview_redeem(shares: uint256) -> uint256:
    return self._to_assets(shares, False) * (BPS - self.exitFeeBps) // BPS
