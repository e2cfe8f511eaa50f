"""One call of a seller or of a buyer's own provider: a whole answer, or a stream's beginning."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from market.endpoints.client import SellerClient
from market.routing.attempts import Callee, Order
from market.text.answered import AnswerCheck
from market.text.metering import build_tally
from market.text.speakers import Speakers
from serving.dialects.answered_calls import CallJudge
from serving.dialects.call import Call
from serving.dialects.dialect import MESSAGES
from serving.dialects.encoding import Served, Spent
from serving.dialects.endpoints import HOLDERS, Endpoint
from serving.models.additions import Additions
from serving.models.counting import Counted
from serving.models.failures import Cause, UpstreamError, UpstreamFailure, classify_said
from serving.models.provider_answers import find_failure, is_answer
from serving.models.stating import restate_answer
from serving.models.upstream import Access, ProviderAnswer
from serving.stream.reading import NoAnswer, Reading
from serving.stream.sse import EventTooLong

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer, and the request as it was sent for it: passed on, or translated to a chat."""

    answer: ProviderAnswer
    call: Call

    def __repr__(self) -> str:
        return "Answered(…)"

    def tell(self, counted: Counted, order: Order, *, now_s: int) -> bytes:
        """Return the answer for the client, in its dialect, with what is charged as its usage."""
        parsed = self.answer.parsed
        if self.call.form is None:
            holder = HOLDERS[self.call.endpoint]
            return restate_answer(self.answer.raw, parsed, counted, holder)
        served = describe_served(order, now_s=now_s)
        return MESSAGES.build(parsed, self.call.form, served, Spent(counted, {}))


def describe_served(order: Order, *, now_s: int) -> Served:
    """Return what an answer in a dialect says of its request."""
    ask = order.asks[0]
    return Served(order.request_id, ask.model, ask.estimate.prompt, now_s)


@dataclass(frozen=True, slots=True)
class Opened:
    """A seller's stream that has begun, and what no buyer is told of the seller."""

    reading: Reading
    secrets: tuple[str, ...]
    call: Call
    """The request as it was sent: passed on, or translated to a chat."""
    find_other: Callable[[], str | None]
    """Returns what the stream has said so far of another model than was sold; None: nothing."""
    judge: CallJudge | None = None
    """What is told the calls of tools in it."""

    def __repr__(self) -> str:
        return "Opened(…)"


class SellerCalls:
    """Calls sellers, and remembers which additions their models refuse."""

    def __init__(
        self,
        seller_client: SellerClient,
        *,
        opening_s: float,
        answer_check: AnswerCheck,
        get_now_s: Callable[[], int],
    ) -> None:
        """``opening_s``: how long a seller of a stream may say nothing but comments, in seconds."""
        self._get_now_s = get_now_s
        self._answer_check = answer_check
        self._seller_client = seller_client
        self._opening_s = opening_s
        self._additions = Additions()
        self._speakers = Speakers()

    async def _speak(self, call: Call, callee: Callee, ask: Callable[[Call], Awaitable[T]]) -> T:
        """Return what ``ask`` makes of a request as this endpoint understands it.

        See ``market.text.speakers``.
        """
        chat, endpoint = call.as_chat, (callee.access.base_url, callee.model)
        if chat is None:
            return await ask(call)
        if not self._speakers.may_speak(endpoint):
            return await ask(chat)
        try:
            answer = await ask(call)
        except UpstreamError as error:
            if not self._speakers.may_be_silent(endpoint, error):
                raise
            self._speakers.forget(endpoint)
            answer = await ask(chat)
            self._speakers.note_silent(endpoint, error)
            return answer
        self._speakers.note(endpoint, speaks=True)
        return answer

    async def _send(
        self,
        order: Order,
        call: Call,
        callee: Callee,
        post: Callable[[bytes], Awaitable[T]],
    ) -> T:
        """Return what ``post`` makes of the body for a seller, without what its model refuses."""
        max_tokens = order.asks[0].bound.completion // call.choices
        return await self._additions.send(
            (f"{callee.access.base_url}/{call.endpoint}", callee.model),
            call.additions,
            lambda without: post(
                call.build_body(model=callee.model, max_tokens=max_tokens, without=without)
            ),
        )

    async def call(self, order: Order, call: Call, callee: Callee) -> Answered:
        """Return a seller's or an own provider's whole answer.

        Raises ``UpstreamError``, also where what is sold is not what answered.
        """
        return await self._speak(call, callee, lambda as_sent: self._call(order, as_sent, callee))

    async def open(self, order: Order, call: Call, callee: Callee) -> Opened:
        """Begin a stream; until the seller has said something, the next seller may serve.

        Raises like ``call``.
        """
        return await self._speak(call, callee, lambda as_sent: self._open(order, as_sent, callee))

    async def _call(self, order: Order, call: Call, callee: Callee) -> Answered:
        answer = await self._send(
            order,
            call,
            callee,
            lambda body: self._seller_client.call(
                callee.access, call.endpoint, body, find_dialect_headers(call)
            ),
        )
        if not is_answer(answer.parsed, HOLDERS[call.endpoint]):
            raise explain_no_answer(find_failure(answer.parsed), callee.access)
        self._check(answer.parsed.get("model"), call, callee)
        return Answered(answer, call)

    async def _open(self, order: Order, call: Call, callee: Callee) -> Opened:
        source = await self._send(
            order,
            call,
            callee,
            lambda body: self._seller_client.open_stream(
                callee.access, call.endpoint, body, find_dialect_headers(call)
            ),
        )
        is_judged = call.has_tools and call.endpoint is Endpoint.CHAT and not callee.is_own
        judge = CallJudge(call.body) if is_judged else None
        tally = build_tally(
            call,
            order.asks[0],
            is_trusted=callee.is_trusted,
            judge=judge,
            served=describe_served(order, now_s=self._get_now_s()),
        )
        reading = Reading(source, tally)
        try:
            await reading.begin(timeout_s=self._opening_s)
            self._check(reading.tally.model, call, callee)
        except TimeoutError:
            await source.close()
            raise UpstreamFailure(Cause.TIMEOUT) from None
        except (NoAnswer, EventTooLong):
            await source.close()
            raise explain_no_answer(reading.tally.failure, callee.access) from None
        except BaseException:
            await source.close()
            raise
        secrets = callee.access.secrets
        return Opened(
            reading, secrets, call, lambda: self._find_other(reading, call, callee), judge
        )

    def _find_other(self, reading: Reading, call: Call, callee: Callee) -> str | None:
        for name in (reading.tally.model, reading.tally.later_model):
            try:
                if name is not None:
                    self._check(name, call, callee)
            except UpstreamFailure as failure:
                return str(failure.message)
        return None

    def _check(self, answered: Any, call: Call, callee: Callee) -> None:
        """Check that what was sold is what answered. Raises ``UpstreamFailure``."""
        if not callee.is_own:
            self._answer_check.check(answered, asked=callee.model, sold=call.model)


def find_dialect_headers(call: Call) -> Mapping[str, str] | None:
    """Return the headers of a request that is sent in Anthropic's dialect; None for any other."""
    return call.headers if call.endpoint is Endpoint.MESSAGES else None


def explain_no_answer(failure: Any, access: Access) -> UpstreamError:
    """Return what a seller's success without an answer says of it: its own error, if it has one."""
    if failure is None:
        return UpstreamFailure(Cause.BAD_FORMAT)
    return classify_said(failure, secrets=access.secrets)
