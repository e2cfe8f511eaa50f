"""What a provider reports of the tokens that a request took, by whatever names it has. Pure.

Two conventions are told apart for cached prompt tokens: OpenAI's, where ``prompt_tokens`` includes
them, and Anthropic's, where they stand apart. Reasoning is a part of the output at most providers,
and stands apart at some. The total, where it is stated, tells which convention holds. Anthropic's
``iterations`` state each run of the model for one answer, of which the report itself may leave some
out, such as the summing up of a long conversation.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

TOKENS_MAX: Final = 2**31
"""A greater number is no count of tokens."""

_PROMPT: Final = (
    "prompt_tokens",
    "input_tokens",
    "promptTokenCount",
    "prompt_token_count",
    "promptTokens",
    "inputTokens",
)
_COMPLETION: Final = (
    "completion_tokens",
    "output_tokens",
    "candidatesTokenCount",
    "candidates_token_count",
    "completionTokens",
    "outputTokens",
)
_TOTAL: Final = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")

_PROMPT_DETAILS: Final = re.compile(r"(prompt|input)_?tokens?_?details", re.IGNORECASE)
_COMPLETION_DETAILS: Final = re.compile(r"(completion|output)_?tokens?_?details", re.IGNORECASE)
_CACHE: Final = re.compile("cache", re.IGNORECASE)
_CACHE_WRITTEN: Final = re.compile("creat|writ", re.IGNORECASE)
_NOT_CACHED: Final = re.compile("creat|writ|miss|uncached|non_?cached", re.IGNORECASE)
_REASONING: Final = re.compile("reasoning|thought|thinking", re.IGNORECASE)

_CACHE_READ: Final = ("cache_read_input_tokens", "cacheReadInputTokens")
"""Names in Anthropic's convention, in which the prompt leaves the cached tokens out. Providers that
count the cached tokens in the prompt use these names too."""

_CACHE_WRITE: Final = ("cache_creation_input_tokens", "cacheCreationInputTokens")
"""Names of the tokens that went into a cache, in the same convention. OpenAI's has none."""

_ANTHROPIC_PROMPT: Final = ("input_tokens", "inputTokens")
"""Names of the prompt in Anthropic's own reports, which state no total."""


_ITERATIONS: Final = "iterations"
"""Each run of the model for one answer, in Anthropic's reports."""


@dataclass(frozen=True, slots=True)
class Report:
    """A provider's count of tokens; None where the provider does not say."""

    prompt: int | None
    """The prompt's tokens, every cached token included."""
    completion: int | None
    """The output's tokens, the stated reasoning included."""
    cached: int = 0
    """The part of ``prompt`` that was read from a cache."""
    apart: int = 0
    """The part of ``cached`` that the provider counts apart from what was sent to it."""
    reasoning: int = 0
    """The part of ``completion`` that need not be shown."""
    unexplained: int = 0
    """Tokens of the total that nothing else explains: reasoning, where it can be."""


def find_usage(holder: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the usage object of an answer, or of a chunk of a stream, wherever it stands."""
    for found in list_usages(holder):
        if isinstance(found, dict) and found:
            return found
    return None


def list_usages(holder: Mapping[str, Any]) -> Iterator[Any]:
    """Yield whatever stands where an answer or chunk may have its usage, of any type."""
    yield holder.get("usage")
    groq = holder.get("x_groq")
    if isinstance(groq, dict):
        yield groq.get("usage")
    choices = holder.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict):
                yield choice.get("usage")
    yield holder.get("usage_metadata")
    yield holder.get("usageMetadata")


def read_report(usage: Any) -> Report | None:
    """Return what a usage object says, or None where it says nothing that makes sense.

    A field that is present and holds no count makes the whole report worthless. An absent field is
    unsaid: a stream may report its prompt first and its output last. Where it states its
    iterations, their sum counts, if it is more.
    """
    if not isinstance(usage, dict):
        return None
    report = _read_one(usage)
    iterations = usage.get(_ITERATIONS)
    if report is None or not iterations or not isinstance(iterations, list):
        return report
    runs = [_read_one(run) for run in iterations if isinstance(run, dict)]
    return merge(report, _add_up([run for run in runs if run is not None]))


def _add_up(runs: Sequence[Report]) -> Report:
    """Return what several runs of a model took together."""
    return Report(
        _sum_said([run.prompt for run in runs]),
        _sum_said([run.completion for run in runs]),
        min(sum(run.cached for run in runs), TOKENS_MAX),
        min(sum(run.apart for run in runs), TOKENS_MAX),
        min(sum(run.reasoning for run in runs), TOKENS_MAX),
        min(sum(run.unexplained for run in runs), TOKENS_MAX),
    )


def _sum_said(counts: Sequence[int | None]) -> int | None:
    said = [count for count in counts if count is not None]
    return min(sum(said), TOKENS_MAX) if said else None


def _read_one(usage: Mapping[str, Any]) -> Report | None:
    prompt_name, prompt = _read_side(usage, _PROMPT)
    completion_name, completion = _read_side(usage, _COMPLETION)
    _, total = _read_side(usage, _TOTAL)
    is_nonsense = (prompt is None and prompt_name is not None) or (
        completion is None and completion_name is not None
    )
    if is_nonsense or (prompt is None and completion is None and total is None):
        return None
    if prompt is None:
        return Report(None, completion, unexplained=0 if total is None else total)
    return _explain(usage, prompt_name, prompt, completion, total)


def has_odd_count(usage: Mapping[str, Any]) -> bool:
    """Tell whether a field that should hold a count of tokens holds something else."""
    return any(
        name in usage and _read_count(usage[name]) is None
        for names in (_PROMPT, _COMPLETION, _TOTAL)
        for name in names
    )


def _explain(
    usage: Mapping[str, Any],
    prompt_name: str | None,
    prompt: int,
    completion: int | None,
    total: int | None,
) -> Report:
    read, written = _read_cache(usage)
    reasoning = _read_reasoning(usage)
    rest = 0 if total is None else max(0, total - prompt - (completion or 0))
    is_anthropic = total is None and prompt_name in _ANTHROPIC_PROMPT
    if _is_apart(usage, read, prompt, is_anthropic=is_anthropic):
        beside: int | None = read + written
    else:
        beside = _match_rest(rest, read, written, reasoning or 0)
    if beside is None:
        apart, cached = 0, min(read, prompt)
    else:
        apart = cached = read
        prompt += beside
        rest = max(0, rest - beside)
    if reasoning is not None:
        # Some providers leave the reasoning that they state out of the output.
        if 0 < reasoning <= rest:
            completion = (completion or 0) + reasoning
        rest = 0
    hidden = min(reasoning or 0, completion or 0)
    return Report(prompt, completion, cached, apart, hidden, rest)


def _is_apart(usage: Mapping[str, Any], read: int, prompt: int, *, is_anthropic: bool) -> bool:
    """Tell whether the names alone say that the prompt leaves the cached tokens out."""
    _, named_read = _read_side(usage, _CACHE_READ)
    _, named_written = _read_side(usage, _CACHE_WRITE)
    if is_anthropic:
        return (named_read is not None and read > 0) or (named_written or 0) > 0
    return max(named_read or 0, named_written or 0) > prompt


def _match_rest(rest: int, read: int, written: int, reasoning: int) -> int | None:
    """Return the tokens of the cache that the total has beyond prompt and output; None if none."""
    if rest == reasoning:
        return None
    for beside in (read + written, read):
        if beside and rest in (beside, beside + reasoning):
            return beside
    return None


def _read_cache(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Return the prompt tokens that were read from a cache, and those written into one.

    A provider may say the same count by several names.
    """
    read = written = 0
    for holder in _list_holders(usage, _PROMPT_DETAILS):
        for name, value in holder.items():
            if _CACHE.search(name) is None:
                continue
            count = _read_count(value) or 0
            if _NOT_CACHED.search(name) is None:
                read = max(read, count)
            elif _CACHE_WRITTEN.search(name) is not None:
                written = max(written, count)
    return read, written


def _read_reasoning(usage: Mapping[str, Any]) -> int | None:
    """Return the reasoning tokens that are stated; None where nothing is stated."""
    counts = [
        count
        for holder in _list_holders(usage, _COMPLETION_DETAILS)
        for name, value in holder.items()
        if _REASONING.search(name) is not None and (count := _read_count(value)) is not None
    ]
    return max(counts, default=None)


def _list_holders(
    usage: Mapping[str, Any], details: re.Pattern[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the report itself, and its details of this kind."""
    yield usage
    for name, value in usage.items():
        if isinstance(value, dict) and details.fullmatch(name) is not None:
            yield value


def merge(known: Report | None, later: Report) -> Report:
    """Return what two reports of one stream say together.

    Counts only grow, so a later report counts where it adds: it never undoes a true earlier count
    with nothing.
    """
    if known is None:
        return later
    prompt = max(known, later, key=_rank_prompt)
    output = max(known, later, key=_rank_output)
    return Report(
        prompt.prompt,
        output.completion,
        prompt.cached,
        prompt.apart,
        output.reasoning,
        output.unexplained,
    )


def _rank_prompt(report: Report) -> tuple[int, int, int]:
    return -1 if report.prompt is None else report.prompt, report.cached, report.apart


def _rank_output(report: Report) -> tuple[int, int, int]:
    said = -1 if report.completion is None else report.completion
    return said, report.unexplained, report.reasoning


def _read_side(usage: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str | None, int | None]:
    """Return the highest count by these names, with its name.

    Some reports hold two conventions' names, of which they fill one. The count is None where no
    name holds a count, and the name then is of a field that holds something else, or None.
    """
    found: tuple[str | None, int | None] = (None, None)
    for name in names:
        if name in usage:
            count = _read_count(usage[name])
            if found[1] is None or (count is not None and count > found[1]):
                found = (name, count)
    return found


def _read_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None
