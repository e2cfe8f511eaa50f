"""What of a position is worth telling its owner, from what was seen before and is so now. Pure.

::

    allowance.low        unspent allowance fell below the webhook's own figure
    allowance.capped     less than 1 % of today's share is left; once for each day of the chain
    position.harvested   yield was credited
    key.revoked          all keys, by a new epoch on chain, or a child key

Each is told once, on the way down: what is low stays told until it is not low any more.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

LOW: Final = "allowance.low"
CAPPED: Final = "allowance.capped"
HARVESTED: Final = "position.harvested"
REVOKED: Final = "key.revoked"
PING: Final = "ping"
"""Asked for by the owner, to try the endpoint."""
KINDS: Final = (LOW, CAPPED, HARVESTED, REVOKED)
OVERLAP_S: Final = 3_600
"""For how long revocations are known by their ids, seconds: what was written late is told too."""
_CAP_LEFT_DIVISOR: Final = 100


@dataclass(frozen=True, slots=True)
class PositionSeen:
    """What a look saw. Amounts in 1e-6 USDC."""

    credited_usdc: int
    key_epoch: int
    revoked_since_s: int
    """Child keys that were revoked until then are told or never will be."""
    children_revoked: list[str]
    """Those that were revoked since, and are told."""
    is_low: bool
    capped_on: int | None
    """The UTC day (since 1970) on which the cap was told as reached."""

    def write(self) -> str:
        """Return it as the ledger keeps it."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()


def read_seen(text: str) -> PositionSeen:
    """Return what a look saw, as ``write`` wrote it."""
    return PositionSeen(**orjson.loads(text))


@dataclass(frozen=True, slots=True)
class Now:
    """A position as it is. Amounts in 1e-6 USDC."""

    credited_usdc: int
    key_epoch: int
    now_s: int
    revoked: Mapping[str, int]
    """Child keys that were revoked since what was seen, and when (UTC seconds), in order."""
    unspent_usdc: int
    """What is credited and neither spent nor promised to requests."""
    today_left_usdc: int
    today_cap_usdc: int
    day: int
    resets_at: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to tell."""

    kind: str
    data: dict[str, Any]


def look(now: Now, *, low_usdc: int) -> PositionSeen:
    """Return what a first look sees: nothing of it is told."""
    return PositionSeen(
        now.credited_usdc,
        now.key_epoch,
        now.now_s - OVERLAP_S,
        list(now.revoked),
        now.unspent_usdc < low_usdc,
        now.day if _is_capped(now) else None,
    )


def decide(
    before: PositionSeen, now: Now, *, low_usdc: int
) -> tuple[list[Happening], PositionSeen]:
    """Return what to tell, in the order in which it makes sense, and what was seen with it."""
    told: list[Happening] = []
    gained_usdc = now.credited_usdc - before.credited_usdc
    if gained_usdc > 0:
        amounts = {"credited_usdc": gained_usdc, "credited_in_all_usdc": now.credited_usdc}
        told.append(Happening(HARVESTED, amounts))
    if now.key_epoch > before.key_epoch:
        told.append(Happening(REVOKED, {"key_epoch": now.key_epoch, "keys": "all"}))
    new = [key_id for key_id in now.revoked if key_id not in before.children_revoked]
    since_s, known = before.revoked_since_s, before.children_revoked
    if new:
        since_s = max(since_s, now.now_s - OVERLAP_S)
        known = [key_id for key_id, at_s in now.revoked.items() if at_s > since_s]
        told.append(Happening(REVOKED, {"key_epoch": now.key_epoch, "keys": new}))
    is_low = now.unspent_usdc < low_usdc
    if is_low and not before.is_low:
        told.append(Happening(LOW, {"unspent_usdc": now.unspent_usdc, "low_usdc": low_usdc}))
    capped_on = before.capped_on
    if _is_capped(now) and before.capped_on != now.day:
        capped_on = now.day
        data: dict[str, Any] = {
            "remaining_today_usdc": now.today_left_usdc,
            "day_cap_usdc": now.today_cap_usdc,
            "resets_at": now.resets_at,
        }
        told.append(Happening(CAPPED, data))
    # A reorganised chain may have credited less, or have fewer epochs: what comes again is told.
    seen = PositionSeen(now.credited_usdc, now.key_epoch, since_s, known, is_low, capped_on)
    return told, seen


def _is_capped(now: Now) -> bool:
    # Without anything unspent it is the allowance that lacks, not the day's share of it.
    if now.today_cap_usdc == 0 or now.unspent_usdc <= now.today_left_usdc:
        return False
    return now.today_left_usdc < max(1, now.today_cap_usdc // _CAP_LEFT_DIVISOR)


def write_body(happening: Happening, *, message_id: str, token_id: int, timestamp: str) -> str:
    """Return the body of a delivery: JSON, whose bytes are what is signed."""
    told = {
        "id": message_id,
        "type": happening.kind,
        "timestamp": timestamp,
        "token_id": str(token_id),
        "data": happening.data,
    }
    return orjson.dumps(told).decode()
