"""Live traffic as evidence: answers are looked at while they are served, and written down later.

Answers of makers and known companies (grades A and B) teach what a model's honest answers look
like; those of all others are looked at, but for suppliers'. Each process looks for itself, and what
one that ends has not written down is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from contracts.errors import Fatal, Retryable
from contracts.units import utc_day
from market.evidence.byte_pairs import Vocabulary, read_vocabulary
from market.evidence.live_checks import (
    LiveBatch,
    LiveChecks,
    SeenAnswer,
    find_shape,
    has_odd_logprobs,
    is_ordinary,
)
from market.evidence.recording import ProbedOffer, record, write_differences
from market.evidence.verdicts import Method
from market.records.database import Database
from market.routing.book import Book
from market.text.measuring import ReportedAnswer
from serving.dialects.endpoints import Endpoint
from serving.models.grades import Grade

log = structlog.get_logger("market")

SUFFIX: Final = ".tiktoken"
OFFERS_KEPT: Final = 10_000


class VocabularyBroken(Fatal):
    """A file of the operator's is no vocabulary."""


def load_vocabularies(folder: Path | None) -> dict[str, Vocabulary]:
    """Return the vocabularies in a folder, by model. Raises ``VocabularyBroken``."""
    found = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder is not None else ():
        model = path.name.removesuffix(SUFFIX).replace("__", "/")
        try:
            found[model] = read_vocabulary(path.read_bytes())
        except (OSError, ValueError) as error:
            raise VocabularyBroken(f"{path} is no vocabulary: {error}") from error
    return found


@dataclass
class LiveWatch:
    """Looks at answers (``market.text.measuring.AnswerWatch``)."""

    database: Database
    book: Book
    vocabularies: Mapping[str, Vocabulary]
    checks: LiveChecks = field(default_factory=LiveChecks)
    offers: dict[str, ProbedOffer] = field(default_factory=dict)

    def see(self, answer: ReportedAnswer) -> None:
        """Look at an answer, and keep numbers of it."""
        offer, call = answer.offer, answer.call
        live = self.book.find_live(offer.offer_id)
        is_supplied = live is None or live.supply_offer_id is not None
        if call.endpoint is not Endpoint.CHAT or is_supplied or offer.seller == answer.account_id:
            return
        is_known = offer.grade in (Grade.MAKER, Grade.COMPANY)
        day = utc_day(self.database.now_s())
        # What is open is asked first: the answer's charge waits for all that is counted here.
        methods = (
            frozenset({Method.COMPLETION_TOKENS})
            if is_known
            else self.checks.list_open(offer.offer_id, answer.account_id, day=day)
        )
        if not methods or not is_ordinary(call.body):
            return
        seen = describe(answer, self.vocabularies.get(call.model), methods)
        if is_known:
            self.checks.note_known(call.model, seen)
            return
        if offer.offer_id not in self.offers and len(self.offers) >= OFFERS_KEPT:
            return
        self.offers[offer.offer_id] = ProbedOffer(
            offer.offer_id, offer.version, call.model, offer.seller
        )
        self.checks.note(offer.offer_id, call.model, answer.account_id, seen, day=day)

    async def write_down(self) -> int:
        """Write down what has come together; return how many pieces of evidence."""
        if not self.database.clock.may_sweep:
            return 0
        due = self.checks.take_due()
        for place, batch in enumerate(due):
            try:
                await self._record(batch)
            except Retryable:
                self.checks.due = [*due[place:], *self.checks.due]
                raise
        return len(due)

    async def _record(self, batch: LiveBatch) -> None:
        offer = self.offers[batch.offer_id]
        now_s = self.database.now_s()
        transcript = {
            "live": batch.method,
            "seen": [
                {"is_hit": is_hit, "figures": list(figures)}
                for is_hit, figures in zip(batch.hits, batch.figures, strict=True)
            ],
        }
        verdict = await self.database.write(
            lambda connection: record(
                connection,
                offer,
                batch.method,
                observed=write_differences(batch.hits),
                transcript=transcript,
                cost_usdc=0,
                now_s=now_s,
                evidence_id=batch.evidence_id,
            )
        )
        if any(batch.hits):
            log.info(
                "live_evidence",
                offer=batch.offer_id,
                method=batch.method,
                hits=sum(batch.hits),
                looks=len(batch.hits),
                verdict=verdict,
            )


def describe(
    answer: ReportedAnswer,
    vocabulary: Vocabulary | None,
    methods: frozenset[Method],
) -> SeenAnswer:
    """Return what some methods look at of an answer to an ordinary request, in numbers."""
    call, report, parsed = answer.call, answer.report, answer.parsed
    shape, counted, is_odd = None, None, None
    if vocabulary is not None and Method.PROMPT_TOKENS in methods:
        shape, text = find_shape(call.body)
        counted = vocabulary.count(text)
    if parsed is not None and Method.LOGPROBS in methods:
        is_odd = has_odd_logprobs(parsed)
    completion = None
    if report.completion is not None and Method.COMPLETION_TOKENS in methods:
        completion = report.completion - report.reasoning
    return SeenAnswer(
        shape=shape,
        prompt_counted=counted,
        prompt_reported=report.prompt,
        completion_reported=completion,
        shown_bytes=answer.shown.extent,
        choices=call.choices,
        has_odd_logprobs=is_odd,
    )
