# pragma version 0.4.3
"""
@title The account behind a position: two storage words and the arithmetic of a day
@notice Pure functions only; `YieldFundedPosition` owns the storage and the rules of who may call.
@dev
    LAYOUT. Vyper packs nothing by itself, so the two words are packed here, lowest bits first:
      hot   spent u64 | held u64 | holdExpiresAt u40 | day u24 | keyEpoch u32 | modelTier u8 | dailySmoothingBps u16
      cold  credited u64 | withdrawn u64 | dayBase u64 | spentAtDayStart u64
    A settlement within a day that is already open changes the hot word only. The last two fields are kept
    beside the owner from the mint on, and come here with the first touch of the account: a position always
    has `dailySmoothingBps >= 1`, so 0 means that there was none.

    DAY. `day` is the UTC day (unix time // 86_400) the two day fields belong to. `dayBase` is that
    day's opening plus what was credited during it. The opening is the unspent credit at the day's
    first touch; only touches change it, so it equals the unspent credit at midnight.

    WIDTHS. Amounts are USDC (1e-6) in 64 bits, of which the highest stays 0, so that every database's
    signed integer holds them too: 9 trillion dollars. `keyEpoch` counts transactions
    of one owner, so 32 bits cannot be exhausted; `day` lasts for 45_000 years.
"""

struct Hot:
    spent: uint256
    held: uint256
    holdExpiresAt: uint256
    day: uint256
    keyEpoch: uint256
    modelTier: uint256
    dailySmoothingBps: uint256


struct Cold:
    credited: uint256
    withdrawn: uint256
    dayBase: uint256
    spentAtDayStart: uint256


MAX_AMOUNT: constant(uint256) = 2**63 - 1
AMOUNT_MASK: constant(uint256) = 2**64 - 1
MAX_BPS: constant(uint256) = 10_000
SECONDS_A_DAY: constant(uint256) = 86_400
ONE_EPOCH: constant(uint256) = 2**192  # to be added to a hot word


@internal
@view
def _live_hot(word: uint256) -> Hot:
    """
    @notice The hot half as it counts now: a hold is nothing from its expiry on.
    """
    hot: Hot = Hot(
        spent=word & AMOUNT_MASK,
        held=(word >> 64) & AMOUNT_MASK,
        holdExpiresAt=(word >> 128) & (2**40 - 1),
        day=(word >> 168) & (2**24 - 1),
        keyEpoch=(word >> 192) & (2**32 - 1),
        modelTier=(word >> 224) & (2**8 - 1),
        dailySmoothingBps=word >> 232,
    )
    if hot.holdExpiresAt <= block.timestamp:
        hot.held = 0
        hot.holdExpiresAt = 0
    return hot


@internal
@pure
def _pack_hot(hot: Hot) -> uint256:
    return (
        hot.spent
        | (hot.held << 64)
        | (hot.holdExpiresAt << 128)
        | (hot.day << 168)
        | (hot.keyEpoch << 192)
        | (hot.modelTier << 224)
        | (hot.dailySmoothingBps << 232)
    )


@internal
@pure
def _unpack_cold(word: uint256) -> Cold:
    return Cold(
        credited=word & AMOUNT_MASK,
        withdrawn=(word >> 64) & AMOUNT_MASK,
        dayBase=(word >> 128) & AMOUNT_MASK,
        spentAtDayStart=word >> 192,
    )


@internal
@pure
def _pack_cold(cold: Cold) -> uint256:
    return cold.credited | (cold.withdrawn << 64) | (cold.dayBase << 128) | (cold.spentAtDayStart << 192)


@internal
@view
def _today() -> uint256:
    return block.timestamp // SECONDS_A_DAY


@internal
@pure
def _unspent(hot: Hot, cold: Cold) -> uint256:
    """
    @notice Credit that was neither spent nor withdrawn, held or not.
    """
    return cold.credited - hot.spent - cold.withdrawn


@internal
@view
def _cold_today(hot: Hot, word: uint256) -> Cold:
    """
    @notice The cold half with today opened, whether or not it was before.
    @dev A caller that stores the account sets `hot.day` to today as well.
    """
    cold: Cold = self._unpack_cold(word)
    if hot.day != self._today():
        cold.dayBase = self._unspent(hot, cold)
        cold.spentAtDayStart = hot.spent
    return cold


@internal
@pure
def _day_spent(hot: Hot, cold: Cold) -> uint256:
    """
    @dev The day must be open.
    """
    return hot.spent - cold.spentAtDayStart


@internal
@pure
def _formula_cap(dayBase: uint256, dailySmoothingBps: uint256) -> uint256:
    """
    @notice The most that new holds may let this day spend, rounded down.
    @dev `dayBase <= credited < 2**63`, so nothing overflows.
    """
    return dayBase * dailySmoothingBps // MAX_BPS


@internal
@pure
def _grantable(hot: Hot, cold: Cold) -> uint256:
    """
    @notice The largest hold that can be opened now, any present hold being replaced. A live hold may be larger,
        after a midnight, and may then be placed again: see `YieldFundedPosition.hold`.
    @dev The day must be open.
    """
    cap: uint256 = self._formula_cap(cold.dayBase, hot.dailySmoothingBps)
    day_spent: uint256 = hot.spent - cold.spentAtDayStart
    if cap <= day_spent:
        return 0
    return min(cold.credited - hot.spent - cold.withdrawn, cap - day_spent)


@internal
@pure
def _day_cap(hot: Hot, cold: Cold) -> uint256:
    """
    @notice Today's cap as shown: the formula, or what is spent and promised already where that is more.
    @dev The day must be open, a hold past its expiry lapsed. A hold granted yesterday is a promise that
        midnight does not cut, although today's formula may be lower.
    """
    return max(self._formula_cap(cold.dayBase, hot.dailySmoothingBps), self._day_spent(hot, cold) + hot.held)


@internal
@pure
def _remaining(hot: Hot, cold: Cold) -> uint256:
    """
    @notice What may still be spent today, the live hold included.
    @dev The day must be open, a hold past its expiry lapsed. The difference cannot be negative, by the
        definition of the cap.
    """
    return min(self._unspent(hot, cold), self._day_cap(hot, cold) - self._day_spent(hot, cold))


@internal
@pure
def _withdrawable(hot: Hot, cold: Cold) -> uint256:
    """
    @notice What the owner can take out now: unspent credit beyond the live hold.
    @dev A hold past its expiry must be lapsed. The difference cannot be negative: P2.
    """
    return self._unspent(hot, cold) - hot.held
