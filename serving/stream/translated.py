"""A stream of chat completions, counted as one and told to its client in another dialect. Pure."""

from typing import Any

import orjson

from serving.dialects.answered_calls import CallJudge
from serving.dialects.encoding import Encoder, Spent
from serving.models.counting import Counted, Sent
from serving.stream.tally import ChatTally, Move


class TranslatedTally(ChatTally):
    """Counts exactly what ``ChatTally`` counts: the dialect changes no charge."""

    def __init__(self, sent: Sent, encoder: Encoder, judge: CallJudge | None = None) -> None:
        super().__init__(sent, judge=judge)
        self._encoder = encoder
        self._spent: Spent | None = None

    def read(self, event: bytes) -> tuple[Move, bytes]:
        move, shown = super().read(event)
        # A provider's comment keeps its own client waiting; ours waits by its own dialect's word.
        return move, self._encoder.ping() if move is Move.COMMENT else shown

    def _read_chunk(self, chunk: dict[str, Any], event: bytes) -> tuple[Move, bytes]:
        move, _ = super()._read_chunk(chunk, event)
        if move is not Move.PASS:
            return move, b""
        events = self._encoder.read(chunk)
        return (Move.PASS, events) if events else (Move.DROP, b"")

    def build_end(
        self,
        counted: Counted,
        *,
        charge: dict[str, int],
        asks_for_usage: bool,  # noqa: ARG002 - every stream of these dialects ends with its usage
        is_whole: bool,
    ) -> bytes:
        """Return the events that end the answer; of a broken one, the error's event says all."""
        spent = Spent(counted, charge)
        if is_whole:
            return self._encoder.finish(spent)
        self._spent = spent
        return b""

    def build_error(self, body: bytes) -> bytes:
        return self._encoder.fail(orjson.loads(body)["error"], self._spent)

    def build_ping(self) -> bytes | None:
        return self._encoder.ping()
