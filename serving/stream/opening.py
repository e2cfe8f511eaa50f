"""The tally of a stream, by the endpoint that it came from. Pure."""

from serving.dialects.answered_calls import CallJudge
from serving.dialects.call import Call
from serving.dialects.encoding import Served
from serving.dialects.endpoints import Endpoint
from serving.models.counting import Sent
from serving.stream.messages_tally import MessagesTally
from serving.stream.tally import ChatTally, ResponseTally, Tally


def open_tally(
    call: Call, sent: Sent, judge: CallJudge | None = None, *, served: Served | None = None
) -> Tally:
    """Return what counts the stream that answers a request as it was sent to the provider.

    ``judge`` is told the calls of tools in a chat. ``served`` is what a message says of its
    request.
    """
    if call.endpoint is Endpoint.MESSAGES:
        assert served is not None
        return MessagesTally(sent, served)
    if call.endpoint is Endpoint.RESPONSES:
        return ResponseTally(sent)
    return ChatTally(
        sent,
        is_chat=call.endpoint is Endpoint.CHAT,
        passes_usage=call.asks_for_running_usage,
        judge=judge,
    )
