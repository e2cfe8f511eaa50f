"""What the wealth of all methods against one offer comes to. Pure.

::

    wealth of a method    ≥ SUSPECTS   watched: probed more often
                          ≥ CONVICTS   it convicts: by itself it lowers the offer's priority
    two methods convict                the offer is suspended, and its sales can be refunded

Only probes convict, which the market asks itself. On live traffic anybody chooses the requests, and
who looks for one that makes an honest server look odd may find it: those methods (``LIVE_METHODS``)
make an offer ``watched`` at most, however large their wealth and however many they are.

Each method has a stake of its own, but for those of live traffic, which share one: the wealth of
each of them counts a third (``count_stake``). A stake reaches ``CONVICTS`` against an honest offer
with a probability of at most 1 / ``CONVICTS`` in a period, a year. ``CONVICTS`` is the number of
stakes times 1,000, so the chance that **any** method convicts one is below 1 in 1,000 a year; that
two do is rarer still. The methods ask different questions, so a fluke of one is none of another.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Method(StrEnum):
    """How evidence is made."""

    FIRST_TOKEN = "first_token"
    """First tokens of short answers at temperature 1, held against a reference's."""
    BORDER = "border"
    """Answers at temperature 0 where models of one kind part, held against a reference's."""
    PROMPT_TOKENS = "prompt_tokens"
    """Reported prompt tokens, by differences."""
    TOOL_CALLS = "tool_calls"
    """Validity of tool calls, held against a reference's: published as quality too."""
    COMPLETION_TOKENS = "completion_tokens"
    """Reported output that no text shows, on live traffic."""
    LOGPROBS = "logprobs"
    """Stated probabilities that are none, on live traffic."""


LIVE_METHODS: Final = frozenset({Method.PROMPT_TOKENS, Method.COMPLETION_TOKENS, Method.LOGPROBS})
"""What live traffic says, a yes or no each time, and nobody pays for. It convicts nobody."""


class OfferVerdict(StrEnum):
    """What is said of an offer in public."""

    UNTESTED = "untested"
    CLEAN = "clean"
    WATCHED = "watched"
    """It is probed earlier."""
    DOUBTED = "doubted"
    """One method convicts it: others go before it."""
    CONVICTED = "convicted"
    """Two methods do: it is suspended."""


SUSPECTS: Final = 20.0
CONVICTS: Final = 1_000.0 * (len(Method) - len(LIVE_METHODS) + 1)


def count_stake(method: Method, peak: float) -> float:
    """Return what a method's largest wealth, of a stake of 1, counts: at least 1."""
    return max(1.0, peak / len(LIVE_METHODS)) if method in LIVE_METHODS else peak


def does_convict(method: Method, peak: float) -> bool:
    """Tell whether a method convicts by its largest wealth: none of live traffic ever does."""
    return method not in LIVE_METHODS and peak >= CONVICTS


def judge(peaks: Mapping[Method, float]) -> OfferVerdict:
    """Return the verdict on an offer by the largest wealth of each method that has looked at it."""
    if not peaks:
        return OfferVerdict.UNTESTED
    convicting = sum(does_convict(method, peak) for method, peak in peaks.items())
    if convicting >= 2:
        return OfferVerdict.CONVICTED
    if convicting:
        return OfferVerdict.DOUBTED
    return OfferVerdict.WATCHED if max(peaks.values()) >= SUSPECTS else OfferVerdict.CLEAN


def find_last_clean(probes: Iterable[tuple[Method, float, int]]) -> int | None:
    """Return when the last clean probe was made, None where there was none.

    ``probes`` are (method, largest wealth of the method so far, when it was made), the oldest
    first. Those of the methods that convict in the end count, or of all probes where none does: a
    swapped model's honest counts say nothing about the model. A probe is clean while none of them
    suspects the offer.
    """
    told = [one for one in probes if one[0] not in LIVE_METHODS]
    convicting = {method for method, peak, _ in told if does_convict(method, peak)}
    peaks: dict[Method, float] = {}
    last_s = None
    for method, peak, made_at_s in told:
        if convicting and method not in convicting:
            continue
        peaks[method] = max(peak, peaks.get(method, 0.0))
        if judge(peaks) is not OfferVerdict.CLEAN:
            break
        last_s = made_at_s
    return last_s
