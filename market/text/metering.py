"""What a request for text is charged for, and to whom: to an offer's sale, or not at all.

A sale is also what a live stream is charged to (``serving.stream.live.Booking``), and here are the
market's words for every way in which a stream can end early.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from sqlalchemy import Connection

from ledger.selling.sale_records import SaleResolved
from market.routing.ranking import Ask
from serving.dialects.answered_calls import CallJudge
from serving.dialects.call import Call
from serving.dialects.dialect import MESSAGES
from serving.dialects.encoding import Served
from serving.dialects.endpoints import HOLDERS
from serving.http.errors import ApiError, TryLater, charge_follows, internal_error
from serving.models.counting import Counted, Sent, count_tokens, deliver_whole
from serving.models.failures import Cause, UpstreamFailure, UpstreamRejected, classify_said
from serving.models.prices import Tokens
from serving.models.provider_answers import weigh_answer
from serving.models.sold import COST_FIELD
from serving.models.usage import find_usage, read_report
from serving.stream.live import Ending, Why
from serving.stream.opening import open_tally
from serving.stream.tally import Tally
from serving.stream.translated import TranslatedTally


class SaleCharge(Protocol):
    """What can be charged, kept and given back: see ``market.routing.reservations``."""

    sale_id: str
    lease_s: float

    async def post(
        self,
        tokens: Tokens,
        *,
        also: Callable[[Connection], object] | None = None,
        is_cut: bool = False,
    ) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``.

        ``is_cut`` says whether the seller reported more than can be true.
        """
        ...

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back."""
        ...

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        ...


class ServedAttempt(Protocol):
    """The attempt that served, whose seller learns how it ended."""

    def end(self, cause: Cause | None = None, *, well: bool = True) -> None:
        """Give the offer's place back."""
        ...


class SaleBooking:
    """A stream's reservation."""

    def __init__(
        self,
        charge: SaleCharge,
        won: ServedAttempt,
        note: Callable[[Counted], None] | None = None,
        *,
        find_other: Callable[[], str | None] = lambda: None,
        take_mismatch: Callable[[str], Awaitable[None]] | None = None,
        take_good: Callable[[], None] = lambda: None,
    ) -> None:
        """``note`` takes in what was charged for.

        ``find_other`` returns what the stream has said of another model than was sold: then nothing
        is charged, and ``take_mismatch`` takes that in; ``take_good`` that there was none.
        """
        self._take_good = take_good
        self._find_other = find_other
        self._take_mismatch = take_mismatch
        self._note = note
        self.booking_id = charge.sale_id
        self.lease_s = charge.lease_s
        self._charge = charge
        self._won = won

    async def post(self, counted: Counted) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        other = self._find_other()
        if other is not None:
            await self._charge.void(str(Cause.WRONG_MODEL), is_seller_failure=True)
            if self._take_mismatch is not None:
                await self._take_mismatch(other)
            return 0
        cost_usdc = await self._charge.post(counted.tokens, is_cut=counted.is_cut)
        self._take_good()
        if self._note is not None:
            self._note(counted)
        return cost_usdc

    async def void(self, ending: Ending) -> int | None:
        """Give the reservation back. Where that cannot be written, its lease runs out."""
        reason = ending.code if ending.cause is None else ending.cause
        await self._charge.void(reason, is_seller_failure=ending.cause is not None)
        return None

    async def renew(self) -> bool:
        """Keep the reservation; tell whether it still stands. Raises ``LedgerUnavailable``."""
        try:
            await self._charge.renew()
        except SaleResolved:
            return False
        return True

    def note_end(self, ending: Ending | None) -> None:
        """Note how the seller did, before anything is charged."""
        cause = None if ending is None or ending.cause is None else Cause(ending.cause)
        if self._find_other() is not None:
            cause = Cause.WRONG_MODEL
        self._won.end(cause, well=ending is None)

    def note_stop(self) -> None:
        """Nothing: a charge waits for the ledger alone."""


class SaleEndings:
    """The market's errors for streams that end early.

    ``secrets`` are never told: they are removed from the seller's own words.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    def explain(self, why: Why, detail: Any = None) -> Ending:
        """Return the ending."""
        match why:
            case Why.INTERNAL:
                return _end_with(internal_error())
            case Why.UNSETTLED:
                return _end_with(charge_follows())
            case Why.DIED if isinstance(detail, UpstreamFailure):
                return _end("seller_disconnected", "The seller broke off its answer.", detail.cause)
            case Why.FAILED if detail is not None:
                return _end_as_told(classify_said(detail, secrets=self._secrets))
            case _:
                return _end(*_ENDINGS[why])


_ENDINGS: Final[Mapping[Why, tuple[str, str, Cause | None]]] = {
    Why.DIED: ("seller_disconnected", "The seller broke off its answer.", Cause.UNREACHABLE),
    Why.BROKE_OFF: ("seller_disconnected", "The seller broke off its answer.", Cause.UNREACHABLE),
    Why.MALFORMED: ("seller_disconnected", "The seller broke off its answer.", Cause.BAD_FORMAT),
    Why.FAILED: ("seller_disconnected", "The seller broke off its answer.", Cause.SERVER),
    Why.EMPTY: ("seller_disconnected", "The seller sent no answer.", Cause.BAD_FORMAT),
    Why.OVER: ("ceiling_reached", "The seller sent more than was asked for.", Cause.BAD_FORMAT),
    Why.TOO_LONG: ("stream_timeout", "The stream took too long.", None),
    Why.LEFT: ("client_gone", "The client left.", None),
    Why.STOPPED: ("shutting_down", "The market is shutting down.", None),
    Why.LOST: ("reservation_lost", "The reservation is gone.", None),
}


def _end(code: str, message: str, cause: Cause | None) -> Ending:
    def describe(cost_usdc: int | None) -> bytes:
        if cost_usdc is None:
            return TryLater(502, code, f"{message} You are not charged.").body()
        charged = f"{message} You are charged for what you received."
        return TryLater(502, code, charged, facts={COST_FIELD: cost_usdc}).body()

    return Ending(code, describe, cause)


def _end_as_told(error: UpstreamFailure | UpstreamRejected) -> Ending:
    """Return the ending for a seller that said why it broke off.

    A seller that says that the request is at fault, as by moderation, has done nothing wrong.
    """
    message = "The seller broke off its answer."
    if error.message is not None:
        message += f" It said: {error.message.removesuffix('.')}."
    cause = error.cause if isinstance(error, UpstreamFailure) else None
    return _end("seller_disconnected", message, cause)


def _end_with(error: ApiError) -> Ending:
    return Ending(error.code, lambda _: error.body())


UNTRUSTED_PROMPT_PCT: Final = 125
"""How much of our own count of a prompt an untrusted seller is paid for at most, in per cent."""

UNTRUSTED_TEMPLATE_TOKENS: Final = 100
"""Tokens of a prompt that it is paid for on top: a model's template may add as many."""


def build_sent(call: Call, ask: Ask, *, is_trusted: bool = True) -> Sent:
    """Return what a seller is sent, as far as it bounds what is charged.

    A seller whom the operator has not approved is paid for no reasoning that it does not show, and
    for a prompt of at most 125 % of our own count, rounded up, and 100 tokens. What it reports
    beyond that is not held against it, as long as it can be true.
    """
    counted = -(-ask.estimate.prompt * UNTRUSTED_PROMPT_PCT // 100)
    counted += UNTRUSTED_TEMPLATE_TOKENS
    return Sent(
        prompt_estimate=ask.estimate.prompt,
        prompt_bound=ask.bound.prompt,
        prompt_paid=None if is_trusted else counted,
        may_hide=is_trusted,
        output_bound=ask.bound.completion,
        choices=call.choices,
    )


def build_tally(
    call: Call,
    ask: Ask,
    *,
    is_trusted: bool = True,
    judge: CallJudge | None = None,
    served: Served | None = None,
) -> Tally:
    """Return the tally of a streamed request, in the dialect of its client."""
    sent = build_sent(call, ask, is_trusted=is_trusted)
    if call.form is not None and served is not None:
        return TranslatedTally(sent, MESSAGES.open_encoder(call.form, served), judge)
    return open_tally(call, sent, judge, served=served)


def count_answer(
    call: Call, ask: Ask, parsed: Mapping[str, Any], *, is_trusted: bool = True
) -> Counted:
    """Return the tokens to charge for a whole answer."""
    delivered = deliver_whole(weigh_answer(parsed, HOLDERS[call.endpoint]))
    sent = build_sent(call, ask, is_trusted=is_trusted)
    return count_tokens(sent, delivered, read_report(find_usage(parsed)))
