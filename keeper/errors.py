"""The keeper's own failures, by what to do about them.

::

    CurrentError
    ├── Retryable
    │   ├── OutcomeUnknown       a transaction was sent and is in no block yet
    │   ├── GasPriceOverBound    the base fee is above what the settings allow
    │   ├── MirrorStale          the mirror is too old, or not of the chain that our node knows
    │   ├── EtherShort           our own key cannot pay for what is tried
    │   ├── EndpointsDisagree    too few endpoints say the same to act on it
    │   ├── LeadershipLost       another keeper may be at work by now
    │   └── SigningFailed        the vault of keys did not sign
    ├── Rejected
    │   └── ActionFailed         an action reverted, or another sender used its nonce
    └── Fatal
        ├── KeyMissing           nothing to sign with
        ├── KeyUnreadable        a key is configured that cannot be used
        └── LockHeld             another keeper works on this ledger
"""

from contracts.errors import Fatal, Rejected, Retryable


class OutcomeUnknown(Retryable):
    """A sent transaction is in no block yet. Its intent stays ``sent``, nothing else is sent."""


class GasPriceOverBound(Retryable):
    """The base fee is above ``KEEPER_FEE_WEI_MAX``; nothing is signed."""


class MirrorStale(Retryable):
    """The mirror cannot be acted on: too old, empty, or of a block that our node does not know."""


class EtherShort(Retryable):
    """The sender's ether does not cover the call at its price. Nobody else is to blame."""


class EndpointsDisagree(Retryable):
    """Too few endpoints say the same to do what cannot be undone; nothing is done."""


class LeadershipLost(Retryable):
    """The session that holds the keeper's lock is gone; nothing is sent until it is won again."""


class SigningFailed(Retryable):
    """The vault of keys did not answer, or with no signature of ours; nothing is signed."""


class ActionFailed(Rejected):
    """An intent ended without its effect. ``reason`` is the contract's own where there is one."""

    def __init__(self, intent_id: str, reason: str) -> None:
        super().__init__(f"{intent_id}: {reason}")
        self.intent_id = intent_id
        self.reason = reason


class KeyMissing(Fatal):
    """There is no private key to sign with."""


class KeyUnreadable(Fatal):
    """A configured key cannot be used. The message shows nothing of the key."""


class LockHeld(Fatal):
    """Another keeper holds this ledger's lock; it does the work."""
