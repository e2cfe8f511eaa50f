# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title YieldFundedPosition
@notice A soulbound ERC-721 (ERC-5192) for each deposit. It holds the USDC that the deposit has earned,
    as an allowance the owner spends on AI inference or takes out.
@dev
    ROLES
      adapter   mints positions and credits yield; fixed at deployment
      settler   places holds and books what was spent; at most one day's cap of a position a day, and
                only towards the treasury: that is also the most a stolen settler key can take
      owner of a position   withdraws unspent yield, revokes API keys
      giver     anyone who pays USDC into a position's allowance with `creditFor`; has no claim to it after
      admin     names settlers; touches no credit itself, but may name itself a settler
      anyone    sweeps settled USDC to the treasury, which is fixed at deployment

    UNITS. Amounts are USDC (1e-6), times are unix seconds, days are UTC days.

    ROUNDING. The daily cap rounds down, in favour of the owner's later days. Nothing else divides.

    HOLD. A position carries at most one hold: an amount promised to the settler until an expiry. A live hold is
    taken back by its expiry, its settlement and the settler, and by nothing else: neither a midnight nor a
    revocation of keys makes it smaller. A placement under the current key epoch grants what the day allows,
    or the live hold where that is more; a placement under another epoch grants no more than the live hold,
    for no longer. From its expiry on a hold counts as zero everywhere, without a transaction, so an
    operator who disappears locks nothing for more than 25 hours.

    DAY. See `account.vy`. The first touch of a UTC day writes the day's opening; views compute it.

    TOKEN ASSUMPTIONS. USDC takes no fee and does not rebase. It may pause, or blacklist the treasury,
    an owner or this contract: holds and settlements move no USDC and go on; payments revert whole and
    can be repeated later.

    LIVENESS. Withdrawing unspent yield needs neither adapter, settler nor admin.

    SHUTDOWN. Admin removes every settler: holds lapse within 25 hours, then all unspent credit can be
    withdrawn by its owners. There is no pause.

    INVARIANTS
      P1  USDC.balanceOf(self) >= liabilities == sum(credited - spent - withdrawn) + owed
      P2  a live hold never exceeds credited - spent - withdrawn
      P3  within a UTC day, daySpent + live hold <= dayCap
      P4  credited, spent, withdrawn and keyEpoch never decrease
      P5  a batch settles at most once
      P6  a position never changes hands
"""

from ethereum.ercs import IERC20

from . import account
from . import batch_ids
from . import position_metadata
from . import two_step_owner
from .interfaces import ILendingYieldAdapter

initializes: batch_ids
initializes: two_step_owner

exports: (
    two_step_owner.owner,
    two_step_owner.pendingOwner,
    two_step_owner.transferOwnership,
    two_step_owner.acceptOwnership,
)


event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    tokenId: indexed(uint256)


event Locked:
    tokenId: uint256


event PositionMinted:
    tokenId: indexed(uint256)
    owner: indexed(address)
    modelTier: uint8
    dailySmoothingBps: uint16


event YieldCredited:
    tokenId: indexed(uint256)
    amount: uint256
    creditedAfter: uint256


event CreditGiven:
    tokenId: indexed(uint256)
    giver: indexed(address)
    amount: uint256
    creditedAfter: uint256


event HoldPlaced:
    tokenId: indexed(uint256)
    requested: uint256
    granted: uint256
    expiresAt: uint256  # zero when nothing was granted
    keyEpoch: uint256  # the one named in the request


event Settled:
    tokenId: indexed(uint256)
    batchId: indexed(bytes32)
    cost: uint256
    spentAfter: uint256


event BatchSettled:
    batchId: indexed(bytes32)
    receiptsRoot: bytes32
    total: uint256
    itemCount: uint256


event Swept:
    treasury: indexed(address)
    amount: uint256


event ReleaseRequested:
    tokenId: indexed(uint256)
    owner: indexed(address)


event UnspentYieldWithdrawn:
    tokenId: indexed(uint256)
    owner: indexed(address)
    assets: uint256
    withdrawnAfter: uint256


event KeyEpochBumped:
    tokenId: indexed(uint256)
    keyEpoch: uint256


event SettlerSet:
    settler: indexed(address)
    allowed: bool


struct Hold:
    tokenId: uint256
    amount: uint256
    expiresAt: uint256
    keyEpoch: uint256


struct SettleItem:
    tokenId: uint256
    cost: uint256


struct Allowance:
    credited: uint256
    spent: uint256
    withdrawn: uint256
    held: uint256
    holdExpiresAt: uint256
    dayCap: uint256
    daySpent: uint256
    keyEpoch: uint256


struct Totals:
    liabilities: uint256
    owed: uint256
    supply: uint256


name: public(constant(String[24])) = "Current yield position"
symbol: public(constant(String[8])) = "CURRENT"

MAX_ITEMS: constant(uint256) = 200
# A keeper run once a day by cron must be able to bridge to its next run.
MAX_HOLD_SECONDS: constant(uint256) = 25 * 3_600
# As much as a harvest brings at least: a cent is worth the event that every reader of the chain keeps.
MIN_GIFT: constant(uint256) = 10_000
MAX_CALLDATA: constant(uint256) = 65_536

# supportsInterface: ERC-165, ERC-721, ERC-721 Metadata, ERC-5192
INTERFACES: constant(bytes4[4]) = [0x01ffc9a7, 0x80ac58cd, 0x5b5e139f, 0xb45a3c0e]

usdc: public(immutable(address))
adapter: public(immutable(address))
treasury: public(immutable(address))

isSettler: public(HashMap[address, bool])

_deeds: HashMap[uint256, uint256]  # packed: owner 160 bits | modelTier u8 | dailySmoothingBps u16
_balances: HashMap[address, uint256]
_hot: HashMap[uint256, uint256]  # packed as `account.Hot`; of tier and smoothing nothing before the first touch
_cold: HashMap[uint256, uint256]  # packed as `account.Cold`
_totals: uint256  # packed as `Totals`: liabilities u96 | owed u96 | supply u64


@deploy
def __init__(usdc_: address, adapter_: address, treasury_: address, owner_: address):
    """
    @param usdc_ The USDC token.
    @param adapter_ The adapter, which may be deployed later at this address; it checks the wiring.
    @param treasury_ Where settled USDC goes: the payouts contract.
    @param owner_ The admin, who names settlers.
    """
    assert empty(address) not in [usdc_, adapter_, treasury_], "position: zero address"
    two_step_owner.__init__(owner_)
    usdc = usdc_
    adapter = adapter_
    treasury = treasury_


# ------------------------------------------------------------------------------------------- adapter


@external
def mint(to: address, modelTier: uint8, dailySmoothingBps: uint16) -> uint256:
    """
    @notice Mint a position. Adapter only.
    @dev `to` is not called back: a wallet that cannot handle ERC-721 could not lose a soulbound token.
    @param to The owner, for ever.
    @param modelTier Kept for its readers; it gates nothing.
    @param dailySmoothingBps The part of a day's opening credit that may be spent that day, 1 to 10_000
        (no smoothing).
    @return tokenId The new token id; the first is 0.
    """
    self._check_adapter()
    assert to != empty(address), "position: mint to zero address"
    bps: uint256 = convert(dailySmoothingBps, uint256)
    assert 1 <= bps and bps <= account.MAX_BPS, "position: smoothing out of range"

    totals: Totals = self._load_totals()
    token_id: uint256 = totals.supply
    totals.supply = unsafe_add(token_id, 1)  # a mint costs gas
    self._save_totals(totals)
    # The account stays zero, so that a deposit pays for none before it earns: the first touch takes tier and
    # smoothing from here. Day 0 is long over: it also opens a day.
    self._deeds[token_id] = convert(to, uint256) | (convert(modelTier, uint256) << 160) | (bps << 168)
    self._balances[to] += 1
    log Transfer(sender=empty(address), receiver=to, tokenId=token_id)
    log Locked(tokenId=token_id)
    log PositionMinted(tokenId=token_id, owner=to, modelTier=modelTier, dailySmoothingBps=dailySmoothingBps)
    return token_id


@external
def creditYield(tokenId: uint256, amount: uint256):
    """
    @notice Add yield to a position's allowance. Adapter only, after it has paid the USDC in.
    @dev Refuses to become insolvent: the balance must cover every liability, this one included.
    @param tokenId The position.
    @param amount USDC (1e-6) that arrived.
    """
    self._check_adapter()
    credited: uint256 = self._credit(tokenId, amount)
    log YieldCredited(tokenId=tokenId, amount=amount, creditedAfter=credited)


# --------------------------------------------------------------------------------------------- giver


@external
def creditFor(tokenId: uint256, amount: uint256):
    """
    @notice Pay USDC into a position's allowance, as if it had been harvested. Anyone may call; requires a prior
        USDC.approve of this contract.
    @dev A gift: it raises today's cap like a harvest, and the owner may spend it or take it out. Nobody can
        take it back.
    @param tokenId The position.
    @param amount USDC (1e-6), at least a cent.
    """
    assert amount >= MIN_GIFT, "position: gift below a cent"
    before: uint256 = staticcall IERC20(usdc).balanceOf(self)
    assert extcall IERC20(usdc).transferFrom(msg.sender, self, amount), "position: usdc refused"
    # The balance alone could be USDC that somebody sent here by mistake: what arrived just now counts.
    after: uint256 = staticcall IERC20(usdc).balanceOf(self)
    assert after - min(before, after) >= amount, "position: gift not received"
    credited: uint256 = self._credit(tokenId, amount)
    log CreditGiven(tokenId=tokenId, giver=msg.sender, amount=amount, creditedAfter=credited)


# ------------------------------------------------------------------------------------------- settler


@external
def hold(holds: DynArray[Hold, MAX_ITEMS]):
    """
    @notice Place, replace or free holds. Settler only.
    @dev Each is absolute, so repeating a call is harmless: the position's hold becomes
        min(amount, max(live hold, what the day allows)). An amount of 0 frees. A request that names
        another key epoch than the current one was authorised before a revocation. It opens no new
        spending and takes back no promise: it grants min(amount, live hold), until the earlier of
        both expiries.
    @param holds Position, USDC (1e-6), expiry (unix seconds, exclusive, at most 25 hours ahead) and the key
        epoch the spending was authorised under.
    """
    self._check_settler()
    # Alone, an item is read straight from the calldata: the memory that a loop sets aside for 200 of them
    # costs a small call 3,900 gas.
    if len(holds) == 1:
        self._place_hold(holds[0])
        return
    for request: Hold in holds:
        self._place_hold(request)


@external
def settle(batchId: bytes32, receiptsRoot: bytes32, items: DynArray[SettleItem, MAX_ITEMS]):
    """
    @notice Book what was spent, each item out of the live hold of its position. Settler only.
    @dev All or nothing. Moves no USDC: it becomes `owed`, and `sweep` pays it out. Liabilities stay as they
        are. Ids that follow each other are cheapest, see `batch_ids`.
    @param batchId Settles once, for ever.
    @param receiptsRoot The Merkle root of the receipts; kept in the event only.
    @param items Position and cost in USDC (1e-6).
    """
    self._check_settler()
    self._use_batch(batchId)
    # Alone, an item spares the loop's memory, see `hold`.
    if len(items) == 1:
        self._consume_hold(batchId, items[0])
        self._book_batch(batchId, receiptsRoot, items[0].cost, 1)
        return
    total: uint256 = 0
    for item: SettleItem in items:
        self._consume_hold(batchId, item)
        total += item.cost
    self._book_batch(batchId, receiptsRoot, total, len(items))


@external
def sweep() -> uint256:
    """
    @notice Send what was settled to the treasury, and nothing else. Anyone may call.
    @return amount USDC (1e-6) moved; 0 when nothing is owed.
    """
    totals: Totals = self._load_totals()
    amount: uint256 = totals.owed
    if amount == 0:
        return 0
    totals.owed = 0
    totals.liabilities -= amount
    self._save_totals(totals)
    log Swept(treasury=treasury, amount=amount)
    self._pay(treasury, amount)
    return amount


# --------------------------------------------------------------------------------- owner of a position


@external
def requestRelease(tokenId: uint256):
    """
    @notice Ask the keeper to settle what is due and free the rest of the hold. Owner only.
    @dev Changes nothing here; without an answer the hold lapses at its expiry.
    @param tokenId The position.
    """
    self._check_position_owner(tokenId)
    log ReleaseRequested(tokenId=tokenId, owner=msg.sender)


@external
def withdrawUnspentYield(tokenId: uint256) -> uint256:
    """
    @notice Take out the credit that is neither spent nor held, as USDC. Owner only.
    @param tokenId The position.
    @return assets USDC (1e-6) paid to the owner.
    """
    self._check_position_owner(tokenId)
    hot: account.Hot = self._load_hot(tokenId)
    cold: account.Cold = account._cold_today(hot, self._cold[tokenId])
    hot.day = account._today()
    assets: uint256 = account._withdrawable(hot, cold)
    assert assets != 0 or hot.held == 0, "position: held, request release"
    assert assets != 0, "position: nothing to withdraw"

    cold.withdrawn += assets
    self._hot[tokenId] = account._pack_hot(hot)
    self._cold[tokenId] = account._pack_cold(cold)
    totals: Totals = self._load_totals()
    totals.liabilities -= assets
    self._save_totals(totals)
    log UnspentYieldWithdrawn(tokenId=tokenId, owner=msg.sender, assets=assets, withdrawnAfter=cold.withdrawn)
    self._pay(msg.sender, assets)
    return assets


@external
def bumpKeyEpoch(tokenId: uint256) -> uint256:
    """
    @notice Revoke every API key ever issued for this position. Owner only.
    @dev A live hold stays, to pay for requests that are already running; no request authorised under the
        old epoch can open a new one, nor make it larger or longer.
    @param tokenId The position.
    @return epoch The new epoch; the first is 0.
    """
    self._check_position_owner(tokenId)
    word: uint256 = unsafe_add(self._hot[tokenId], account.ONE_EPOCH)
    self._hot[tokenId] = word
    epoch: uint256 = (word >> 192) & (2**32 - 1)
    log KeyEpochBumped(tokenId=tokenId, keyEpoch=epoch)
    return epoch


# --------------------------------------------------------------------------------------------- admin


@external
def setSettler(settler: address, allowed: bool):
    """
    @notice Allow or forbid a keeper's address to place holds and to settle. Admin only.
    @param settler The keeper's address.
    @param allowed True to allow.
    """
    two_step_owner._check_owner()
    self.isSettler[settler] = allowed
    log SettlerSet(settler=settler, allowed=allowed)


# ----------------------------------------------------------------------------------------- soulbound


@external
def transferFrom(owner: address, to: address, tokenId: uint256):
    """
    @notice Always reverts: a position never changes hands.
    """
    raise "position: soulbound"


@external
def safeTransferFrom(owner: address, to: address, tokenId: uint256, data: Bytes[MAX_CALLDATA] = b""):
    """
    @notice Always reverts: a position never changes hands.
    """
    raise "position: soulbound"


@external
def approve(to: address, tokenId: uint256):
    """
    @notice Always reverts: a position never changes hands.
    """
    raise "position: soulbound"


@external
def setApprovalForAll(operator: address, approved: bool):
    """
    @notice Always reverts: a position never changes hands.
    """
    raise "position: soulbound"


# --------------------------------------------------------------------------------------------- views


@external
@view
def ownerOf(tokenId: uint256) -> address:
    """
    @notice The wallet that opened the position. Reverts for a position that does not exist.
    """
    return self._owner_of(tokenId)


@external
@view
def balanceOf(owner: address) -> uint256:
    """
    @notice How many positions a wallet holds.
    """
    assert owner != empty(address), "position: zero owner"
    return self._balances[owner]


@external
@view
def getApproved(tokenId: uint256) -> address:
    """
    @notice The zero address: nobody can be approved. Reverts for a position that does not exist.
    """
    self._owner_of(tokenId)
    return empty(address)


@external
@view
def isApprovedForAll(owner: address, operator: address) -> bool:
    """
    @notice False: nobody can be approved.
    """
    return False


@external
@view
def locked(tokenId: uint256) -> bool:
    """
    @notice True (ERC-5192). Reverts for a position that does not exist.
    """
    self._owner_of(tokenId)
    return True


@external
@view
def supportsInterface(interfaceId: bytes4) -> bool:
    """
    @notice ERC-165: whether an interface is implemented.
    """
    return interfaceId in INTERFACES


@external
@view
def tokenURI(tokenId: uint256) -> String[position_metadata.MAX_URI]:
    """
    @notice JSON with an SVG picture of the live figures, all inline.
    """
    hot: account.Hot = empty(account.Hot)
    cold: account.Cold = empty(account.Cold)
    hot, cold = self._account_now(tokenId)
    vault: address = empty(address)
    principal: uint256 = 0
    shares: uint256 = 0
    interval: uint256 = 0
    harvested_at: uint256 = 0
    vault, principal, shares, interval, harvested_at = staticcall ILendingYieldAdapter(adapter).positionOf(tokenId)
    return position_metadata._token_uri(
        tokenId,
        position_metadata.Figures(
            principal=principal,
            allowance=account._remaining(hot, cold),
            held=hot.held,
            dayCap=account._day_cap(hot, cold),
        ),
    )


@external
@view
def totalSupply() -> uint256:
    """
    @notice How many positions were minted; token ids are 0 to one less than this.
    """
    return self._load_totals().supply


@external
@view
def liabilities() -> uint256:
    """
    @notice USDC (1e-6) this contract owes: all unspent credit, and what is owed to the treasury.
    """
    return self._load_totals().liabilities


@external
@view
def owed() -> uint256:
    """
    @notice USDC (1e-6) that was settled and not yet swept to the treasury.
    """
    return self._load_totals().owed


@external
@view
def batchSettled(batchId: bytes32) -> bool:
    """
    @notice Whether a batch was settled.
    """
    return batch_ids._is_used(batchId)


@external
@view
def keyEpoch(tokenId: uint256) -> uint256:
    """
    @notice The key epoch: API keys of any other are void.
    """
    return self._load_hot(tokenId).keyEpoch


@external
@view
def modelTier(tokenId: uint256) -> uint8:
    """
    @notice The model tier given at mint.
    """
    return convert(self._load_hot(tokenId).modelTier, uint8)


@external
@view
def dailySmoothingBps(tokenId: uint256) -> uint16:
    """
    @notice The part of a day's credit that may be spent that day, in 1/10_000.
    """
    return convert(self._load_hot(tokenId).dailySmoothingBps, uint16)


@external
@view
def remainingAllowance(tokenId: uint256) -> uint256:
    """
    @notice USDC (1e-6) that may still be spent today, the live hold included.
    """
    hot: account.Hot = empty(account.Hot)
    cold: account.Cold = empty(account.Cold)
    hot, cold = self._account_now(tokenId)
    return account._remaining(hot, cold)


@external
@view
def withdrawableYield(tokenId: uint256) -> uint256:
    """
    @notice USDC (1e-6) that `withdrawUnspentYield` would pay now: unspent credit beyond the live hold.
    """
    hot: account.Hot = empty(account.Hot)
    cold: account.Cold = empty(account.Cold)
    hot, cold = self._account_now(tokenId)
    return account._withdrawable(hot, cold)


@external
@view
def accountOf(tokenId: uint256) -> Allowance:
    """
    @notice Everything about a position's allowance at this block's time.
    @return allowance credited, spent, withdrawn (USDC, since the mint), held (live), holdExpiresAt (zero once freed or
        lapsed; settling leaves it), dayCap, daySpent (of this UTC day), keyEpoch.
    """
    hot: account.Hot = empty(account.Hot)
    cold: account.Cold = empty(account.Cold)
    hot, cold = self._account_now(tokenId)
    return Allowance(
        credited=cold.credited,
        spent=hot.spent,
        withdrawn=cold.withdrawn,
        held=hot.held,
        holdExpiresAt=hot.holdExpiresAt,
        dayCap=account._day_cap(hot, cold),
        daySpent=account._day_spent(hot, cold),
        keyEpoch=hot.keyEpoch,
    )


# ------------------------------------------------------------------------------------------ internals


@internal
def _credit(tokenId: uint256, amount: uint256) -> uint256:
    """
    @notice Add USDC that is here to a position's allowance; refuse where it is not here.
    @return What was credited to the position since its mint, this included.
    """
    hot: account.Hot = self._load_hot(tokenId)
    cold: account.Cold = account._cold_today(hot, self._cold[tokenId])
    hot.day = account._today()
    assert amount <= account.MAX_AMOUNT - cold.credited, "position: amount too large"

    totals: Totals = self._load_totals()
    # Of 96 and 63 bits: no sum of them overflows.
    totals.liabilities = unsafe_add(totals.liabilities, amount)
    assert staticcall IERC20(usdc).balanceOf(self) >= totals.liabilities, "position: yield not received"
    self._save_totals(totals)
    # Bounded by the check above, and what a day opens with is never more than what was credited.
    cold.credited = unsafe_add(cold.credited, amount)
    cold.dayBase = unsafe_add(cold.dayBase, amount)
    self._hot[tokenId] = account._pack_hot(hot)
    self._cold[tokenId] = account._pack_cold(cold)
    return cold.credited


@internal
def _place_hold(request: Hold):
    hot: account.Hot = self._load_hot(request.tokenId)
    granted: uint256 = 0
    expires_at: uint256 = request.expiresAt
    if request.amount != 0:
        assert block.timestamp < request.expiresAt, "position: hold already expired"
        assert request.expiresAt <= block.timestamp + MAX_HOLD_SECONDS, "position: hold too long"
        if request.keyEpoch == hot.keyEpoch:
            cold: account.Cold = self._open_day(request.tokenId, hot)
            hot.day = account._today()
            granted = min(request.amount, max(hot.held, account._grantable(hot, cold)))
        else:
            granted = min(request.amount, hot.held)
            expires_at = min(expires_at, hot.holdExpiresAt)
    hot.held = granted
    hot.holdExpiresAt = expires_at if granted != 0 else 0
    self._hot[request.tokenId] = account._pack_hot(hot)
    log HoldPlaced(
        tokenId=request.tokenId,
        requested=request.amount,
        granted=granted,
        expiresAt=hot.holdExpiresAt,
        keyEpoch=request.keyEpoch,
    )


@internal
def _consume_hold(batchId: bytes32, item: SettleItem):
    hot: account.Hot = self._load_hot(item.tokenId)
    assert item.cost <= hot.held, "position: cost above hold"
    # The common case, a day that is open already, leaves the cold word alone.
    if hot.day != account._today():
        self._open_day(item.tokenId, hot)
        hot.day = account._today()
    # Checked above, and P2: what is held is not spent yet, so both stay in their 64 bits.
    hot.held = unsafe_sub(hot.held, item.cost)
    hot.spent = unsafe_add(hot.spent, item.cost)
    self._hot[item.tokenId] = account._pack_hot(hot)
    log Settled(tokenId=item.tokenId, batchId=batchId, cost=item.cost, spentAfter=hot.spent)


@internal
def _use_batch(batchId: bytes32):
    # A function of its own: the answer then lies in its memory, below what a loop's 200 items take.
    assert batch_ids._use(batchId), "position: batch already settled"


@internal
def _book_batch(batchId: bytes32, receiptsRoot: bytes32, total: uint256, itemCount: uint256):
    # `owed` is bounded by the holds it came from, so by USDC that is here.
    self._totals = unsafe_add(self._totals, total << 96)
    log BatchSettled(batchId=batchId, receiptsRoot=receiptsRoot, total=total, itemCount=itemCount)


@internal
def _open_day(tokenId: uint256, hot: account.Hot) -> account.Cold:
    """
    @notice Load the cold half, opening today in storage if this is the day's first touch.
    @dev The caller sets `hot.day` and stores the hot half.
    """
    cold: account.Cold = account._cold_today(hot, self._cold[tokenId])
    if hot.day != account._today():
        self._cold[tokenId] = account._pack_cold(cold)
    return cold


@internal
def _pay(to: address, amount: uint256):
    assert extcall IERC20(usdc).transfer(to, amount), "position: usdc refused"


@internal
@view
def _load_hot(tokenId: uint256) -> account.Hot:
    """
    @notice The hot half as it counts now. Reverts for a position that does not exist.
    """
    hot: account.Hot = account._live_hot(self._hot[tokenId])
    # Nothing but key epochs was stored before the first touch.
    if hot.dailySmoothingBps == 0:
        deed: uint256 = self._deeds[tokenId]
        assert deed != 0, "position: unknown token"
        hot.modelTier = (deed >> 160) & (2**8 - 1)
        hot.dailySmoothingBps = deed >> 168
    return hot


@internal
@view
def _account_now(tokenId: uint256) -> (account.Hot, account.Cold):
    """
    @notice Both halves as they count now, with today opened, for views.
    """
    hot: account.Hot = self._load_hot(tokenId)
    return hot, account._cold_today(hot, self._cold[tokenId])


@internal
@view
def _load_totals() -> Totals:
    word: uint256 = self._totals
    return Totals(
        liabilities=word & (2**96 - 1),
        owed=(word >> 96) & (2**96 - 1),
        supply=word >> 192,
    )


@internal
def _save_totals(totals: Totals):
    # No field can overflow: liabilities are covered by a balance of USDC, and a mint costs gas.
    self._totals = totals.liabilities | (totals.owed << 96) | (totals.supply << 192)


@internal
@view
def _owner_of(tokenId: uint256) -> address:
    deed: uint256 = self._deeds[tokenId]
    assert deed != 0, "position: unknown token"
    return convert(deed & (2**160 - 1), address)


@internal
@view
def _check_position_owner(tokenId: uint256):
    assert msg.sender == self._owner_of(tokenId), "position: not owner"


@internal
@view
def _check_adapter():
    assert msg.sender == adapter, "position: not adapter"


@internal
@view
def _check_settler():
    assert self.isSettler[msg.sender], "position: not settler"
