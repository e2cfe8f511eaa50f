# pragma version 0.4.3
"""
@title HostileVault
@notice An ERC-4626 vault of MockUSDC for tests that does wrong whatever `misbehave` names, in any combination,
    and is honest until then. It may own positions and re-enter any contract.
@dev
    PRICE is set by anyone, at any time, also twice in a block. Payments come out of what USDC lies here.
    LEDGER. `sharesOf` is the truth, whatever `balanceOf` answers.
    NO LOCK: being entered again is part of its purpose.
"""


interface MockUSDC:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable


flag Misbehaviour:
    WRONG_ASSET  # asset answers this vault's own address
    OVERREPORTS  # deposit, withdraw and redeem answer far more than they did
    MINTS_NOTHING  # takes a deposit and mints no shares
    BURNS_ON_DEPOSIT  # takes a deposit and burns the receiver's shares
    TAKES_HALF  # pulls half of a deposit and mints for that
    TAKES_NOTHING  # mints shares and pulls nothing
    UNDERPAYS  # pays half of what is due
    PAYS_NOTHING  # burns the shares and pays nothing
    OVERPAYS  # pays twice what is due
    BURNS_NOTHING  # pays and burns no shares
    BURNS_DOUBLE  # burns twice the shares that are due
    BURNS_ALL  # burns every share of the owner, which may be shared by many
    REVERTS_EXITS  # withdraw and redeem revert
    REVERTS_AT_LENGTH  # deposit, withdraw and redeem revert with 16 KiB of reason
    BURNS_GAS  # deposit, withdraw and redeem use up all gas
    BURNS_GAS_IN_VIEWS  # so do asset, balanceOf, every preview and every max
    REENTERS  # deposit, withdraw, redeem and transfer make all the calls of `reenter`
    REENTERS_IN_VIEWS  # every preview and max makes them, and reverts if one succeeds
    ZERO_MAX  # maxWithdraw and maxRedeem answer 0 although it pays
    REVERTS_MAX  # they revert
    HIGH_MAX  # they answer all there could ever be
    REVERTS_PREVIEWS  # every preview reverts
    PREVIEWS_ZERO  # every preview answers 0
    PREVIEWS_HIGH  # every preview answers all there could ever be
    PREVIEWS_FREE_WITHDRAWALS  # previewWithdraw answers that no share is needed
    REVERTS_BALANCES  # balanceOf reverts
    DOUBLES_BALANCES  # balanceOf answers twice the truth
    SPIKES_PRICE  # the price is tenfold while a deposit, withdrawal or redemption lasts
    CRASHES_PRICE  # a tenth of the price remains after a withdrawal or redemption
    REFUSES_TRANSFER  # transfer of shares reverts
    DENIES_TRANSFER  # transfer moves nothing and answers false
    PRETENDS_TRANSFER  # transfer moves nothing and answers true
    GARBLES_TRANSFER  # transfer works and answers neither true nor false


ONE: constant(uint256) = 10**18
MAX_REENTRIES: constant(uint256) = 128
MAX_CALLDATA: constant(uint256) = 1_024
LONG: constant(uint256) = 2**14

usdc: immutable(address)

misbehaviour: public(Misbehaviour)
price: public(uint256)  # USDC (1e-6) of a share, times 1e18
sharesOf: public(HashMap[address, uint256])
reentered: public(uint256)  # bit i: the i-th call of `reenter` succeeded at least once

_targets: DynArray[address, MAX_REENTRIES]
_calls: DynArray[Bytes[MAX_CALLDATA], MAX_REENTRIES]


@deploy
def __init__(usdc_: address):
    """
    @param usdc_ A MockUSDC.
    """
    usdc = usdc_
    self.price = ONE


# ------------------------------------------------------------------------------------------ the levers


@external
def misbehave(kinds: Misbehaviour):
    """
    @notice Misbehave from now on, see `Misbehaviour`; 0 to behave.
    """
    self.misbehaviour = kinds


@external
def setPrice(price: uint256):
    """
    @notice The price from now on, USDC (1e-6) of a share, times 1e18.
    """
    self.price = price


@external
def reenter(target: address, data: Bytes[MAX_CALLDATA]):
    """
    @notice Add a call to those that REENTERS and REENTERS_IN_VIEWS make.
    """
    self._targets.append(target)
    self._calls.append(data)


@external
def act(target: address, data: Bytes[MAX_CALLDATA]):
    """
    @notice Call anything in the vault's name: it may own positions.
    """
    raw_call(target, data)


# -------------------------------------------------------------------------------------------- ERC-4626


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    """
    @notice ERC-4626.
    """
    price: uint256 = self._begin()
    taken: uint256 = assets // 2 if Misbehaviour.TAKES_HALF in self.misbehaviour else assets
    shares: uint256 = taken * ONE // self.price
    if Misbehaviour.TAKES_NOTHING not in self.misbehaviour:
        assert extcall MockUSDC(usdc).transferFrom(msg.sender, self, taken), "vault: not paid"
    if Misbehaviour.BURNS_ON_DEPOSIT in self.misbehaviour:
        self.sharesOf[receiver] -= min(shares, self.sharesOf[receiver])
    elif Misbehaviour.MINTS_NOTHING not in self.misbehaviour:
        self.sharesOf[receiver] += shares
    self.price = price
    return self._reported(shares)


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    price: uint256 = self._begin()
    shares: uint256 = self._to_shares_up(assets)
    self._exit(assets, shares, receiver, owner, price)
    return self._reported(shares)


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    price: uint256 = self._begin()
    assets: uint256 = shares * self.price // ONE
    self._exit(assets, shares, receiver, owner, price)
    return self._reported(assets)


@external
def transfer(to: address, amount: uint256) -> uint256:
    """
    @notice ERC-20, except that it can answer anything.
    """
    assert Misbehaviour.REFUSES_TRANSFER not in self.misbehaviour, "vault: not transferable"
    if Misbehaviour.REENTERS in self.misbehaviour:
        self._reenter()
    if Misbehaviour.DENIES_TRANSFER in self.misbehaviour:
        return 0
    if Misbehaviour.PRETENDS_TRANSFER in self.misbehaviour:
        return 1
    self.sharesOf[msg.sender] -= amount
    self.sharesOf[to] += amount
    return max_value(uint256) if Misbehaviour.GARBLES_TRANSFER in self.misbehaviour else 1


@external
@view
def asset() -> address:
    """
    @notice ERC-4626.
    """
    self._check_gas()
    return self if Misbehaviour.WRONG_ASSET in self.misbehaviour else usdc


@external
@view
def balanceOf(owner: address) -> uint256:
    """
    @notice ERC-20.
    """
    self._check_gas()
    assert Misbehaviour.REVERTS_BALANCES not in self.misbehaviour, "vault: no answer"
    return self.sharesOf[owner] * (2 if Misbehaviour.DOUBLES_BALANCES in self.misbehaviour else 1)


@external
@view
def previewWithdraw(assets: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    if Misbehaviour.PREVIEWS_FREE_WITHDRAWALS in self.misbehaviour:
        return 0
    return self._previewed(self._to_shares_up(assets))


@external
@view
def previewRedeem(shares: uint256) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._previewed(shares * self.price // ONE)


@external
@view
def maxWithdraw(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._limited(self.sharesOf[owner] * self.price // ONE)


@external
@view
def maxRedeem(owner: address) -> uint256:
    """
    @notice ERC-4626.
    """
    return self._limited(self.sharesOf[owner])


@external
def fail_at_length():
    """
    @notice Revert with 16 KiB.
    """
    raw_revert(abi_encode(empty(uint256[LONG // 32])))


# ------------------------------------------------------------------------------------------ internals


@internal
def _begin() -> uint256:
    """
    @notice What a deposit, withdrawal or redemption begins with.
    @return The price to leave behind.
    """
    if Misbehaviour.REVERTS_AT_LENGTH in self.misbehaviour:
        raw_call(self, method_id("fail_at_length()"))
    assert Misbehaviour.BURNS_GAS not in self.misbehaviour, UNREACHABLE
    if Misbehaviour.REENTERS in self.misbehaviour:
        self._reenter()
    price: uint256 = self.price
    if Misbehaviour.SPIKES_PRICE in self.misbehaviour:
        self.price = 10 * price
    return price


@internal
def _exit(assets: uint256, shares: uint256, receiver: address, owner: address, price: uint256):
    assert Misbehaviour.REVERTS_EXITS not in self.misbehaviour, "vault: refuses"
    assert msg.sender == owner, "vault: not owner"
    burned: uint256 = shares
    if Misbehaviour.BURNS_NOTHING in self.misbehaviour:
        burned = 0
    if Misbehaviour.BURNS_DOUBLE in self.misbehaviour:
        burned = 2 * shares
    if Misbehaviour.BURNS_ALL in self.misbehaviour:
        burned = self.sharesOf[owner]
    self.sharesOf[owner] -= burned

    paid: uint256 = assets
    if Misbehaviour.UNDERPAYS in self.misbehaviour:
        paid = assets // 2
    if Misbehaviour.PAYS_NOTHING in self.misbehaviour:
        paid = 0
    if Misbehaviour.OVERPAYS in self.misbehaviour:
        paid = 2 * assets
    assert extcall MockUSDC(usdc).transfer(receiver, paid), "vault: payment refused"
    self.price = price // 10 if Misbehaviour.CRASHES_PRICE in self.misbehaviour else price


@internal
def _reenter():
    for i: uint256 in range(len(self._calls), bound=MAX_REENTRIES):
        if raw_call(self._targets[i], self._calls[i], revert_on_failure=False):
            self.reentered |= 1 << i


@internal
@view
def _reenter_in_view():
    for i: uint256 in range(len(self._calls), bound=MAX_REENTRIES):
        ok: bool = raw_call(self._targets[i], self._calls[i], is_static_call=True, revert_on_failure=False)
        assert not ok, "vault: re-entered"


@internal
@view
def _check_gas():
    assert Misbehaviour.BURNS_GAS_IN_VIEWS not in self.misbehaviour, UNREACHABLE


@internal
@view
def _previewed(figure: uint256) -> uint256:
    self._check_gas()
    assert Misbehaviour.REVERTS_PREVIEWS not in self.misbehaviour, "vault: no answer"
    if Misbehaviour.REENTERS_IN_VIEWS in self.misbehaviour:
        self._reenter_in_view()
    if Misbehaviour.PREVIEWS_ZERO in self.misbehaviour:
        return 0
    return max_value(uint256) if Misbehaviour.PREVIEWS_HIGH in self.misbehaviour else figure


@internal
@view
def _limited(figure: uint256) -> uint256:
    self._check_gas()
    assert Misbehaviour.REVERTS_MAX not in self.misbehaviour, "vault: no answer"
    if Misbehaviour.REENTERS_IN_VIEWS in self.misbehaviour:
        self._reenter_in_view()
    if Misbehaviour.ZERO_MAX in self.misbehaviour:
        return 0
    return max_value(uint256) if Misbehaviour.HIGH_MAX in self.misbehaviour else figure


@internal
@view
def _reported(figure: uint256) -> uint256:
    return 1_000 * figure if Misbehaviour.OVERREPORTS in self.misbehaviour else figure


@internal
@view
def _to_shares_up(assets: uint256) -> uint256:
    return (assets * ONE + self.price - 1) // self.price
