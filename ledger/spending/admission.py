"""Whether a reservation fits a position, and why it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.chain.harvest_outlook import read_harvest_times
from ledger.chain.positions import build_state, get_allowance, next_utc_day_s
from ledger.errors import AllowanceFacts, LimitFacts, RefusalReason, ReserveRefused
from ledger.spending.books import Account
from ledger.tables.usage import Reservation


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What else must hold for a reservation to be admitted. All in seconds."""

    hold_margin_s: int
    """The hold must outlive now by this much, so that the keeper can settle before it lapses."""
    max_staleness_s: int
    """The mirror must have been at the head within this time, by either clock."""
    lease_s: int
    """How long the reservation stands without being renewed."""


def is_admitted(
    account: Account,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
) -> bool:
    return _is_fresh(mirror, rules, now_s=now_s) and _is_held(
        account, reservation, mirror, rules, now_s=now_s
    )


def _is_fresh(mirror: tuple[int, int] | None, rules: AdmissionRules, *, now_s: int) -> bool:
    # A mirror stamped in the future has unknown age (a clock was set back): treat it as stale.
    return mirror is not None and abs(now_s - mirror[1]) <= rules.max_staleness_s


def _is_held(
    account: Account,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
) -> bool:
    # The chain's own clock decides when a hold lapses; ours only where it is ahead.
    latest_s = get_chain_now_s(now_s, None if mirror is None else mirror[0])
    return (
        account.key_epoch == reservation.key_epoch
        and not account.is_release_requested
        and account.hold_expires_at_s > latest_s + rules.hold_margin_s
        and account.free_usdc >= reservation.ceiling_usdc
    )


def get_chain_now_s(now_s: int, block_timestamp_s: int | None) -> int:
    """Return the clock by which days and holds end: the newest block's, or ours where it is ahead.

    ``block_timestamp_s``: of the newest mirrored block; None where nothing is mirrored.
    """
    return now_s if block_timestamp_s is None else max(now_s, block_timestamp_s)


def explain_refusal(
    account: Account | None,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
    problem: RefusalReason | LimitFacts | None,
) -> ReserveRefused:
    """Return why a reservation does not fit; the first reason of ``RefusalReason`` that applies.

    ``problem`` is what a child key has against it, if anything.
    """
    if account is None:
        return ReserveRefused(RefusalReason.POSITION_NOT_FOUND)
    chain_now_s = get_chain_now_s(now_s, None if mirror is None else mirror[0])
    row = account.describe()
    facts = build_facts(row, required_usdc=reservation.ceiling_usdc, now_s=chain_now_s)
    reason = _decide_reason(row, reservation, now_s=chain_now_s)
    if isinstance(problem, RefusalReason) and reason is not RefusalReason.KEY_REVOKED:
        return ReserveRefused(problem, facts)
    is_held = _is_held(account, reservation, mirror, rules, now_s=now_s)
    if is_held and isinstance(problem, LimitFacts):
        return ReserveRefused(RefusalReason.KEY_LIMIT_REACHED, facts, problem)
    if reason is RefusalReason.HOLD_PENDING and not _is_fresh(mirror, rules, now_s=now_s):
        reason = RefusalReason.CHAIN_STATE_STALE
    return ReserveRefused(reason, facts)


def _decide_reason(
    row: Mapping[Any, Any], reservation: Reservation, *, now_s: int
) -> RefusalReason:
    if row["key_epoch"] != reservation.key_epoch:
        return RefusalReason.KEY_REVOKED
    if row["credited_usdc"] == 0:
        return RefusalReason.NEVER_HARVESTED
    allowance = get_allowance(build_state(row), now_s=now_s)
    required_usdc = row["drawn_usdc"] + reservation.ceiling_usdc
    if required_usdc > allowance.unspent_usdc:
        return RefusalReason.ALLOWANCE_SPENT
    if required_usdc > allowance.day_cap_usdc - allowance.day_spent_usdc:
        # Tomorrow's cap would admit it: the unspent credit is there.
        return RefusalReason.DAILY_CAP_REACHED
    return RefusalReason.HOLD_PENDING


def build_facts(row: Mapping[Any, Any], *, required_usdc: int, now_s: int) -> AllowanceFacts:
    """Return the numbers that a refusal or a status shows, from a position's row.

    ``now_s``: the chain's clock, see ``get_chain_now_s``.
    """
    allowance = get_allowance(build_state(row), now_s=now_s)
    today_usdc = min(allowance.unspent_usdc, allowance.day_cap_usdc - allowance.day_spent_usdc)
    return AllowanceFacts(
        required_usdc=required_usdc,
        available_usdc=max(0, today_usdc - row["drawn_usdc"]),
        held_usdc=max(0, allowance.held_usdc - row["hold_unconfirmed_usdc"]),
        drawn_usdc=row["drawn_usdc"],
        resets_at_s=next_utc_day_s(now_s),
        as_of_s=now_s,
        harvest=read_harvest_times(row),
    )
