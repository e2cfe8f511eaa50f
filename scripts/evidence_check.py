"""``current evidence verify``: a day's evidence against the root that the chain has of the day."""

from typing import Any

from eth_utils.crypto import keccak
from web3 import Web3

from contracts.deployment import Deployment
from ledger.selling.day_roots import get_batch_id
from ledger.selling.evidence_views import EvidenceInvalid, read_evidence_day
from scripts.receipt import fetch_settlement


def verify_evidence(
    view: dict[str, Any],
    web3: Web3,
    deployment: Deployment,
    *,
    transcript_hash: bytes | None = None,
) -> tuple[str, str | None]:
    """Check a day's evidence (the JSON of ``/v1/evidence/{day}``) against the chain alone.

    The root is computed from the entries, and found on chain by the day: of what the answer says
    about either only the block is used, to look there first. Returns the transaction's hash and,
    where ``transcript_hash`` is asked for, what the transcript is of. Raises ``EvidenceInvalid``.
    """
    found = read_evidence_day(view)
    if transcript_hash is not None and transcript_hash not in found.transcript_hashes:
        raise EvidenceInvalid("no evidence of the day has this transcript")
    published = view.get("published")
    named = published.get("block_number") if isinstance(published, dict) else None
    settlement = {"batch_id": get_batch_id(found.day), "block_number": named}
    event = fetch_settlement(settlement, web3, deployment)
    if event is None:
        raise EvidenceInvalid(f"the chain has no root of {view['date']}")
    if event["args"]["receiptsRoot"] != found.root:
        raise EvidenceInvalid(f"the chain has another root of {view['date']} than its entries make")
    told = None if transcript_hash is None else found.transcript_hashes[transcript_hash]
    return str(event["transactionHash"].to_0x_hex()), told


def hash_saved_transcript(text: str, view: dict[str, Any]) -> bytes:
    """Return the hash of a transcript that was saved as text, as the day has it.

    A newline that an editor or ``jq`` added at its end is left away where the day has it without.
    """
    as_it_is = keccak(text=text)
    trimmed = keccak(text=text.rstrip("\r\n"))
    hashes = read_evidence_day(view).transcript_hashes
    return trimmed if as_it_is not in hashes and trimmed in hashes else as_it_is
