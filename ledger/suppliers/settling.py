"""What a supplier is owed for a day, and whether that is paid or carried over. Pure.

::

    gross = for each day and offer: floor(sum of tokens * bid of the sales' reservation / 1e6)
    fee   = gross * fee_bps / 10,000, rounded up
    owed  = gross - fee + what was carried before = net + carried over, always one of the two

Amounts are in 1e-6 USD (USDC or USDT), bids in 1e-6 USD for 1e6 tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from contracts.units import BPS_ONE, TOKENS_PER_MTOK, mul_div_up


class Carry(StrEnum):
    """Why what is owed is not paid now."""

    NO_ADDRESS = "no_address"
    ADDRESS_COOLING = "address_cooling"
    BELOW_MINIMUM = "below_minimum"
    SUSPENDED = "supplier_not_approved"
    NOTHING_OWED = "nothing_owed"


@dataclass(frozen=True, slots=True)
class DaySum:
    """What one offer sold in one day at one bid."""

    offer_id: str
    day: int
    bid_usdc_per_mtok: int
    requests: int
    input_tokens: int
    output_tokens: int
    paid_tokens: int
    """Tokens that are paid for: never more than were reserved."""


@dataclass(frozen=True, slots=True)
class Payee:
    """Where a supplier is paid, as it counts now."""

    network: str
    rail: str
    asset: str
    minimum_usdc: int
    address: str | None
    is_cooling: bool = False
    """Whether an address is there that counts later."""
    is_approved: bool = True


@dataclass(frozen=True, slots=True)
class SettledDay:
    """A supplier's day. ``gross - fee + carried_in = net + carried_out``."""

    gross_usdc: int
    fee_bps: int
    fee_usdc: int
    carried_in_usdc: int
    net_usdc: int
    carried_out_usdc: int
    carry: Carry | None
    requests: int
    input_tokens: int
    output_tokens: int
    first_day: int
    """The first day that it holds sales of."""


def get_gross_usdc(sums: Iterable[DaySum]) -> int:
    """Return what sales come to, rounded down once for each day and offer."""
    worth: dict[tuple[str, int], int] = {}
    for one in sums:
        key = (one.offer_id, one.day)
        worth[key] = worth.get(key, 0) + one.paid_tokens * one.bid_usdc_per_mtok
    return sum(value // TOKENS_PER_MTOK for value in worth.values())


def settle(
    sums: Iterable[DaySum], *, day: int, fee_bps: int, carried_in_usdc: int, payee: Payee
) -> SettledDay:
    """Return what becomes of a supplier's day."""
    assert 0 <= fee_bps <= BPS_ONE
    assert carried_in_usdc >= 0
    rows = list(sums)
    gross_usdc = get_gross_usdc(rows)
    fee_usdc = mul_div_up(gross_usdc, fee_bps, BPS_ONE)
    owed_usdc = gross_usdc - fee_usdc + carried_in_usdc
    carry = _find_carry(owed_usdc, payee)
    return SettledDay(
        gross_usdc=gross_usdc,
        fee_bps=fee_bps,
        fee_usdc=fee_usdc,
        carried_in_usdc=carried_in_usdc,
        net_usdc=0 if carry else owed_usdc,
        carried_out_usdc=owed_usdc if carry else 0,
        carry=carry,
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        first_day=min((row.day for row in rows), default=day),
    )


def _find_carry(owed_usdc: int, payee: Payee) -> Carry | None:
    if owed_usdc == 0:
        return Carry.NOTHING_OWED
    if not payee.is_approved:
        return Carry.SUSPENDED
    if payee.address is None:
        return Carry.ADDRESS_COOLING if payee.is_cooling else Carry.NO_ADDRESS
    if owed_usdc < payee.minimum_usdc:
        return Carry.BELOW_MINIMUM
    return None
