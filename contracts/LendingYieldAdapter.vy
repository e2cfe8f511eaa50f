# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title LendingYieldAdapter
@notice Deposits USDC into an ERC-4626 vault for a position, returns the principal to its owner at any
    time, and turns the yield into the position's allowance.
@dev
    ROLES
      owner of a position   deposits, withdraws, chooses vault and harvest interval
      giver                 pays for a deposit, or for a position, that is another's from then on
      relayer               hands in a deposit or an opening that the owner signed by EIP-3009
      anyone                opens a position, harvests any position at any time; may be giver and relayer
      There is no admin.

    UNITS. Principal and payments are USDC (1e-6), shares are in the vault's own unit, times are unix
    seconds, intervals minutes.

    PRINCIPAL is the USDC cost basis, never a conversion of shares. YIELD is what the position's shares
    exceed `previewWithdraw(principal + 2)` by, so fees and rounding stay with the principal, and a vault that
    loses a unit on an exit still covers the principal after a harvest.

    OTHERS' DEPOSITS. A deposit that the owner does not send, given or relayed, is refused where its shares
    are worth less than 99.5 % of what was paid, by the vault's own preview in that block. The rule catches
    what a vault takes on entry and exit. It holds for honest vaults whose price is not stale and cannot be
    moved within a block: the preview measures at the price that the shares were bought at, so a price that
    was raised for the moment passes. Only the floor and `validBefore` bind the moment: a floor of 0 is
    unsafe in a relayed deposit. A hostile vault previews what it likes, to the harm of who pays.

    ROUNDING. Whatever a vault rounds away is taken from the yield first, and shown as a loss otherwise.

    VAULTS are chosen by owners and may be hostile. The shares of all positions lie here together, so:
    every effect of a vault call is measured as a difference of balances; no call may burn more shares
    than the position owns; no vault is called while storage is half written; and the one lock of this
    contract covers every function, views included. A hostile vault can hurt the positions that chose it.
    Two facts about honest ones: MetaMorpho 1.1 never lowers its price, so its bad debt looks like missing
    liquidity; Yearn V3 may pay less than it previewed, which is refused beyond 50 bps in a harvest.

    TOKEN ASSUMPTIONS. USDC takes no fee and does not rebase. It may pause, or blacklist an owner, this
    contract or a vault: calls then revert whole and can be repeated later.

    LIVENESS. `exitInKind` depends on nothing but the transfer of the vault's shares.

    SHUTDOWN. Nothing to shut: every owner can leave at any time.

    INVARIANTS
      A1  for an honest vault, the sum of shares booked <= vault.balanceOf(self)
      A2  no call leaves USDC here (what somebody sends here by mistake stays, and counts for nobody)
      A3  a harvest leaves previewWithdraw(principal) <= shares, and no principal without shares
      A4  an honest vault returns the owner principal and yield, less 2 units of rounding an operation; the 2
          units that a harvest leaves above the principal come with later yield, or in kind
      A5  for an honest vault whose price is not stale and cannot be moved within a block, nobody loses by any
          sequence of calls of others; a gift moves at most 0.5 % of itself from the owner's yield to the
          owner's principal
"""

from . import vault_calls
from .interfaces import IUSDC
from .interfaces import IYieldFundedPosition


event VaultCreated:
    tokenId: indexed(uint256)
    owner: indexed(address)
    vault: indexed(address)
    modelTier: uint8
    dailySmoothingBps: uint16
    harvestIntervalMinutes: uint16


event HarvestIntervalSet:
    tokenId: indexed(uint256)
    harvestIntervalMinutes: uint16


event Deposited:
    tokenId: indexed(uint256)
    owner: indexed(address)
    assets: uint256
    shares: uint256
    principalAfter: uint256
    sharesAfter: uint256


event PositionGiven:
    tokenId: indexed(uint256)
    giver: indexed(address)
    owner: indexed(address)


event DepositGiven:
    tokenId: indexed(uint256)
    giver: indexed(address)
    assets: uint256


event PrincipalWithdrawn:
    tokenId: indexed(uint256)
    owner: indexed(address)
    assets: uint256
    sharesBurned: uint256
    principalAfter: uint256
    sharesAfter: uint256
    loss: uint256  # principal that no share is left for


event Harvested:
    tokenId: indexed(uint256)
    caller: indexed(address)
    credited: uint256
    sharesBurned: uint256
    sharesAfter: uint256


event ExitedInKind:
    tokenId: indexed(uint256)
    owner: indexed(address)
    shares: uint256
    principalForgone: uint256


struct Opening:
    tokenId: uint256
    shares: uint256


struct Booking:
    vault: address
    principal: uint256
    shares: uint256
    harvestIntervalMinutes: uint256
    lastHarvestAt: uint256


struct Route:
    vault: address
    intervalMinutes: uint256
    lastHarvestAt: uint256


struct Stake:
    principal: uint256
    shares: uint256


MIN_INTERVAL_MINUTES: constant(uint16) = 30
MAX_INTERVAL_MINUTES: constant(uint16) = 360
SECONDS_A_MINUTE: constant(uint256) = 60

MIN_HARVEST: constant(uint256) = 10_000  # one cent
# USDC (1e-6) that a harvest leaves on top of the principal: vaults over scaled balances lose a unit on an exit.
HARVEST_SLACK: constant(uint256) = 2
MAX_SHORTFALL_BPS: constant(uint256) = 50
BPS: constant(uint256) = 10_000

MAX_PRINCIPAL: constant(uint256) = 2**63 - 1
MAX_SHARES: constant(uint256) = 2**192 - 1

# Large enough that no vault rounds it to nothing.
PROBE: constant(uint256) = 1_000_000

usdc: public(immutable(address))
position: public(immutable(address))

_routes: HashMap[uint256, uint256]  # packed as `Route`: vault 160 bits | interval u16 | lastHarvestAt u40
_stakes: HashMap[uint256, uint256]  # packed as `Stake`: principal u64 | shares u192


@deploy
def __init__(usdc_: address, position_: address):
    """
    @param usdc_ The USDC token.
    @param position_ The position contract, deployed before with this contract's address as its adapter.
    """
    assert staticcall IYieldFundedPosition(position_).adapter() == self, "adapter: position not wired"
    assert staticcall IYieldFundedPosition(position_).usdc() == usdc_, "adapter: usdc differs"
    usdc = usdc_
    position = position_


# ------------------------------------------------------------------------------------------- opening


@external
def createVault(
    modelTier: uint8, dailySmoothingBps: uint16, vaultAddress: address, harvestIntervalMinutes: uint16
) -> uint256:
    """
    @notice Mint a position for the caller and register its vault.
    @param modelTier Kept with the position for its readers.
    @param dailySmoothingBps The part of a day's opening credit that may be spent that day, 1 to 10_000
        (no smoothing).
    @param vaultAddress An ERC-4626 vault of USDC. It is your choice and your risk.
    @param harvestIntervalMinutes How often a keeper should harvest, 30 to 360.
    @return tokenId The new position.
    """
    return self._create(msg.sender, modelTier, dailySmoothingBps, vaultAddress, harvestIntervalMinutes)


@external
def open(
    modelTier: uint8,
    dailySmoothingBps: uint16,
    vaultAddress: address,
    harvestIntervalMinutes: uint16,
    assets: uint256,
    minSharesOut: uint256,
) -> Opening:
    """
    @notice `createVault` and `deposit` in one transaction. Requires a prior USDC.approve.
    @param modelTier See `createVault`.
    @param dailySmoothingBps See `createVault`.
    @param vaultAddress See `createVault`.
    @param harvestIntervalMinutes See `createVault`.
    @param assets USDC (1e-6) to deposit.
    @param minSharesOut See `deposit`.
    @return opening The token id, and the shares minted.
    """
    token_id: uint256 = self._create(
        msg.sender, modelTier, dailySmoothingBps, vaultAddress, harvestIntervalMinutes
    )
    return Opening(tokenId=token_id, shares=self._deposit(token_id, msg.sender, assets, minSharesOut))


@external
def openWithPermit(
    modelTier: uint8,
    dailySmoothingBps: uint16,
    vaultAddress: address,
    harvestIntervalMinutes: uint16,
    assets: uint256,
    minSharesOut: uint256,
    deadline: uint256,
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> Opening:
    """
    @notice `open`, with an EIP-2612 permit instead of an approval.
    @param modelTier See `createVault`.
    @param dailySmoothingBps See `createVault`.
    @param vaultAddress See `createVault`.
    @param harvestIntervalMinutes See `createVault`.
    @param assets USDC (1e-6) to deposit, and the value that was signed.
    @param minSharesOut See `deposit`.
    @param deadline The permit's, unix seconds.
    @param v The signature's.
    @param r The signature's.
    @param s The signature's.
    @return opening The token id, and the shares minted.
    """
    self._permit(assets, deadline, v, r, s)
    token_id: uint256 = self._create(
        msg.sender, modelTier, dailySmoothingBps, vaultAddress, harvestIntervalMinutes
    )
    return Opening(tokenId=token_id, shares=self._deposit(token_id, msg.sender, assets, minSharesOut))


@external
def openFor(
    owner: address,
    modelTier: uint8,
    dailySmoothingBps: uint16,
    vault: address,
    harvestIntervalMinutes: uint16,
    assets: uint256,
    minSharesOut: uint256,
) -> Opening:
    """
    @notice Give a position with its first deposit: you pay, position and principal are `owner`'s for ever.
        Requires a prior USDC.approve.
    @dev Shares worth less than 99.5 % of what was paid are refused, by the vault's preview. What the vault
        does not take goes back to the caller.
    @param owner Whose position it becomes, without being asked.
    @param modelTier See `createVault`.
    @param dailySmoothingBps See `createVault`.
    @param vault See `createVault`. The owner cannot change it later.
    @param harvestIntervalMinutes See `createVault`.
    @param assets USDC (1e-6) to deposit.
    @param minSharesOut See `deposit`.
    @return opening The token id, and the shares minted.
    """
    assert owner not in [usdc, position, self], "adapter: owner not allowed"
    token_id: uint256 = self._create(owner, modelTier, dailySmoothingBps, vault, harvestIntervalMinutes)
    log PositionGiven(tokenId=token_id, giver=msg.sender, owner=owner)
    return Opening(tokenId=token_id, shares=self._give(token_id, owner, assets, minSharesOut))


@external
def openWithAuthorization(
    owner: address,
    modelTier: uint8,
    dailySmoothingBps: uint16,
    vaultAddress: address,
    harvestIntervalMinutes: uint16,
    assets: uint256,
    minSharesOut: uint256,
    validAfter: uint256,
    validBefore: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> Opening:
    """
    @notice `open` for who signed an EIP-3009 authorization. Anyone may send it: the owner needs no ether.
    @dev The nonce to sign is keccak256(abi.encode(block.chainid, this contract, owner, modelTier,
        dailySmoothingBps, vaultAddress, harvestIntervalMinutes, minSharesOut, salt)), so the signature is
        good for this very call only. Unless the owner sends it, shares worth less than 99.5 % of what was
        paid are refused. What the vault does not take goes back to the owner.
        Warning: who sends it chooses the moment until `validBefore`. Sign a floor; 0 is unsafe.
    @param owner Who signed, pays, and owns the position.
    @param modelTier See `createVault`.
    @param dailySmoothingBps See `createVault`.
    @param vaultAddress See `createVault`.
    @param harvestIntervalMinutes See `createVault`.
    @param assets USDC (1e-6) to deposit, and the value that was signed.
    @param minSharesOut See `deposit`.
    @param validAfter The authorization's, unix seconds, exclusive.
    @param validBefore The authorization's, unix seconds, exclusive.
    @param salt Any value that was not used with the same arguments before.
    @param v The signature's.
    @param r The signature's.
    @param s The signature's.
    @return opening The token id, and the shares minted.
    """
    nonce: bytes32 = keccak256(
        abi_encode(
            chain.id,
            self,
            owner,
            modelTier,
            dailySmoothingBps,
            vaultAddress,
            harvestIntervalMinutes,
            minSharesOut,
            salt,
        )
    )
    token_id: uint256 = self._create(owner, modelTier, dailySmoothingBps, vaultAddress, harvestIntervalMinutes)
    stake: uint256 = self._check_deposit(token_id, assets)
    self._receive(owner, assets, validAfter, validBefore, nonce, v, r, s)
    shares: uint256 = self._invest(token_id, stake, owner, owner, assets, minSharesOut)
    return Opening(tokenId=token_id, shares=shares)


@external
def setHarvestInterval(tokenId: uint256, newIntervalMinutes: uint16):
    """
    @notice Change how often a keeper should harvest. Owner only.
    @param tokenId The position.
    @param newIntervalMinutes 30 to 360.
    """
    self._check_owner(tokenId)
    route: Route = self._load_route(tokenId)
    route.intervalMinutes = self._checked_interval(newIntervalMinutes)
    self._save_route(tokenId, route)
    log HarvestIntervalSet(tokenId=tokenId, harvestIntervalMinutes=newIntervalMinutes)


# ----------------------------------------------------------------------------------------- depositing


@external
def deposit(tokenId: uint256, assets: uint256, minSharesOut: uint256) -> uint256:
    """
    @notice Deposit USDC into the position's vault. Owner only; requires a prior USDC.approve.
    @dev What the vault does not take goes back to the caller and is no principal.
        Warning: never deposit to a token id that is not final. After a reorg the id may be a position that
        somebody opened for you in another vault; to open and deposit at once, use `open`.
    @param tokenId The position.
    @param assets USDC (1e-6).
    @param minSharesOut Refuse fewer shares than this: your floor against a share price that was moved
        between quote and landing. 0 disables it; no shares at all are always refused.
    @return shares The shares minted.
    """
    self._check_owner(tokenId)
    return self._deposit(tokenId, msg.sender, assets, minSharesOut)


@external
def depositFor(tokenId: uint256, assets: uint256, minSharesOut: uint256) -> uint256:
    """
    @notice Deposit your USDC into another's position: the principal is its owner's from then on. Requires a
        prior USDC.approve.
    @dev Shares worth less than 99.5 % of what was paid are refused, by the vault's preview: look at the
        vault first (`positionOf`), the owner chose it. What it does not take goes back to the caller.
    @param tokenId The position.
    @param assets USDC (1e-6).
    @param minSharesOut See `deposit`.
    @return shares The shares minted.
    """
    owner: address = staticcall IYieldFundedPosition(position).ownerOf(tokenId)
    return self._give(tokenId, owner, assets, minSharesOut)


@external
def depositWithPermit(
    tokenId: uint256, assets: uint256, minSharesOut: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
) -> uint256:
    """
    @notice `deposit`, with an EIP-2612 permit instead of an approval. Owner only.
    @dev A permit that somebody used already is ignored when the approval it gave is there.
        Warning: never deposit to a token id that is not final (see `deposit`); use `openWithPermit`.
    @param tokenId The position.
    @param assets USDC (1e-6), and the value that was signed.
    @param minSharesOut See `deposit`.
    @param deadline The permit's, unix seconds.
    @param v The signature's.
    @param r The signature's.
    @param s The signature's.
    @return shares The shares minted.
    """
    self._check_owner(tokenId)
    self._permit(assets, deadline, v, r, s)
    return self._deposit(tokenId, msg.sender, assets, minSharesOut)


@external
def depositWithAuthorization(
    tokenId: uint256,
    assets: uint256,
    minSharesOut: uint256,
    validAfter: uint256,
    validBefore: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> uint256:
    """
    @notice `deposit` by an EIP-3009 authorization that the owner signed. Anyone may send it: the owner needs
        no ether.
    @dev The nonce to sign is keccak256(abi.encode(block.chainid, this contract, owner, tokenId, the
        position's vault, minSharesOut, salt)), so the signature is good for this position in this vault
        and this floor only: a token id that a reorg gave to another opening does not match. Unless the
        owner sends it, shares worth less than 99.5 % of what was paid are refused. What the vault does not
        take goes back to the owner.
        Warning: who sends it chooses the moment until `validBefore`. Sign a floor; 0 is unsafe.
    @param tokenId The position.
    @param assets USDC (1e-6), and the value that was signed.
    @param minSharesOut See `deposit`.
    @param validAfter The authorization's, unix seconds, exclusive.
    @param validBefore The authorization's, unix seconds, exclusive.
    @param salt Any value that was not used with the same arguments before.
    @param v The signature's.
    @param r The signature's.
    @param s The signature's.
    @return shares The shares minted.
    """
    owner: address = staticcall IYieldFundedPosition(position).ownerOf(tokenId)
    stake: uint256 = self._check_deposit(tokenId, assets)
    vault: address = self._load_vault(tokenId)
    nonce: bytes32 = keccak256(abi_encode(chain.id, self, owner, tokenId, vault, minSharesOut, salt))
    self._receive(owner, assets, validAfter, validBefore, nonce, v, r, s)
    return self._invest(tokenId, stake, owner, owner, assets, minSharesOut)


# -------------------------------------------------------------------------------------------- leaving


@external
def withdrawPrincipal(
    tokenId: uint256, assets: uint256 = max_value(uint256), minAssetsOut: uint256 = 0
) -> uint256:
    """
    @notice Take principal back. Owner only, at any time, whatever was spent on inference.
    @dev Capped at what the vault can pay now: the principal goes down by what was paid, come again for the
        rest. Where the vault has lost value, the position's shares are redeemed for what they are worth;
        once no share is left, the principal is zero and the difference is the event's `loss`.
        Warning: in a vault whose price can be moved within a block, set `minAssetsOut`.
    @param tokenId The position.
    @param assets USDC (1e-6) wanted, all by default; more than the principal means all.
    @param minAssetsOut Revert when less than this would be paid.
    @return paid USDC (1e-6) paid to the owner.
    """
    self._check_owner(tokenId)
    vault: address = self._load_vault(tokenId)
    stake: Stake = self._load_stake(tokenId)
    wanted: uint256 = min(assets, stake.principal)
    assert wanted != 0, "adapter: no principal"

    paid: uint256 = 0
    burned: uint256 = 0
    paid, burned = self._collect(vault, stake, wanted)
    assert paid >= minAssetsOut, "adapter: too little paid"

    stake.shares -= burned
    stake.principal = unsafe_sub(stake.principal, min(paid, stake.principal))
    loss: uint256 = 0
    if stake.shares == 0:
        loss = stake.principal
        stake.principal = 0
    self._save_stake(tokenId, stake)
    log PrincipalWithdrawn(
        tokenId=tokenId,
        owner=msg.sender,
        assets=paid,
        sharesBurned=burned,
        principalAfter=stake.principal,
        sharesAfter=stake.shares,
        loss=loss,
    )
    self._pay(msg.sender, paid)
    return paid


@external
def exitInKind(tokenId: uint256) -> uint256:
    """
    @notice Hand over all vault shares of the position, yield included, instead of USDC. Owner only.
    @dev The way out when a vault cannot or will not pay. Asks the vault for nothing but the transfer: no
        view of it can stand in the way. The position stays and may be used again.
    @param tokenId The position.
    @return shares The shares handed over.
    """
    self._check_owner(tokenId)
    vault: address = self._load_vault(tokenId)
    stake: Stake = self._load_stake(tokenId)
    assert stake.shares != 0, "adapter: no shares to hand over"
    self._save_stake(tokenId, empty(Stake))
    log ExitedInKind(
        tokenId=tokenId, owner=msg.sender, shares=stake.shares, principalForgone=stake.principal
    )
    vault_calls._hand_over(vault, msg.sender, stake.shares)
    return stake.shares


# ----------------------------------------------------------------------------------------- harvesting


@external
def harvest(tokenId: uint256) -> uint256:
    """
    @notice Turn the position's yield into allowance. Anyone may call, at any time.
    @dev One path: whatever goes wrong reverts the whole call, so a caller who starves it of gas achieves
        nothing. The vault pays this contract, which measures and then credits: a nested harvest could
        otherwise count one payment twice.
    @param tokenId The position.
    @return credited USDC (1e-6) credited; 0, and no change at all, while there is less than a cent to harvest.
    """
    route: Route = self._load_route(tokenId)
    stake: Stake = self._load_stake(tokenId)
    surplus: uint256 = self._surplus_shares(route.vault, stake)
    if surplus == 0:
        return 0
    preview: uint256 = vault_calls._preview_redeem(route.vault, surplus)
    if preview < MIN_HARVEST:
        return 0

    paid: uint256 = 0
    burned: uint256 = 0
    paid, burned = self._redeem_exactly(route.vault, surplus)
    assert paid * BPS >= preview * (BPS - MAX_SHORTFALL_BPS), "adapter: redeemed below preview"
    stake.shares -= burned
    if stake.principal != 0:
        needed: uint256 = vault_calls._preview_withdraw(route.vault, stake.principal)
        # A vault that previews 0 must not leave principal without a share.
        assert stake.shares != 0 and needed <= stake.shares, "adapter: principal not covered"

    route.lastHarvestAt = block.timestamp
    self._save_route(tokenId, route)
    self._save_stake(tokenId, stake)
    log Harvested(
        tokenId=tokenId, caller=msg.sender, credited=paid, sharesBurned=burned, sharesAfter=stake.shares
    )
    self._pay(position, paid)
    extcall IYieldFundedPosition(position).creditYield(tokenId, paid)
    return paid


# --------------------------------------------------------------------------------------------- views


@external
@view
def positionOf(tokenId: uint256) -> Booking:
    """
    @notice What is booked for a position. Reverts for one that does not exist.
    @return booking vault, principal (USDC), shares, harvestIntervalMinutes, lastHarvestAt (the opening at first).
    """
    route: Route = self._load_route(tokenId)
    stake: Stake = self._load_stake(tokenId)
    return Booking(
        vault=route.vault,
        principal=stake.principal,
        shares=stake.shares,
        harvestIntervalMinutes=route.intervalMinutes,
        lastHarvestAt=route.lastHarvestAt,
    )


@external
@view
def pendingYield(tokenId: uint256) -> uint256:
    """
    @notice USDC (1e-6) of yield as the vault previews it now; less than a cent cannot be harvested yet.
    """
    vault: address = self._load_vault(tokenId)
    surplus: uint256 = self._surplus_shares(vault, self._load_stake(tokenId))
    if surplus == 0:
        return 0
    return vault_calls._preview_redeem(vault, surplus)


@external
@view
def principalValue(tokenId: uint256) -> uint256:
    """
    @notice USDC (1e-6) the principal is worth now: itself, or the value of all shares where that is less.
    """
    vault: address = self._load_vault(tokenId)
    stake: Stake = self._load_stake(tokenId)
    if stake.shares == 0:
        return 0
    return min(stake.principal, vault_calls._preview_redeem(vault, stake.shares))


@external
@view
def harvestDueAt(tokenId: uint256) -> uint256:
    """
    @notice When a keeper should harvest next, unix seconds. Anyone may do it earlier.
    """
    route: Route = self._load_route(tokenId)
    return route.lastHarvestAt + route.intervalMinutes * SECONDS_A_MINUTE


# ------------------------------------------------------------------------------------------ internals


@internal
def _create(
    owner: address, modelTier: uint8, dailySmoothingBps: uint16, vault: address, harvestIntervalMinutes: uint16
) -> uint256:
    interval: uint256 = self._checked_interval(harvestIntervalMinutes)
    self._check_vault(vault)
    token_id: uint256 = extcall IYieldFundedPosition(position).mint(owner, modelTier, dailySmoothingBps)
    self._save_route(token_id, Route(vault=vault, intervalMinutes=interval, lastHarvestAt=block.timestamp))
    log VaultCreated(
        tokenId=token_id,
        owner=owner,
        vault=vault,
        modelTier=modelTier,
        dailySmoothingBps=dailySmoothingBps,
        harvestIntervalMinutes=harvestIntervalMinutes,
    )
    return token_id


@internal
@view
def _check_vault(vault: address):
    """
    @notice Refuse what cannot be a vault, and a vault without the views a harvest needs.
    """
    assert vault not in [usdc, position, self], "adapter: vault not allowed"
    ok: bool = False
    asset: uint256 = 0
    ok, asset = vault_calls._try_asset(vault)
    assert ok and asset == convert(usdc, uint256), "adapter: not a usdc vault"
    vault_calls._balance_in(vault)
    vault_calls._preview_withdraw(vault, PROBE)
    vault_calls._preview_redeem(vault, PROBE)


@internal
@pure
def _checked_interval(minutes: uint16) -> uint256:
    assert MIN_INTERVAL_MINUTES <= minutes and minutes <= MAX_INTERVAL_MINUTES, "adapter: interval out of range"
    return convert(minutes, uint256)


@internal
@view
def _check_deposit(tokenId: uint256, assets: uint256) -> uint256:
    """
    @notice Refuse what cannot be deposited.
    @return The position's stake before the deposit, packed. Nothing but the deposit can change it: the lock.
    """
    assert assets != 0, "adapter: nothing to deposit"
    stake: uint256 = self._stakes[tokenId]
    assert assets <= unsafe_sub(MAX_PRINCIPAL, stake & MAX_PRINCIPAL), "adapter: amount too large"
    return stake


@internal
def _deposit(tokenId: uint256, owner: address, assets: uint256, minSharesOut: uint256) -> uint256:
    """
    @notice Deposit what the caller pays into the position of `owner`.
    """
    stake: uint256 = self._check_deposit(tokenId, assets)
    assert extcall IUSDC(usdc).transferFrom(msg.sender, self, assets), "adapter: usdc refused"
    return self._invest(tokenId, stake, owner, msg.sender, assets, minSharesOut)


@internal
def _give(tokenId: uint256, owner: address, assets: uint256, minSharesOut: uint256) -> uint256:
    principal_before: uint256 = self._load_stake(tokenId).principal
    shares: uint256 = self._deposit(tokenId, owner, assets, minSharesOut)
    given: uint256 = self._load_stake(tokenId).principal - principal_before
    log DepositGiven(tokenId=tokenId, giver=msg.sender, assets=given)
    return shares


@internal
def _permit(assets: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Use a permit of the caller. A failure does not matter while the allowance is there: a stranger
        may have submitted the same permit first.
    """
    ok: bool = raw_call(
        usdc,
        abi_encode(
            msg.sender,
            self,
            assets,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    if not ok:
        assert staticcall IUSDC(usdc).allowance(msg.sender, self) >= assets, "adapter: permit refused"


@internal
def _receive(
    owner: address,
    assets: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Pull USDC by an authorization of the owner. Only its recipient can use it, so it can serve for
        nothing but the call whose arguments are in the nonce.
    """
    extcall IUSDC(usdc).receiveWithAuthorization(owner, self, assets, validAfter, validBefore, nonce, v, r, s)


@internal
def _invest(
    tokenId: uint256,
    before: uint256,
    owner: address,
    payer: address,
    assets: uint256,
    minSharesOut: uint256,
) -> uint256:
    """
    @notice Deposit `assets`, which `payer` paid in just now, and add what came of it to the stake of `owner`.
    @param before The stake as it is stored.
    """
    vault: address = self._load_vault(tokenId)
    usdc_before: uint256 = staticcall IUSDC(usdc).balanceOf(self) - assets
    shares_before: uint256 = vault_calls._balance_in(vault)
    assert extcall IUSDC(usdc).approve(vault, assets), "adapter: approval refused"
    vault_calls._deposit(vault, assets)

    shares_now: uint256 = vault_calls._balance_in(vault)
    assert shares_now > shares_before, "adapter: no shares minted"
    shares: uint256 = unsafe_sub(shares_now, shares_before)
    assert shares >= minSharesOut, "adapter: too few shares"
    assert shares <= unsafe_sub(MAX_SHARES, before >> 64), "adapter: too many shares"
    usdc_now: uint256 = max(usdc_before, staticcall IUSDC(usdc).balanceOf(self))
    leftover: uint256 = unsafe_sub(usdc_now, usdc_before)
    invested: uint256 = unsafe_sub(assets, min(leftover, assets))
    if msg.sender != owner:
        self._check_worth(vault, shares, invested)
    # Neither overflows: what is added was checked against what is there.
    principal_after: uint256 = unsafe_add(before & MAX_PRINCIPAL, invested)
    shares_after: uint256 = unsafe_add(before >> 64, shares)
    self._stakes[tokenId] = principal_after | (shares_after << 64)
    log Deposited(
        tokenId=tokenId,
        owner=owner,
        assets=invested,
        shares=shares,
        principalAfter=principal_after,
        sharesAfter=shares_after,
    )
    # Nothing left means that the vault took all of it, which used the approval up.
    if leftover != 0:
        assert extcall IUSDC(usdc).approve(vault, 0), "adapter: approval not reset"
        self._pay(payer, leftover)
    return shares


@internal
@view
def _check_worth(vault: address, shares: uint256, paid: uint256):
    """
    @notice Refuse shares that the vault would not give 99.5 % of `paid` for, fees and rounding included, at
        the price of this moment: a price that was moved before the deposit is not noticed.
    """
    worth: uint256 = vault_calls._preview_redeem(vault, shares)
    assert worth * BPS >= paid * (BPS - MAX_SHORTFALL_BPS), "adapter: shares worth too little"


@internal
def _collect(vault: address, stake: Stake, wanted: uint256) -> (uint256, uint256):
    """
    @notice Get up to `wanted` out of a vault: by asking for it, or else for what is there now.
    @dev Fallbacks are safe here, as only the owner can steer them. Where the shares do not suffice, or the
        vault does not say, the position's own shares are redeemed; `withdraw` would take the missing ones
        from the other positions. Right after a deposit that is the normal case: rounding makes
        `previewWithdraw(deposit)` one share more than was minted.
    @return USDC (1e-6) that arrived, and the shares that were burned.
    """
    known: bool = False
    needed: uint256 = 0
    known, needed = vault_calls._try_preview_withdraw(vault, wanted)
    covered: bool = known and needed <= stake.shares
    redeemable: uint256 = min(needed, stake.shares) if known else stake.shares * wanted // stake.principal

    usdc_before: uint256 = staticcall IUSDC(usdc).balanceOf(self)
    shares_before: uint256 = vault_calls._balance_in(vault)
    asked: bool = False
    if covered:
        asked = vault_calls._ask_withdraw(vault, wanted)
    else:
        asked = vault_calls._ask_redeem(vault, redeemable)
    if not asked:
        self._collect_available(vault, wanted, redeemable)
    paid: uint256 = self._gain(usdc_before, staticcall IUSDC(usdc).balanceOf(self))
    burned: uint256 = self._gain(vault_calls._balance_in(vault), shares_before)
    assert paid != 0, "adapter: vault paid nothing"
    assert burned <= stake.shares, "adapter: burned too many shares"
    return paid, burned


@internal
def _collect_available(vault: address, wanted: uint256, redeemable: uint256):
    """
    @notice Ask for what the vault says it can pay, or has, after it refused the whole.
    @dev `wanted` may need more shares than the position owns, by rounding or after a loss: what a vault short
        of USDC pays is worth less than that, and `_collect` refuses the outcome where it is not.
    @param wanted At most this much by `withdraw`.
    @param redeemable At most this many shares by `redeem`.
    """
    ok: bool = False
    limit: uint256 = 0
    ok, limit = vault_calls._try_max_withdraw(vault)
    limit = min(limit, wanted) if ok else 0
    if limit != 0 and vault_calls._ask_withdraw(vault, limit):
        return
    ok, limit = vault_calls._try_max_redeem(vault)
    limit = min(limit, redeemable) if ok else 0
    if limit != 0 and vault_calls._ask_redeem(vault, limit):
        return
    # Morpho Vault V2 answers 0 to both, and pays what lies in it idle all the same.
    limit = min(staticcall IUSDC(usdc).balanceOf(vault), wanted)
    assert limit != 0 and vault_calls._ask_withdraw(vault, limit), "adapter: refused, name less"


@internal
def _redeem_exactly(vault: address, shares: uint256) -> (uint256, uint256):
    """
    @notice Redeem, or revert with the vault's own reason.
    @return USDC (1e-6) that arrived, and the shares that were burned: never more than asked for.
    """
    usdc_before: uint256 = staticcall IUSDC(usdc).balanceOf(self)
    shares_before: uint256 = vault_calls._balance_in(vault)
    vault_calls._redeem(vault, shares)
    paid: uint256 = self._gain(usdc_before, staticcall IUSDC(usdc).balanceOf(self))
    burned: uint256 = self._gain(vault_calls._balance_in(vault), shares_before)
    assert burned <= shares, "adapter: burned above request"
    return paid, burned


@internal
def _pay(to: address, amount: uint256):
    assert extcall IUSDC(usdc).transfer(to, amount), "adapter: usdc not paid"


@internal
@view
def _surplus_shares(vault: address, stake: Stake) -> uint256:
    """
    @notice The shares that the principal and the slack above it do not need. Reverts when the vault does not
        say.
    """
    needed: uint256 = 0
    if stake.principal != 0 and stake.shares != 0:
        needed = vault_calls._preview_withdraw(vault, stake.principal + HARVEST_SLACK)
    return self._gain(needed, stake.shares)


@internal
@pure
def _gain(before: uint256, after: uint256) -> uint256:
    """
    @notice How much a figure rose; 0 when it fell.
    """
    return unsafe_sub(max(before, after), before)


@internal
@view
def _check_owner(tokenId: uint256):
    assert msg.sender == staticcall IYieldFundedPosition(position).ownerOf(tokenId), "adapter: not owner"


@internal
@view
def _load_route(tokenId: uint256) -> Route:
    """
    @notice Where a position's money works. Reverts for a position that does not exist.
    """
    word: uint256 = self._routes[tokenId]
    assert word != 0, "adapter: unknown position"
    return Route(
        vault=convert(word & (2**160 - 1), address),
        intervalMinutes=(word >> 160) & (2**16 - 1),
        lastHarvestAt=word >> 176,
    )


@internal
@view
def _load_vault(tokenId: uint256) -> address:
    """
    @notice Where a position's money works. Reverts for a position that does not exist.
    """
    word: uint256 = self._routes[tokenId]
    assert word != 0, "adapter: unknown position"
    return convert(word & (2**160 - 1), address)


@internal
def _save_route(tokenId: uint256, route: Route):
    self._routes[tokenId] = (
        convert(route.vault, uint256) | (route.intervalMinutes << 160) | (route.lastHarvestAt << 176)
    )


@internal
@view
def _load_stake(tokenId: uint256) -> Stake:
    word: uint256 = self._stakes[tokenId]
    return Stake(principal=word & MAX_PRINCIPAL, shares=word >> 64)


@internal
def _save_stake(tokenId: uint256, stake: Stake):
    self._stakes[tokenId] = stake.principal | (stake.shares << 64)
