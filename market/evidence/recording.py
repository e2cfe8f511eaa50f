"""Evidence as it is written down, and what follows from it for the offer.

The wealth of a method is computed again from all that it has observed of the offer since the year
began, or since the operator let the offer back: whoever has the observations gets the same wealth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from contracts.units import utc_day
from ledger.selling.convictions import Conviction, convict
from ledger.selling.evidence import (
    PEAK_MILLI_MAX,
    EvidenceRow,
    doubt_offer,
    has_evidence,
    hash_transcript,
    load_observed,
    load_peaks,
    load_tested_from,
    save_evidence,
)
from ledger.selling.offers import suspend_offer
from market.evidence.count_differences import HONEST_RATE
from market.evidence.two_samples import AnswerBlock, Comparison
from market.evidence.verdicts import (
    LIVE_METHODS,
    Method,
    OfferVerdict,
    count_stake,
    find_last_clean,
    judge,
)
from market.evidence.wealth import LIVE_LOOKS, RATES, Wealth, bet_on_rate
from serving.dialects.encoding import write
from serving.process.ids import new_id

MILLI: Final = 1_000


@dataclass(frozen=True, slots=True)
class ProbedOffer:
    """The offer that evidence is of, as it was when it was asked."""

    offer_id: str
    version: int
    model: str
    seller: str
    tested_from_s: int | None = None

    def get_start_s(self, now_s: int) -> int:
        """Return from when on evidence counts: this year's, and not from before a new start."""
        year = datetime.fromtimestamp(now_s, UTC).year
        began_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
        return max(began_s, self.tested_from_s or 0)


def weigh(method: Method, observed: Sequence[str]) -> Wealth:
    """Return a method's wealth by its observations, the oldest first, each as ``write_…`` wrote."""
    if method in LIVE_METHODS:
        wealth = Wealth(strategies=len(RATES), spread=LIVE_LOOKS)
        for text in observed:
            for is_hit in orjson.loads(text):
                wealth.observe(bet_on_rate(bool(is_hit), honest=HONEST_RATE))
        return wealth
    comparison = Comparison()
    for text in observed:
        for blocks in orjson.loads(text):
            comparison.observe([_read_block(block) for block in blocks])
    return comparison.wealth


def write_rounds(rounds: Sequence[Sequence[AnswerBlock]]) -> str:
    """Return the rounds of a probe as JSON, in categories."""
    told = [[[one.template, one.offer, one.reference] for one in blocks] for blocks in rounds]
    return orjson.dumps(told).decode()


def write_differences(hits: Sequence[bool]) -> str:
    """Return what a method of ``LIVE_METHODS`` saw as JSON: yes or no for each observation, such as
    which differences of reported tokens were too high."""
    return orjson.dumps(list(hits)).decode()


def _read_block(value: Any) -> AnswerBlock:
    template, offer, reference = value
    return AnswerBlock(template, tuple(offer), tuple(reference))


def record(
    connection: Connection,
    offer: ProbedOffer,
    method: Method,
    *,
    observed: str,
    transcript: Any,
    cost_usdc: int,
    now_s: int,
    evidence_id: str | None = None,
) -> OfferVerdict:
    """Write a probe down; doubt, suspend and convict the offer where its evidence says so.

    What live traffic says is written down, and has no such consequence. With an ``evidence_id`` it
    can be repeated: what is written down by that id already is not weighed again.

    ``observed`` is as ``write_rounds`` or ``write_differences`` write it, ``transcript`` anything
    that is JSON, with whatever sellers have put into it. Returns the verdict on the offer now.
    """
    # Where the operator has let the offer back meanwhile, what was found before counts no more.
    tested_from_s = load_tested_from(connection, offer_id=offer.offer_id)
    since_s = replace(offer, tested_from_s=tested_from_s).get_start_s(now_s)
    if evidence_id is None or not has_evidence(connection, evidence_id=evidence_id):
        before = load_observed(connection, offer_id=offer.offer_id, method=method, since_s=since_s)
        wealth = weigh(method, [*before, observed])
        text = write(transcript).decode()
        save_evidence(
            connection,
            EvidenceRow(
                evidence_id=evidence_id or new_id(),
                offer_id=offer.offer_id,
                offer_version=offer.version,
                model=offer.model,
                method=method,
                day=utc_day(now_s),
                made_at_s=now_s,
                observed=observed,
                transcript=text,
                transcript_hash=hash_transcript(text),
                cost_usdc=cost_usdc,
                looks=wealth.looks,
                peak_milli=min(PEAK_MILLI_MAX, int(count_stake(method, wealth.peak) * MILLI)),
            ),
        )
    probes = [
        (Method(name), peak / MILLI, made_at_s)
        for name, peak, made_at_s in load_peaks(
            connection, offer_id=offer.offer_id, since_s=since_s
        )
    ]
    peaks: dict[Method, float] = {}
    for name, peak, _ in probes:
        peaks[name] = max(peak, peaks.get(name, 0.0))
    verdict = judge(peaks)
    if method in LIVE_METHODS:
        # Nor does it repeat what probes have said before.
        return verdict
    # Whatever version the offer has by now: a seller could change its label during each probe.
    if verdict is OfferVerdict.CONVICTED:
        conviction = Conviction(
            conviction_id=new_id(),
            offer_id=offer.offer_id,
            seller=offer.seller,
            model=offer.model,
            evidence=_explain(peaks),
            counts_from_s=since_s,
            refunds_from_s=find_last_clean(probes) or since_s,
        )
        convict(connection, conviction, now_s=now_s)
        suspend_offer(
            connection, offer_id=offer.offer_id, evidence=conviction.evidence, now_s=now_s
        )
    if verdict in (OfferVerdict.DOUBTED, OfferVerdict.CONVICTED):
        doubt_offer(connection, offer_id=offer.offer_id, now_s=now_s)
    return verdict


def _explain(peaks: dict[Method, float]) -> str:
    probed = sorted((name, peak) for name, peak in peaks.items() if name not in LIVE_METHODS)
    told = ", ".join(f"{name} {int(peak):,}" for name, peak in probed)
    return f"the lab's tests say that another model answers (wealth by method: {told})"
