"""The corpus of what providers say: one case a line of ``tests/corpus/providers/<family>.jsonl``.

Adding a case is adding a line::

    name                what is odd about it
    request             max_tokens (100) and n (1), where they differ
    whole               the whole answer; or
    stream              its events in turn: an object is the JSON of an event, a text is sent as it
                        is, and {"times": 9, "event": …} is an event nine times
    then                how the connection ends: it ``closes`` (the default) or ``dies``
    ends                ``ok`` (the default), ``broken`` (what came is charged, an error ends it),
                        or ``refused`` (nothing is charged, the client gets an error)
    tokens              [prompt, cached prompt, output] to charge for, worked out by hand; a prompt
                        of null is estimated
    charge_usdc         their cost at 1, 0.25 and 2 units (1e-6 USDC) a token; null with the prompt
    market_charge_usdc  their cost at 5, 1.25 and 20 units a token
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "corpus" / "providers"
MAX_TOKENS: Final = 100


@dataclass(frozen=True)
class Case:
    """What a provider says, and what it comes to."""

    family: str
    name: str
    max_tokens: int
    choices: int
    whole: dict[str, Any] | None
    stream: Sequence[Any]
    dies: bool
    ends: str
    prompt: int | None
    cached: int
    output: int
    charge_usdc: int | None
    market_charge_usdc: int | None

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"

    @property
    def events(self) -> list[bytes]:
        """The events of the stream, as bytes."""
        events: list[bytes] = []
        for item in self.stream:
            is_repeated = isinstance(item, dict) and "times" in item
            event, times = (item["event"], item["times"]) if is_repeated else (item, 1)
            is_raw = isinstance(event, str)
            events += [event.encode() if is_raw else b"data: " + _write(event) + b"\n\n"] * times
        return events

    @property
    def request(self) -> dict[str, Any]:
        """The fields of the request that the case depends on."""
        asked: dict[str, Any] = {"max_tokens": self.max_tokens}
        if self.choices > 1:
            asked["n"] = self.choices
        return asked if self.whole is not None else {**asked, "stream": True}


def load_cases(family: str | None = None) -> list[Case]:
    """Return every case, or those of one family."""
    pattern = "*.jsonl" if family is None else f"{family}.jsonl"
    return [
        _read(path.stem, json.loads(line))
        for path in sorted(FOLDER.glob(pattern))
        for line in path.read_text().splitlines()
    ]


def list_families() -> list[str]:
    """Return the names of the families."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def _read(family: str, line: dict[str, Any]) -> Case:
    request = line.get("request", {})
    prompt, cached, output = line["tokens"]
    return Case(
        family=family,
        name=line["name"],
        max_tokens=request.get("max_tokens", MAX_TOKENS),
        choices=request.get("n", 1),
        whole=line.get("whole"),
        stream=line.get("stream", ()),
        dies=line.get("then") == "dies",
        ends=line.get("ends", "ok"),
        prompt=prompt,
        cached=cached,
        output=output,
        charge_usdc=line["charge_usdc"],
        market_charge_usdc=line["market_charge_usdc"],
    )


def _write(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
