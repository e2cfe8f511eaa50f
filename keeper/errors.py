"""The keeper's own failures, by what to do about them.

::

    CurrentError
    ├── Retryable
    │   ├── OutcomeUnknown       a transaction was sent and is in no block yet
    │   ├── GasPriceOverBound    the base fee is above what the settings allow
    │   └── MirrorStale          the mirror is too old, or not of the chain that our node knows
    ├── Rejected
    │   └── ActionFailed         an action reverted, or its nonce was used by somebody else
    └── Fatal
        ├── KeyMissing           nothing to sign with
        └── LockHeld             another keeper works on this ledger
"""

from contracts.errors import Fatal, Rejected, Retryable


class OutcomeUnknown(Retryable):
    """A sent transaction is in no block yet. Its intent stays ``sent``, nothing else is sent."""


class GasPriceOverBound(Retryable):
    """The base fee is above ``KEEPER_FEE_WEI_MAX``; nothing is signed."""


class MirrorStale(Retryable):
    """The mirror cannot be acted on: too old, empty, or of a block that our node does not know."""


class ActionFailed(Rejected):
    """An intent ended without its effect. ``reason`` is the contract's own where there is one."""

    def __init__(self, intent_id: str, reason: str) -> None:
        super().__init__(f"{intent_id}: {reason}")
        self.intent_id = intent_id
        self.reason = reason


class KeyMissing(Fatal):
    """There is no private key to sign with."""


class LockHeld(Fatal):
    """Another keeper holds this ledger's lock; it does the work."""
