"""Tells the book how an answer came: first token, throughput, calls of tools; and whoever watches
what it reports. Own providers are not measured: nobody else is sent to them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from market.routing.attempts import Won
from market.routing.own_providers import OwnWon
from market.routing.ranking import Offer
from market.text.calling import Answered, Opened
from serving.dialects.answered_calls import CallJudge
from serving.dialects.call import Call
from serving.dialects.endpoints import HOLDERS, Endpoint
from serving.models.counting import Counted
from serving.models.provider_answers import weigh_answer
from serving.models.usage import Report, find_usage, read_report
from serving.models.weight import Weight

log = structlog.get_logger("market")

NO_CALLS = (0, 0)

Note = Callable[[Counted], None]
"""Takes in what an answer was charged for, once it is."""


@dataclass(frozen=True, slots=True)
class ReportedAnswer:
    """What an offer's server has reported of a request, and what it has shown."""

    offer: Offer
    account_id: str
    call: Call
    report: Report
    shown: Weight
    parsed: Mapping[str, Any] | None = None
    """The whole answer; None of a stream."""


class AnswerWatch(Protocol):
    """Looks at what servers report."""

    def see(self, answer: ReportedAnswer) -> None:
        """Look at an answer; nothing of its text may be kept."""


def _show(watch: AnswerWatch | None, answer: ReportedAnswer) -> None:
    """Let an answer be looked at, whatever comes of it: it is served and charged."""
    if watch is None:
        return
    try:
        watch.see(answer)
    except Exception:
        log.exception("answer_not_watched", offer=answer.offer.offer_id)


def measure_whole(
    won: Won[Answered] | OwnWon[Answered],
    counted: Counted,
    *,
    account_id: str,
    watch: AnswerWatch | None = None,
) -> None:
    """Note how a whole answer came; its speed is with the time that the prompt took."""
    if isinstance(won, OwnWon):
        return
    call, parsed = won.result.call, won.result.answer.parsed
    report = None if watch is None else read_report(find_usage(parsed))
    if report is not None:
        shown = weigh_answer(parsed, HOLDERS[call.endpoint])
        _show(
            watch, ReportedAnswer(won.charge.verdict.offer, account_id, call, report, shown, parsed)
        )
    calls = NO_CALLS
    if call.has_tools and call.endpoint is Endpoint.CHAT:
        judge = CallJudge(call.body)
        judge.read_whole(parsed)
        calls = judge.count()
    won.book.note_answer(
        won.offer_id,
        first_token_s=None,
        output_tokens=counted.tokens.completion,
        output_s=time.monotonic() - won.began_s,
        calls=calls,
    )


def measure_stream(
    won: Won[Opened] | OwnWon[Opened],
    *,
    account_id: str,
    watch: AnswerWatch | None = None,
) -> Note | None:
    """Return what notes how a stream came, which has said its first word now; once, at its end."""
    if isinstance(won, OwnWon):
        return None
    said_s = time.monotonic()

    def note(counted: Counted) -> None:
        judge = won.result.judge
        tally = won.result.reading.tally
        # One that broke off may have reported no last figures.
        if tally.report is not None and tally.is_finished:
            offer = won.charge.verdict.offer
            _show(
                watch,
                ReportedAnswer(offer, account_id, won.result.call, tally.report, tally.weight),
            )
        won.book.note_answer(
            won.offer_id,
            first_token_s=said_s - won.began_s,
            output_tokens=counted.tokens.completion,
            output_s=time.monotonic() - said_s,
            calls=NO_CALLS if judge is None else judge.count(),
        )

    return note
