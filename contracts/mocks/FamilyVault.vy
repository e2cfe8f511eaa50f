# pragma version 0.4.3
"""
@title FamilyVault
@notice An ERC-4626 vault of MockUSDC with the habits of four families of real vaults, each by name, for tests.
    None of them is hostile; each of them surprises.
@dev
    WRITTEN from what those vaults document: MetaMorpho 1.1, Morpho Vault V2, Yearn V3, TokenizedStrategy.
    PRICE is set by anyone and falls only when it is told to, so USDC may lack here although no price shows it:
    that is how bad debt looks in MetaMorpho 1.1. Payments come out of what USDC lies here, fees stay.
"""


interface MockUSDC:
    def balanceOf(account: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable


flag Habit:
    ZERO_MAX  # maxWithdraw and maxRedeem answer 0 although it pays (Morpho Vault V2)
    GATES_SHARES  # no share can be transferred (Morpho Vault V2)
    GATES_ASSETS  # nobody can be paid (Morpho Vault V2)
    LOSS_ON_EXIT  # redeem pays less by `lossBps`, withdraw refuses instead (Yearn V3, TokenizedStrategy)
    NO_PREVIEW_WITHDRAW  # previewWithdraw reverts
    PAYS_WHAT_IT_HAS  # withdraw and redeem burn all that was asked, and pay what USDC lies here if that is less
    LOSES_A_UNIT  # each exit costs those who stay a unit of USDC: rounding of scaled balances (Aave and its like)
    REFUSES_REDEMPTIONS  # withdraw pays, redeem does not


ONE: constant(uint256) = 10**18
BPS: constant(uint256) = 10_000

asset: public(immutable(address))

habits: public(Habit)
price: public(uint256)  # USDC (1e-6) of a share, times 1e18
lossBps: public(uint256)  # what LOSS_ON_EXIT takes of a redemption
exitFeeBps: public(uint256)  # counted by the previews
balanceOf: public(HashMap[address, uint256])


@deploy
def __init__(asset_: address):
    """
    @param asset_ A MockUSDC.
    """
    asset = asset_
    self.price = ONE


# ------------------------------------------------------------------------------------------ the levers


@external
def setHabits(habits: Habit):
    """
    @notice Have these habits from now on, see `Habit`; 0 for none.
    """
    self.habits = habits


@external
def setPrice(price: uint256):
    """
    @notice The price from now on, USDC (1e-6) of a share, times 1e18.
    """
    self.price = price


@external
def setCosts(lossBps: uint256, exitFeeBps: uint256):
    """
    @notice What an exit costs, in 1/10_000.
    """
    assert lossBps <= BPS and exitFeeBps < BPS, "vault: too high"
    self.lossBps = lossBps
    self.exitFeeBps = exitFeeBps


@external
def lend(to: address, assets: uint256):
    """
    @notice Take USDC out, with no effect on the price: it is lent, or lost.
    """
    self._send(to, assets)


# -------------------------------------------------------------------------------------------- ERC-4626


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    """
    @notice ERC-4626.
    """
    shares: uint256 = assets * ONE // self.price
    assert shares != 0, "vault: zero shares"
    assert extcall MockUSDC(asset).transferFrom(msg.sender, self, assets), "vault: not paid"
    self.balanceOf[receiver] += shares
    return shares


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    assert Habit.LOSS_ON_EXIT not in self.habits or self.lossBps == 0, "vault: too much loss"
    shares: uint256 = self._preview_withdraw(assets)
    self._exit(assets, shares, receiver, owner)
    return shares


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    assert Habit.REFUSES_REDEMPTIONS not in self.habits, "vault: no redemptions"
    assets: uint256 = self._preview_redeem(shares)
    if Habit.LOSS_ON_EXIT in self.habits:
        assets = assets * (BPS - self.lossBps) // BPS
    self._exit(assets, shares, receiver, owner)
    return assets


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice ERC-20.
    """
    assert Habit.GATES_SHARES not in self.habits, "vault: cannot receive shares"
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    return True


@external
@view
def previewWithdraw(assets: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    assert Habit.NO_PREVIEW_WITHDRAW not in self.habits, "vault: no answer"
    return self._preview_withdraw(assets)


@external
@view
def previewRedeem(shares: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._preview_redeem(shares)


@external
@view
def maxWithdraw(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._limit(owner)


@external
@view
def maxRedeem(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    if Habit.ZERO_MAX in self.habits:
        return 0
    limit: uint256 = self._limit(owner)
    if limit == self._preview_redeem(self.balanceOf[owner]):
        return self.balanceOf[owner]
    return limit * ONE // self.price


# ------------------------------------------------------------------------------------------ internals


@internal
def _exit(assets: uint256, shares: uint256, receiver: address, owner: address):
    assert msg.sender == owner, "vault: not owner"
    assert Habit.GATES_ASSETS not in self.habits, "vault: cannot receive assets"
    self.balanceOf[owner] -= shares
    paid: uint256 = assets
    if Habit.PAYS_WHAT_IT_HAS in self.habits:
        paid = min(assets, staticcall MockUSDC(asset).balanceOf(self))
    if Habit.LOSES_A_UNIT in self.habits and self.balanceOf[owner] != 0:
        self.price -= ONE // self.balanceOf[owner]
    self._send(receiver, paid)


@internal
def _send(to: address, assets: uint256):
    assert extcall MockUSDC(asset).transfer(to, assets), "vault: payment refused"


@internal
@view
def _limit(owner: address) -> uint256:
    if Habit.ZERO_MAX in self.habits:
        return 0
    return min(self._preview_redeem(self.balanceOf[owner]), staticcall MockUSDC(asset).balanceOf(self))


@internal
@view
def _preview_withdraw(assets: uint256) -> uint256:
    gross: uint256 = (assets * BPS + BPS - self.exitFeeBps - 1) // (BPS - self.exitFeeBps)
    return (gross * ONE + self.price - 1) // self.price


@internal
@view
def _preview_redeem(shares: uint256) -> uint256:
    return shares * self.price // ONE * (BPS - self.exitFeeBps) // BPS
