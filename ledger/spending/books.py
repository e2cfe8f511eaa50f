"""The books that the meter decides on: what a set of calls read, and what it is going to write.

In memory only; ``book_storage`` reads them and writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.spending.children import Child
from ledger.tables import Position, table_of
from ledger.tables.usage import CHARGE_COLUMNS, PRICE_COLUMNS, RESERVATION_COLUMNS

POSITION_COLUMNS: Final = tuple(column.name for column in table_of(Position).columns)
_POSITION_INDEX: Final = {name: index for index, name in enumerate(POSITION_COLUMNS)}
TOKEN: Final = _POSITION_INDEX["token_id"]
_EPOCH: Final = _POSITION_INDEX["key_epoch"]
_RELEASE: Final = _POSITION_INDEX["release_requested_at_s"]
_HOLD: Final = _POSITION_INDEX["hold_usdc"]
_UNCONFIRMED: Final = _POSITION_INDEX["hold_unconfirmed_usdc"]
_PLACING: Final = _POSITION_INDEX["hold_placing_usdc"]
_EXPIRY: Final = _POSITION_INDEX["hold_confirmed_expires_at_s"]
_DRAWN: Final = _POSITION_INDEX["drawn_usdc"]

_REQUEST: Final = RESERVATION_COLUMNS.index("request_id")
_TOKEN_OF_USAGE: Final = RESERVATION_COLUMNS.index("token_id")
_KEY: Final = RESERVATION_COLUMNS.index("key_id")
_CEILING: Final = RESERVATION_COLUMNS.index("ceiling_usdc")
_PRICES: Final = tuple(map(RESERVATION_COLUMNS.index, PRICE_COLUMNS))
_UNCHARGED: Final = (None,) * len(CHARGE_COLUMNS)

Row = Sequence[Any]


class Account:
    """A position as the meter sees it, locked. Amounts in 1e-6 USDC."""

    __slots__ = (
        "_room_usdc",
        "_row",
        "change_usdc",
        "hold_expires_at_s",
        "is_release_requested",
        "key_epoch",
    )

    def __init__(self, row: Row) -> None:
        self._row = row
        counted_usdc: int = row[_HOLD] - row[_UNCONFIRMED]
        placing_usdc: int | None = row[_PLACING]
        if placing_usdc is not None and placing_usdc < counted_usdc:
            counted_usdc = placing_usdc
        self._room_usdc = counted_usdc - int(row[_DRAWN])
        self.key_epoch: int = row[_EPOCH]
        self.hold_expires_at_s: int = row[_EXPIRY]
        """When the confirmed hold lapses."""
        self.is_release_requested = row[_RELEASE] is not None
        self.change_usdc = 0
        """What these calls have added to ``drawn_usdc`` so far."""

    @property
    def free_usdc(self) -> int:
        """What is left of the confirmed hold, or of a smaller one that is being placed; below zero
        where the hold has shrunk since."""
        return self._room_usdc - self.change_usdc

    def describe(self) -> Mapping[str, Any]:
        """Return the position's columns, ``drawn_usdc`` as these calls have left it so far."""
        columns = dict(zip(POSITION_COLUMNS, self._row, strict=True))
        drawn_usdc = columns["drawn_usdc"] + self.change_usdc
        # Text on SQLite.
        return {**columns, "shares": int(columns["shares"]), "drawn_usdc": drawn_usdc}


@dataclass(slots=True)
class StoredUsage:
    """A usage row as far as the meter asks for it."""

    reservation: Row
    """The reservation's values, in the order of ``RESERVATION_COLUMNS``."""
    reserved_at_s: int
    state: str
    charge: Row
    """The charge's values, in the order of ``CHARGE_COLUMNS``; all None before the post."""

    @property
    def token_id(self) -> int:
        return int(self.reservation[_TOKEN_OF_USAGE])

    @property
    def key_id(self) -> str:
        return str(self.reservation[_KEY])

    @property
    def ceiling_usdc(self) -> int:
        return int(self.reservation[_CEILING])


@dataclass(slots=True)
class Books:
    """What some calls read, under lock, and what they have decided to write."""

    accounts: dict[int, Account]
    """The positions that have a row."""
    usage: dict[str, StoredUsage]
    mirror: tuple[int, int] | None
    """The newest mirrored block's time, and when the mirror last was at the head."""
    children: dict[str, Child] = field(default_factory=dict)
    """The child keys that the calls name and that have a row."""
    reserved: list[Row] = field(default_factory=list)
    renewed: dict[str, int] = field(default_factory=dict)
    repriced: list[Row] = field(default_factory=list)
    posted: list[Row] = field(default_factory=list)
    voided: list[Row] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)
    """The child keys whose counters have changed."""

    def reserve(
        self,
        reservation: Row,
        *,
        reserved_at_s: int,
        lease_expires_at_s: int,
        holder_id: str | None,
    ) -> None:
        """Note a new row; ``reservation`` is in the order of ``RESERVATION_COLUMNS``."""
        self.reserved.append((*reservation, reserved_at_s, lease_expires_at_s, holder_id))
        self.usage[reservation[_REQUEST]] = StoredUsage(
            reservation, reserved_at_s, "reserved", _UNCHARGED
        )

    def take(self, child: Child, ceiling_usdc: int, *, now_s: int) -> int:
        """Count a reservation on its child key; return the time that it counts as reserved at."""
        self.counted.add(child.key_id)
        return child.take(ceiling_usdc, now_s=now_s)

    def resolve(self, usage: StoredUsage, freed_usdc: int) -> None:
        """Give back to the usage's child key, if it has one, what it did not cost."""
        child = self.children.get(usage.key_id)
        if child is not None:
            self.counted.add(child.key_id)
            child.resolve(freed_usdc, reserved_at_s=usage.reserved_at_s)

    def reprice(self, request_id: str, price: Row) -> None:
        """Note that a reserved row is charged at ``price``, in the order of ``PRICE_COLUMNS``."""
        usage = self.usage[request_id]
        before = tuple(usage.reservation[place] for place in _PRICES)
        if price == before:
            return
        self.repriced.append((request_id, *price))
        changed = dict(zip(_PRICES, price, strict=True))
        usage.reservation = tuple(
            changed.get(place, value) for place, value in enumerate(usage.reservation)
        )

    def post(self, request_id: str, charge: Row, *, now_s: int) -> None:
        """Note that a reserved row is posted; ``charge`` is in the order of ``CHARGE_COLUMNS``."""
        self.posted.append((request_id, *charge, now_s))
        usage = self.usage[request_id]
        usage.state, usage.charge = "posted", charge

    def void(self, request_id: str, reason: str, *, now_s: int) -> None:
        """Note that a reserved row is voided."""
        self.voided.append((request_id, reason, now_s))
        self.usage[request_id].state = "voided"
