"""What a stream of Anthropic's messages has delivered, where it passes as it came. Pure."""

from typing import Any, Final

import orjson

from serving.dialects.encoding import Served, write_named
from serving.dialects.messages_errors import build_messages_error
from serving.models.counting import Counted, Sent
from serving.models.provider_answers import find_failure
from serving.models.provider_json import read_for_clients, write_provider_json
from serving.models.sold import COST_FIELD
from serving.models.stating import build_split_usage, says_what_is_charged
from serving.models.weight import Weight, count_bytes, weigh_blocks
from serving.stream.sse import DONE, build_event, read_data
from serving.stream.tally import Move, ShownTally

_TEXTS: Final = ("text", "thinking", "partial_json")
"""Fields of a piece that hold generated text."""
_SEALS: Final = frozenset({"signature_delta"})
_END: Final = "message_stop"


class MessagesTally(ShownTally):
    """Reads the streams of messages. The events that say the end are kept until it is charged."""

    def __init__(self, sent: Sent, served: Served) -> None:
        super().__init__(sent)
        self._served = served
        self._last: dict[str, Any] = {}
        """The last ``message_delta``, which says why the message ended."""

    @property
    def is_finished(self) -> bool:
        delta = self._last.get("delta")
        return isinstance(delta, dict) and bool(delta.get("stop_reason"))

    def read(self, event: bytes) -> tuple[Move, bytes]:
        data = read_data(event)
        if data is None:
            return Move.COMMENT, event
        if data.startswith(DONE):
            return Move.DONE, event
        try:
            parsed, readable = read_for_clients(data)
        except ValueError:
            return (Move.FAILED if data.lstrip().startswith(b"{") else Move.DROP), event
        kind = parsed.get("type") if isinstance(parsed, dict) else None
        if not isinstance(kind, str):
            return Move.DROP, event
        failure = find_failure(parsed)
        if failure is not None:
            self._shown.failure = failure
            return Move.FAILED, event
        if kind == "ping":
            return Move.COMMENT, event
        if kind == _END:
            return Move.DONE, event
        if readable is not data:
            event = write_named(kind, parsed)
        return self._read_typed(kind, parsed, event)

    def _read_typed(self, kind: str, parsed: dict[str, Any], event: bytes) -> tuple[Move, bytes]:
        shown = self._shown
        before = shown.weight
        match kind:
            case "message_start":
                message = parsed.get("message")
                if isinstance(message, dict):
                    shown.note_model(message.get("model"))
                    usage = message.get("usage")
                    shown.note_usage(usage)
                    if isinstance(usage, dict) and COST_FIELD in usage:
                        # Only a market's own last word says a cost.
                        told = {**message, "usage": _without_cost(usage)}
                        event = write_named(kind, {**parsed, "message": told})
                return Move.COMMENT, event
            case "content_block_start":
                began = weigh_blocks([parsed.get("content_block")])
                self._add(began)
                if not began.extent:
                    return Move.COMMENT, event  # an empty block says nothing yet
            case "content_block_delta":
                self._add(_weigh_piece(parsed.get("delta")))
            case "message_delta":
                shown.note_usage(parsed.get("usage"), may_say_cost=True)
                self._last = {**self._last, **parsed}
        if shown.is_over(is_finished=self.is_finished):
            shown.weight = before  # the event is not delivered
            return Move.OVER, event
        return (Move.DROP if kind == "message_delta" else Move.PASS), event

    def _add(self, weight: Weight) -> None:
        before = self._shown.weight
        self._shown.weight = Weight(before.text + weight.text, before.extent + weight.extent)

    def build_end(
        self,
        counted: Counted,
        *,
        charge: dict[str, int],
        asks_for_usage: bool,  # noqa: ARG002 - every message ends with its usage
        is_whole: bool,
    ) -> bytes:
        """Return the events that end the message, with the usage that is charged.

        Of a broken message the error's event says all.
        """
        if not is_whole:
            return b""
        usage: dict[str, Any] = build_split_usage(counted)
        words = _without_cost(self._shown.usage)
        if says_what_is_charged(words, counted, self._shown.sent, self._shown.weight):
            usage |= words
        last = {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            **self._last,
            "usage": usage | charge,
        }
        data = write_provider_json(last)
        return b"event: message_delta\n" + build_event(data) + write_named(_END, {"type": _END})

    def build_error(self, body: bytes) -> bytes:
        error = orjson.loads(body)["error"]
        data = build_messages_error(error, request_id=self._served.request_id)
        return write_named("error", data)

    def build_ping(self) -> bytes | None:
        return write_named("ping", {"type": "ping"})


def _weigh_piece(delta: Any) -> Weight:
    if not isinstance(delta, dict) or delta.get("type") in _SEALS:
        return Weight(0, 0)
    texts = (delta.get(name) for name in _TEXTS)
    size = sum(count_bytes(text) for text in texts if isinstance(text, str))
    known = size or not delta.keys() - {"type", *_TEXTS}
    return Weight(size, size if known else len(write_provider_json(delta)))


def _without_cost(usage: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in usage.items() if name != COST_FIELD}
