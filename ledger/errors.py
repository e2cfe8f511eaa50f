"""The ledger's failures, by what to do about them.

::

    CurrentError
    ├── Retryable
    │   └── LedgerUnavailable      the database is locked, full, or gone
    │       └── LedgerContended    taken back for the sake of another transaction; try at once
    ├── Rejected
    │   ├── ReserveRefused         a reservation does not fit; carries the facts that say why
    │   ├── RequestIdConflict      one request id with two different contents
    │   ├── UsageResolved          the usage already left the state that the call expects
    │   ├── UnknownUsage           no usage row has this request id
    │   ├── TooMany                the owner has as many keys or offers as are allowed
    │   ├── OfferRepeated          a live offer of the supplier has the same models at the same bid
    │   ├── ChangedMeanwhile       the row is another than the one that a change was checked against
    │   ├── IdempotencyConflict    one idempotency key with two different contents
    │   └── RequestRepeated        the idempotency key names a request that runs or was charged
    └── Fatal
        ├── WrongDeployment        the database mirrors other contracts than the ones given
        ├── RestoreUnfinished      a restore into this ledger was cut off, or still runs
        ├── SchemaUnknown          the database has a schema that this version does not know
        ├── SessionsShared         a pooler hands the database's sessions to others
        ├── LedgerUrlInvalid       the ledger does not run on what the URL names
        └── LedgerUnreadable       the file is not an SQLite database
"""

from dataclasses import dataclass
from enum import StrEnum

from contracts.errors import Fatal, Rejected, Retryable


class LedgerUnavailable(Retryable):
    """The database refused or lost the transaction; nothing of it is written."""


class LedgerContended(LedgerUnavailable):
    """The database took the transaction back so that another could go on (a deadlock)."""


class WrongDeployment(Fatal):
    """The database mirrors another chain or other contracts than the ones configured."""


class RestoreUnfinished(Fatal):
    """A restore into this ledger was cut off, or still runs: nothing may work with it yet."""


class SchemaUnknown(Fatal):
    """The database's schema revision is not one of this version's."""


class SessionsShared(Fatal):
    """A pooler between us and the database hands its sessions to others between transactions."""


class LedgerUrlInvalid(Fatal):
    """The ledger does not run on what the configured URL names, or the URL is malformed."""


class LedgerUnreadable(Fatal):
    """The file at the ledger's URL is not an SQLite database."""


class RequestIdConflict(Rejected):
    """The request id is taken by a request with another content."""


class UnknownUsage(Rejected):
    """No usage row has this request id."""


class UsageResolved(Rejected):
    """The usage row has already left the state that the call expects.

    ``state`` is where it stands now.
    """

    def __init__(self, request_id: str, state: str) -> None:
        super().__init__(f"usage {request_id} is already {state}")
        self.request_id = request_id
        self.state = state


class RefusalReason(StrEnum):
    """Why a reservation does not fit, in the order in which the causes are examined."""

    POSITION_NOT_FOUND = "position_not_found"
    KEY_REVOKED = "key_revoked"
    KEY_EXPIRED = "key_expired"
    KEY_ROTATED = "key_rotated"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    NEVER_HARVESTED = "never_harvested"
    DAILY_CAP_REACHED = "daily_cap_reached"
    ALLOWANCE_SPENT = "allowance_spent"
    HOLD_PENDING = "hold_pending"
    KEY_LIMIT_REACHED = "key_limit_reached"
    CHAIN_STATE_STALE = "chain_state_stale"


@dataclass(frozen=True, slots=True)
class HarvestTimes:
    """What a position's row says of its harvests. Times in Unix seconds, by the chain's clock."""

    has_shares: bool
    last_harvest_at_s: int
    look_at_s: int
    """When the keeper next looks at it: once its interval has passed, or later where it has looked
    since then and found the harvest too poor."""


@dataclass(frozen=True, slots=True)
class AllowanceFacts:
    """What a refusal tells the caller, in 1e-6 USDC and Unix seconds."""

    required_usdc: int
    available_usdc: int
    """What could be reserved today if the whole remaining allowance were held."""
    held_usdc: int
    """The live hold, confirmed part only."""
    drawn_usdc: int
    """Reserved, posted and settling usage that the hold must still pay."""
    resets_at_s: int
    """When the next UTC day begins, by the chain's clock."""
    as_of_s: int
    """The chain's clock at this moment, or this host's where that is ahead."""
    harvest: HarvestTimes


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """The limit of a child key that a reservation would pass."""

    limit: str
    """``request``, ``day``, ``month``, ``lifetime``: in 1e-6 USDC; ``requests_per_minute``,
    ``concurrency``: requests."""
    value: int
    used: int
    """Before this reservation."""
    resets_at_s: int | None
    """When ``used`` starts from zero again, Unix seconds; None where time does not change it."""


class ReserveRefused(Rejected):
    """A reservation does not fit. ``facts`` is None only where no position exists.

    ``limit`` is there where a child key's limit is the reason.
    """

    def __init__(
        self,
        reason: RefusalReason,
        facts: AllowanceFacts | None = None,
        limit: LimitFacts | None = None,
    ) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.facts = facts
        self.limit = limit


class KeyNotLive(Rejected):
    """The market key that asks for a change was revoked, or has expired."""


class OfferRepeated(Rejected):
    """A live offer of the supplier has the same provider type, models and bid: its id."""


class TooMany(Rejected):
    """The owner has as many keys or offers as are allowed."""


class ChangedMeanwhile(Rejected):
    """The row has another version than the one that the change was checked against."""


class IdempotencyConflict(Rejected):
    """The idempotency key was used for a request with another body."""


class RequestRepeated(Rejected):
    """The idempotency key was used for a request that runs, or that was charged."""
