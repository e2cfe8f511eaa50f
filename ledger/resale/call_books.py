"""The books that a set of API calls is decided on: what was read of them, and what is written.

In memory only; ``call_storage`` reads them and writes them. Amounts are in 1e-6 USDC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.resale.call_records import (
    CallDenial,
    CallRefused,
    CallTrace,
    NewCall,
    PeriodTerms,
    PeriodUse,
)
from ledger.resale.periods import count_remaining
from ledger.selling.sale_books import Credit
from ledger.selling.sale_statements import PAID_KEY_ID

Row = Sequence[Any]
PeriodKey = tuple[str, int]
"""A connection and when its period starts."""


@dataclass(slots=True)
class StoredCall:
    """A call, locked, as far as the steps ask for it."""

    account_id: str
    period: PeriodKey
    ceiling_usdc: int
    units_max: int
    state: str
    figures: Row
    """What a post wrote, in the order of ``CALL_FIGURES``; of no meaning before it."""


@dataclass(slots=True)
class CallBooks:
    """What some calls read, under lock, and what they have decided to write."""

    calls: dict[str, StoredCall]
    credits: dict[str, Credit]
    periods: dict[PeriodKey, PeriodUse]
    keys: dict[str, tuple[str, int | None]]
    """The owner of each key that was not revoked, and when it expires."""
    versions: dict[str, int]
    """The version of each connection that is on sale."""
    reserved: list[Row] = field(default_factory=list)
    posted: list[Row] = field(default_factory=list)
    voided: list[Row] = field(default_factory=list)
    changed: set[PeriodKey] = field(default_factory=set)
    """Periods that are used otherwise than before."""

    def reserve(self, call: NewCall, *, now_s: int) -> PeriodUse:
        """Take a call's ceiling and units. Raises ``CallRefused``, and then takes nothing."""
        credit = self.credits.get(call.account_id)
        if credit is None or not self._is_key_live(call, now_s=now_s):
            raise CallRefused(CallDenial.KEY_REVOKED)
        if credit.free_usdc < call.ceiling_usdc:
            raise CallRefused(CallDenial.CREDIT_SPENT, credit.free_usdc)
        if self.versions.get(call.connection_id) != call.version:
            raise CallRefused(CallDenial.CONNECTION_CHANGED)
        key = (call.connection_id, call.period.starts_at_s)
        use = self.periods[key]
        if call.units_max > use.left_units:
            if not use.has_left(call.units_max, call.period, now_s=now_s):
                raise CallRefused(CallDenial.QUOTA_SOLD)
            here = use.sold_units + use.reserved_units
            # The API's own count, an hour old, is all that stands against it.
            use = replace(use, for_sale_units=here + call.units_max, read_at_s=now_s)
        credit.reserve(call.ceiling_usdc)
        use = replace(use, reserved_units=use.reserved_units + call.units_max)
        self._change(key, use)
        return use

    def _is_key_live(self, call: NewCall, *, now_s: int) -> bool:
        if call.key_id == PAID_KEY_ID:
            return True
        owner, expires_at_s = self.keys.get(call.key_id, (None, None))
        return owner == call.account_id and (expires_at_s is None or expires_at_s > now_s)

    def resolve(
        self,
        call: StoredCall,
        terms: PeriodTerms,
        trace: CallTrace,
        *,
        cost_usdc: int,
        sold_units: int = 0,
        lost_units: int = 0,
        own_units: int = 0,
        now_s: int,
    ) -> PeriodUse:
        """Give back what a reserved call did not take; return how much of its period is used.

        ``terms``: those of the call's own period.
        What is for sale follows where the API has said what remains, and where the owner has used
        some or the API counted some that nobody pays for.
        """
        assert terms.starts_at_s == call.period[1]
        self.credits[call.account_id].resolve(call.ceiling_usdc, cost_usdc=cost_usdc)
        use = self.periods[call.period]
        use = replace(
            use,
            reserved_units=use.reserved_units - call.units_max,
            sold_units=use.sold_units + sold_units,
            lost_units=use.lost_units + lost_units,
            own_units=use.own_units + own_units,
        )
        self._change(call.period, use)
        if trace.remaining_units is None and not lost_units and not own_units:
            return use
        remaining_units = trace.remaining_units
        use = count_remaining(use, terms, remaining_units=remaining_units, now_s=now_s)
        self._change(call.period, use)
        return use

    def _change(self, key: PeriodKey, use: PeriodUse) -> None:
        self.periods[key] = use
        self.changed.add(key)
