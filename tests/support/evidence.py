"""Evidence in a ledger, as the lab would have written it down."""

from sqlalchemy import Engine

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import write
from ledger.selling.evidence import EvidenceRow, hash_transcript, save_evidence


def make_evidence(evidence_id: str, *, offer_id: str, day: int) -> EvidenceRow:
    """Return a probe of a day with a transcript of its own."""
    transcript = f"[[what {evidence_id} was asked, what was answered]]"
    return EvidenceRow(
        evidence_id=evidence_id,
        offer_id=offer_id,
        offer_version=1,
        model="model",
        method="border",
        day=day,
        made_at_s=day * SECONDS_PER_DAY + 60,
        observed="[]",
        transcript=transcript,
        transcript_hash=hash_transcript(transcript),
        cost_usdc=0,
        looks=1,
        peak_milli=1_000,
    )


def keep(engine: Engine, *rows: EvidenceRow) -> None:
    """Write evidence down."""
    with write(engine) as connection:
        for row in rows:
            save_evidence(connection, row)
