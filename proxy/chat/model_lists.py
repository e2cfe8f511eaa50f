"""Several models for one request, tried in order until one begins to answer."""

from collections.abc import Awaitable, Callable
from typing import Final

from proxy.chat.admitting import Wish
from proxy.chat.upstream_errors import may_ask_next
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import ApiError
from serving.process.ids import new_id

OWN_ID_HEADER: Final = "x-current-request-id"
"""Names the request that was charged, where that is another than the one that was sent."""

Attempt = Callable[[str], Awaitable[tuple[Answer | StreamAnswer, bool]]]
"""Asks one model by a request's id; returns the answer, and whether it is live."""


async def try_models(
    wish: Wish, request_id: str, attempt: Attempt
) -> tuple[Answer | StreamAnswer, bool]:
    """Answer by the first model of the wish that serves it. Raises ``ApiError``, the first one.

    Each model has a reservation of its own, and so an id; one that does not serve gives it back.
    """
    try:
        return await attempt(request_id)
    except ApiError as error:
        if len(wish.models) < 2 or not may_ask_next(error):
            raise
        first = error
    for number in range(1, len(wish.models)):
        wish.attempt, own_id = number, new_id()
        try:
            answer, is_live = await attempt(own_id)
        except ApiError as error:
            if not may_ask_next(error):
                raise
            continue
        answer.headers = {OWN_ID_HEADER: own_id, **answer.headers}
        return answer, is_live
    raise first
