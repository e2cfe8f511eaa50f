"""What can go wrong, sorted by what to do about it.

::

    CurrentError
    ├── Retryable        the same call may succeed later (RPC timeout, database locked)
    ├── Rejected         this action is wrong now (a quote went stale, balance too low)
    │   └── Reverted     a contract refused, and said why
    └── Fatal            no later call can succeed until a person acts (wrong chain id)

Third-party exceptions are translated into this tree once, at the edge, with ``from exc``. Each room
derives its own classes from one of the three branches; a loop decides by branch, never by message.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class CurrentError(Exception):
    """The root: everything this project raises on purpose."""


class Retryable(CurrentError):
    """The world was not ready; the same call may succeed later, unchanged."""


class Rejected(CurrentError):
    """The action is wrong as things stand; repeating it unchanged is pointless."""


class Fatal(CurrentError):
    """Nothing can be right until a person changes something; stop."""


class Reverted(Rejected):
    """A contract refused a call.

    ``reason`` is the contract's own text, for example ``position: not settler``; ``meaning`` is
    ours: what it means and what to do, or a plain sentence for a reason that is not one of ours (a
    vault's, say). ``module`` is the part before the colon, empty when there is none.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.meaning = REASONS.get(reason, UNKNOWN_REASON)
        module, colon, _ = reason.partition(": ")
        self.module = module if colon else ""
        super().__init__(f"{reason or 'reverted without a reason'}: {self.meaning}")

    def __reduce__(self) -> tuple[type[Reverted], tuple[str]]:
        """Rebuild from the reason alone, so that the exception survives pickling."""
        return type(self), (self.reason,)


UNKNOWN_REASON: Final = "not one of our contracts' reasons; look at the contract that was called"

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A position's allowance.
        "position: amount too large": "the credited total would pass 64 bits; check the amount",
        "position: batch already settled": "nothing to do: this batch id was settled before",
        "position: cost above hold": "the live hold is smaller or has lapsed; place it again first",
        "position: gift below a cent": "a gift is at least 0.01 USDC; give more",
        "position: gift not received": "USDC did not bring the gift; look at its state",
        "position: held, request release": "all of it is held; call requestRelease, and try later",
        "position: hold already expired": "the expiry is not in the future; check the clock",
        "position: hold too long": "the expiry is more than 25 hours ahead; shorten it",
        "position: mint to zero address": "a position needs an owner; pass a wallet",
        "position: not adapter": "only the adapter may do this; go through it",
        "position: not owner": "only the position's owner may do this; use the owner's wallet",
        "position: not settler": "this key is no settler; the admin can allow it with setSettler",
        "position: nothing to withdraw": "there is no unspent credit; the next harvest brings some",
        "position: smoothing out of range": "daily smoothing is 1 to 10_000 (10_000 = none)",
        "position: soulbound": "a position cannot be transferred or approved, by design",
        "position: unknown token": "no position has this token id; check it",
        "position: usdc refused": "USDC did not confirm the transfer; look at its state",
        "position: yield not received": "yield has to be paid in before it is credited",
        "position: zero address": "a constructor argument is missing; pass all addresses",
        "position: zero owner": "the zero address owns no positions; ask for a wallet",
        # Principal and yield.
        "adapter: amount too large": "the principal would pass 64 bits; deposit less",
        "adapter: approval not reset": "USDC did not confirm an approval of 0; look at its state",
        "adapter: approval refused": "USDC did not confirm the approval; look at its state",
        "adapter: burned above request": "the vault burned more shares than asked; do not trust it",
        "adapter: burned too many shares": "the vault took shares of others; leave with exitInKind",
        "adapter: interval out of range": "the harvest interval is 30 to 360 minutes",
        "adapter: no principal": "the principal is 0, or 0 was asked for",
        "adapter: no shares minted": "the vault gave no shares for the deposit; use another vault",
        "adapter: no shares to hand over": "the position has no vault shares",
        "adapter: not a usdc vault": "the address is no ERC-4626 vault of USDC; check it",
        "adapter: not owner": "only the position's owner may do this; use the owner's wallet",
        "adapter: nothing to deposit": "the amount is 0; deposit more",
        "adapter: owner not allowed": "USDC, adapter and position own no positions; name a wallet",
        "adapter: permit refused": "the permit is invalid and no allowance is there; sign again",
        "adapter: position not wired": "the position contract names another adapter; deploy again",
        "adapter: principal not covered": "a harvest would cut into the principal; try later",
        "adapter: redeemed below preview": "the vault paid over 0.5% less than it said; try later",
        "adapter: refused, name less": "the vault cannot pay that now; name less, or exitInKind",
        "adapter: shares not transferable": "the vault refuses to transfer its shares; try later",
        "adapter: shares worth too little": "worth under 99.5% of the payment; look at the vault",
        "adapter: too few shares": "fewer shares than minSharesOut; quote again",
        "adapter: too little paid": "less USDC than minAssetsOut; try later or lower it",
        "adapter: too many shares": "the share count would pass 192 bits; use another vault",
        "adapter: unknown position": "no position has this token id; check it",
        "adapter: usdc differs": "the position contract is for another USDC; deploy again",
        "adapter: usdc not paid": "USDC did not confirm a payment; look at its state",
        "adapter: usdc refused": "USDC did not confirm the deposit; check approval and balance",
        "adapter: vault does not answer": "a view of the vault fails; try later, or exitInKind",
        "adapter: vault not allowed": "USDC and our own contracts are no vaults; use another",
        "adapter: vault paid nothing": "the vault answered but paid nothing; leave with exitInKind",
        # Payouts to sellers.
        "payouts: above available": "part of the balance belongs to payees; withdraw less",
        "payouts: batch already paid": "nothing to do: this batch id was paid before",
        "payouts: insufficient funds": "the batch is not covered; sweep what was settled first",
        "payouts: lengths differ": "every payee needs one amount; check the batch",
        "payouts: not payer": "this key is no payer; the admin can allow it with setPayer",
        "payouts: nothing to claim": "nothing is credited to this address",
        "payouts: payee not allowed": "our own contracts, USDC and the zero address cannot be paid",
        "payouts: usdc paused": "USDC is paused by its issuer; the batch can be paid afterwards",
        "payouts: usdc refused": "USDC did not confirm the transfer; look at its state",
        "payouts: zero address": "a constructor argument is missing; pass all addresses",
        # Ownership, in both contracts that have an admin.
        "owner: not owner": "only the admin may do this; use the admin's key",
        "owner: not pending owner": "the ownership was not offered to this address",
        "owner: zero address": "a contract needs an admin; pass an address",
    }
)
"""What each reason of our contracts means, and what to do. Mocks are not among them."""
