"""What each kind of transaction costs and brings, and which ones are worth sending. Pure.

One place for every duty. A transaction costs its gas and, on a rollup, the L1 data fee of its bytes
(``keeper.gas``). An item brings what it moves or secures, in 1e-6 USDC:

=======  ===========================================================================================
settle   the posted usage that it charges
hold     the credit that it secures beyond the live hold, which a settlement has to charge later
x402     the payment
harvest  the yield, of which the rules ask for several times the cost
sweep    what reaches the treasury
payout   what the seller is paid
=======  ===========================================================================================

An item is not sent where its own share costs more than it brings, and a transaction is not sent
where all its items together bring less than it costs: they wait for others to share it. Items that
a rule **binds** wait for no others:

=======  ===========================================================================================
settle   ``expiry``: a hold that lapses would leave served usage unpaid; ``release``: the owner asks
hold     ``cover``: usage that was served has no live hold; ``release``: the owner asks
harvest  ``age``: overdue by ``KEEPER_HARVEST_MAX_AGE_S``, and brings its cost if not the margin
payout   ``overdue``: payable for longer than ``KEEPER_PAYOUT_OVERDUE_S``
=======  ===========================================================================================

Dust is not sent even so: whoever can make dust, of usage, of payouts to many addresses, of yield,
could make the operator pay for it. Only a release is owed whatever it costs, to an owner who has
paid for a transaction to ask for it; ``keeper.budgets`` bounds how often.

The root of a day's evidence (``evidence``) brings no money and is not weighed: there is one a day,
within the kind's budget.

What recovery sends (the same bytes again, a higher fee, a cancellation, a filled nonce) is not
weighed: it ends what was decided earlier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from keeper.gas import GasPrice

ENVELOPE_BYTES: Final = 110
"""What a transaction has beside calldata and signature: chain, nonce, fees, gas, address."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a transaction of a kind uses, as a rule: in any case, and for each of its items.

    Bytes are of the transaction without its signature.
    """

    gas: int
    item_gas: int
    bytes_: int
    item_bytes: int


SIZES: Final[Mapping[str, Size]] = {
    "settle": Size(gas=32_000, item_gas=16_000, bytes_=250, item_bytes=64),
    "hold": Size(gas=25_000, item_gas=16_000, bytes_=180, item_bytes=128),
    "x402": Size(gas=35_000, item_gas=65_000, bytes_=180, item_bytes=544),
    # As if each were alone: a position is not harvested early because others happen to be due.
    "harvest": Size(gas=0, item_gas=150_000, bytes_=180, item_bytes=224),
    "sweep": Size(gas=60_000, item_gas=0, bytes_=114, item_bytes=0),
    "evidence": Size(gas=42_000, item_gas=0, bytes_=250, item_bytes=0),
    "payout": Size(gas=40_000, item_gas=40_000, bytes_=280, item_bytes=64),
}
"""Estimates. ``tests/integration/keeper/test_worth.py`` holds them against the chain: over the
project's own token and vaults 0.6 to 1.34 of what is counted is used."""

BINDING: Final[Mapping[str, frozenset[str]]] = {
    "settle": frozenset({"expiry", "release"}),
    "hold": frozenset({"cover", "release"}),
    "x402": frozenset(),
    "harvest": frozenset({"age"}),
    "sweep": frozenset(),
    "evidence": frozenset(),
    "payout": frozenset({"overdue"}),
}
"""The reasons for which a kind's items wait for no others to share their transaction."""

RELEASE: Final = "release"
"""The one reason for which an item goes though it brings less than its share."""

APART: Final = "apart"
"""The reason of an item that goes in a transaction of its own because its payer may fail it."""

PAYING: Final = frozenset({"x402", "harvest", "sweep", "payout"})
"""The kinds whose transactions no day's budget bounds where they bring at least their gas. A hold
brings no money; a settlement can wait until its hold is about to lapse, when no budget counts."""

SHARE: Final = "share"
"""An item brings less than its own share of any transaction costs."""
TOGETHER: Final = "together"
"""Items bring less together than their transaction costs: they wait for others."""
BUDGET: Final = "budget"
"""A day's budget for gas is used up: ``keeper.budgets``."""
REASONS: Final = (SHARE, TOGETHER, BUDGET)


class Weighed(Protocol):
    """An item as far as it is weighed."""

    @property
    def reason(self) -> str:
        """Why it is done now, in one word."""

    @property
    def subject(self) -> int | str:
        """The token, payout or payment that it is about; empty for nothing in particular."""

    @property
    def brings_usdc(self) -> int:
        """What it brings (1e-6 USDC); see the module."""


FLOOR_COSTS: Final = 2
"""A new floor is so many times what a payment's own transaction costs: prices move."""
FLOOR_COSTS_MAX: Final = 4
"""From so many times on a floor is lowered."""
FLOOR_APART: Final = (5, 4)
"""A new floor is so many times, as a fraction, what a payment that goes apart has to bring."""

ItemT = TypeVar("ItemT", bound=Weighed)


@dataclass(frozen=True, slots=True)
class Unworthy:
    """An item that is left alone because its transaction would cost more than it brings.

    ``costs_usdc`` is its share of the cost, or where it waits for others the cost of all together.
    """

    kind: str
    subject: int | str
    reason: str
    """Of ``REASONS``."""
    brings_usdc: int
    costs_usdc: int


@dataclass(frozen=True, slots=True)
class Decision(Generic[ItemT]):
    """What a duty sends now, a tuple of items for each transaction, and what it leaves alone."""

    transactions: list[tuple[ItemT, ...]] = field(default_factory=list)
    unworthy: tuple[Unworthy, ...] = ()


def get_cost_usdc(kind: str, count: int, price: GasPrice) -> int:
    """Return what a transaction of ``count`` items costs (1e-6 USDC), rounded up."""
    size = SIZES[kind]
    return price.get_cost_usdc(
        size.gas + size.item_gas * count, size_bytes=size.bytes_ + size.item_bytes * count
    )


def get_share_usdc(kind: str, price: GasPrice) -> int:
    """Return what one more item adds to a transaction's cost (1e-6 USDC), rounded up.

    A hold's share includes its share of the settlement that has to follow it.
    """
    kinds = ("hold", "settle") if kind == "hold" else (kind,)
    wei = sum(
        SIZES[one].item_gas * price.gas_wei + SIZES[one].item_bytes * price.l1_fee.byte_wei
        for one in kinds
    )
    return price.convert_usdc(wei)


def decide_floor_usdc(price: GasPrice, kept_usdc: int, *, apart_usdc: int = 0) -> int:
    """Return the least that a payment by x402 has to move (1e-6 USDC), 0 where gas is free.

    Who moves that much pays for a transaction of his own, so it need not wait for others, and for
    one apart, ``apart_usdc``, where it has to go so. What was said before, ``kept_usdc``, stands
    while it is 1 to 4 times the cost: whoever is asked for it and signs must not be told of another
    figure with each block.
    """
    own_usdc = get_cost_usdc("x402", 1, price)
    cost_usdc = max(own_usdc, apart_usdc)
    if cost_usdc <= kept_usdc <= FLOOR_COSTS_MAX * cost_usdc:
        return kept_usdc
    parts, whole = FLOOR_APART
    return max(FLOOR_COSTS * own_usdc, -(-apart_usdc * parts // whole))


def split_worthy(
    kind: str, items: Sequence[ItemT], price: GasPrice
) -> tuple[list[ItemT], list[Unworthy]]:
    """Return the items that are worth their share or answer a release, and the others."""
    share_usdc = get_share_usdc(kind, price)
    worthy: list[ItemT] = []
    unworthy: list[Unworthy] = []
    for item in items:
        if item.reason == RELEASE or item.brings_usdc >= share_usdc:
            worthy.append(item)
        else:
            unworthy.append(Unworthy(kind, item.subject, SHARE, item.brings_usdc, share_usdc))
    return worthy, unworthy


def pays(kind: str, items: Sequence[Weighed], price: GasPrice) -> bool:
    """Tell whether a transaction is sent: a rule binds one of its items, or they pay for it."""
    if any(item.reason in BINDING[kind] for item in items):
        return True
    return sum(item.brings_usdc for item in items) >= get_cost_usdc(kind, len(items), price)


def decide_worthy(
    kind: str, items: Sequence[ItemT], price: GasPrice, *, count_max: int
) -> Decision[ItemT]:
    """Return the one transaction to send of ``items``, and what is left alone.

    The first ``count_max`` items go, in their order. Where these do not pay for their transaction,
    those that a rule binds and then the ones that bring most are tried instead, so that many small
    ones ahead hold up nobody.
    """
    worthy, unworthy = split_worthy(kind, items, price)
    if not worthy:
        return Decision([], tuple(unworthy))
    first = worthy[:count_max]
    bound = BINDING[kind]
    largest = sorted(worthy, key=lambda i: (i.reason not in bound, -i.brings_usdc))[:count_max]
    for chosen in (first, largest):
        if pays(kind, chosen, price):
            return Decision([tuple(chosen)], tuple(unworthy))
    cost_usdc = get_cost_usdc(kind, len(largest), price)
    waiting = (Unworthy(kind, i.subject, TOGETHER, i.brings_usdc, cost_usdc) for i in worthy)
    return Decision([], (*unworthy, *waiting))
