"""A day's evidence as ``GET /v1/evidence/{day}`` shows it, read back and checked.

It may come from anybody: whatever its fields hold, the only error is ``EvidenceInvalid``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from contracts.errors import Rejected
from ledger.selling.evidence import hash_leaf
from ledger.spending.receipt_views import read_figure, read_text, read_word
from ledger.spending.receipts import build_root

_EPOCH: Final = date(1970, 1, 1).toordinal()


class EvidenceInvalid(Rejected):
    """The evidence is incomplete, or is not what the chain has the root of."""


@dataclass(frozen=True, slots=True)
class DayView:
    """What a day's evidence comes to by its own entries."""

    day: int
    """Days since 1970, UTC."""
    root: bytes
    transcript_hashes: Mapping[bytes, str]
    """By each transcript's hash, what it is of."""


def read_evidence_day(view: Any) -> DayView:
    """Compute a day's root from its entries; what the answer says of root and leaves is not read.

    Raises ``EvidenceInvalid``.
    """
    if not isinstance(view, dict) or not isinstance(view.get("entries"), list):
        raise EvidenceInvalid("this is no day of evidence: an object with entries was expected")
    if not view["entries"]:
        raise EvidenceInvalid("the day has no evidence, and so no root")
    try:
        asked = date.fromisoformat(read_text(view, "date"))
        leaves, hashes = [], {}
        for entry in view["entries"]:
            if not isinstance(entry, dict):
                raise ValueError("an entry is no object")
            leaf, transcript_hash, told = _read_entry(entry)
            leaves.append(leaf)
            hashes[transcript_hash] = told
    except (KeyError, ValueError, OverflowError) as error:
        raise EvidenceInvalid(f"the evidence is incomplete: {error!r}") from error
    day = asked.toordinal() - _EPOCH
    if day < 0:
        raise EvidenceInvalid("no evidence is older than 1970")
    return DayView(day, build_root(leaves), hashes)


def _read_entry(entry: dict[str, Any]) -> tuple[bytes, bytes, str]:
    evidence_id, offer_id = read_text(entry, "evidence_id"), read_text(entry, "offer_id")
    model, method = read_text(entry, "model"), read_text(entry, "method")
    made_at_s = read_figure(entry, "made_at")
    transcript_hash = read_word(entry, "transcript_hash")
    leaf = hash_leaf(
        (evidence_id, offer_id, model, method),
        made_at_s=made_at_s,
        observed_hash=read_word(entry, "observed_hash"),
        transcript_hash=transcript_hash,
        looks=read_figure(entry, "looks"),
        peak_milli=read_figure(entry, "peak_milli"),
    )
    made_at = datetime.fromtimestamp(min(made_at_s, 2**34), UTC).isoformat()
    return leaf, transcript_hash, f"{method} on {offer_id} at {made_at}"
