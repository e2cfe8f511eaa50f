"""Whether the calls of tools in an answer are ones that its client can carry out. Pure.

A call is valid where it names a function of the request's, and its arguments are a JSON object that
has all the properties which the function's schema requires at its top.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

PIECES_MAX: Final = 10_000
"""Pieces of a stream's calls that are kept to be judged; what is longer is not judged."""


class CallJudge:
    """Judges the calls of one answer, whole or in pieces."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """``body`` is the request, whose tools are known to be well formed."""
        self._required = _list_required(body.get("tools"))
        self._names: dict[tuple[int, int], str] = {}
        self._arguments: dict[tuple[int, int], list[str]] = {}
        self._pieces = 0

    def read(self, choice: int, calls: Any) -> None:
        """Take in the calls of a message, or pieces of them."""
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            index = call.get("index")
            key = (choice, index if type(index) is int else place)
            self._pieces += 1
            if self._pieces > PIECES_MAX:
                return
            name, said = function.get("name"), function.get("arguments")
            if isinstance(name, str) and name:
                self._names.setdefault(key, name)
            kept = self._arguments.setdefault(key, [])
            if isinstance(said, str):
                kept.append(said)

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Take in all the calls of a whole chat completion."""
        choices = answer.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                self.read(place, message.get("tool_calls"))

    def count(self) -> tuple[int, int]:
        """Return how many calls are valid, and how many are not; none where too long to judge."""
        if self._pieces > PIECES_MAX:
            return 0, 0
        verdicts = [
            self._is_valid(self._names.get(key, ""), "".join(said))
            for key, said in self._arguments.items()
        ]
        return sum(verdicts), len(verdicts) - sum(verdicts)

    def _is_valid(self, name: str, arguments: str) -> bool:
        required = self._required.get(name)
        if required is None:
            return False
        try:
            said = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError:
            return False
        return isinstance(said, dict) and required <= said.keys()


def _list_required(tools: Any) -> dict[str, frozenset[str]]:
    """Return the properties that each function of a request requires."""
    found: dict[str, frozenset[str]] = {}
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        schema = function.get("parameters")
        required = schema.get("required") if isinstance(schema, dict) else None
        names = required if isinstance(required, list) else []
        found[function["name"]] = frozenset(name for name in names if isinstance(name, str))
    return found
