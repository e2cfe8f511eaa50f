"""Tells the book how an answer came: first token, throughput, calls of tools. Own providers are not
measured: nobody else is sent to them."""

import time
from collections.abc import Callable

from market.routing.attempts import Won
from market.routing.own_providers import OwnWon
from market.text.calling import Opened
from serving.dialects.answered_calls import CallJudge
from serving.dialects.call import Call
from serving.dialects.endpoints import Endpoint
from serving.models.counting import Counted
from serving.models.upstream import ProviderAnswer

NO_CALLS = (0, 0)

Note = Callable[[Counted], None]
"""Takes in what an answer was charged for, once it is."""


def measure_whole(
    won: Won[ProviderAnswer] | OwnWon[ProviderAnswer], call: Call, counted: Counted
) -> None:
    """Note how a whole answer came; its speed is with the time that the prompt took."""
    if isinstance(won, OwnWon):
        return
    calls = NO_CALLS
    if call.has_tools and call.endpoint is Endpoint.CHAT:
        judge = CallJudge(call.body)
        judge.read_whole(won.result.parsed)
        calls = judge.count()
    won.book.note_answer(
        won.offer_id,
        first_token_s=None,
        output_tokens=counted.tokens.completion,
        output_s=time.monotonic() - won.began_s,
        calls=calls,
    )


def measure_stream(won: Won[Opened] | OwnWon[Opened]) -> Note | None:
    """Return what notes how a stream came, which has said its first word now; once, at its end."""
    if isinstance(won, OwnWon):
        return None
    said_s = time.monotonic()

    def note(counted: Counted) -> None:
        judge = won.result.judge
        won.book.note_answer(
            won.offer_id,
            first_token_s=said_s - won.began_s,
            output_tokens=counted.tokens.completion,
            output_s=time.monotonic() - said_s,
            calls=NO_CALLS if judge is None else judge.count(),
        )

    return note
