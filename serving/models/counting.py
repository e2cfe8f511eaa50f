"""The one meter: how many tokens a request is charged for. Pure.

A provider's report is believed as far as it can be true; what it does not cover is estimated from
the text that was delivered. Every server counts by this module, so servers in one chain that see
the same request, answer and report charge the same tokens.
"""

from dataclasses import dataclass
from typing import Final

from serving.models.bounds import estimate_output_tokens
from serving.models.prices import Tokens
from serving.models.usage import Report
from serving.models.weight import Weight

SLACK_TOKENS: Final = 64
"""Tokens of output that no byte of an answer shows, such as the markers around calls, a choice."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The tokens that a request sends and may get."""

    prompt_estimate: int
    prompt_bound: int
    """The prompt cannot have more, without what a provider kept in its cache from elsewhere."""
    output_bound: int
    """The output limit of all choices together; 0 where the endpoint generates nothing."""
    choices: int = 1
    may_hide: bool = True
    """Whether output that is not shown, such as reasoning, is charged."""
    prompt_paid: int | None = None
    """The most prompt tokens that are charged, where that is fewer than there can be; None: all."""
    cached_bound: int | None = None
    """The most cached tokens that are believed where a provider counts them apart from what was
    sent to it; None: the prompt's bound holds with them."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The text delivered in all, and the text delivered by the provider's last report."""

    weight: Weight
    reported: Weight


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens to charge for."""

    tokens: Tokens
    is_estimated: bool
    """Whether a part is estimated here."""
    is_cut: bool = False
    """Whether the provider reported more than can be true."""
    is_limited: bool = False
    """Whether the provider reported more than is charged, which may be true all the same."""
    reasoning: int = 0
    """The part of the output that need not be shown, as it was reported and believed."""
    sold_usdc: int | None = None
    """What a market states that it charged for these tokens, in 1e-6 USDC."""

    @property
    def is_reported(self) -> bool:
        """Whether the tokens are the provider's own word."""
        return not (self.is_estimated or self.is_cut or self.is_limited)


def count_tokens(sent: Sent, delivered: Delivered, report: Report | None) -> Counted:
    """Return the tokens to charge for: none where nothing was delivered and nothing reported."""
    if report is None:
        if delivered.weight.extent == 0 and sent.output_bound > 0:
            return Counted(Tokens(0, 0), is_estimated=True)
        prompt, output = sent.prompt_estimate, estimate_output_tokens(delivered.weight.text)
        return Counted(
            Tokens(min(prompt, sent.prompt_bound), min(output, sent.output_bound)),
            is_estimated=True,
        )
    output, reasoning, is_cut = _believe_output(sent, delivered.reported, report)
    is_limited = not sent.may_hide and output < (report.completion or 0)
    text_since = delivered.weight.text - delivered.reported.text
    if report.completion is None:
        text_since = delivered.weight.text
    is_estimated = text_since > 0
    if is_estimated:
        output = min(output + estimate_output_tokens(text_since), sent.output_bound)
    reported = _get_prompt(sent, report)
    if reported is None or (reported == 0 and is_estimated):
        # A report that was not the last word may have had no figures yet.
        tokens = Tokens(min(sent.prompt_estimate, sent.prompt_bound), output)
        return Counted(tokens, True, is_cut, is_limited, reasoning)
    apart = report.apart if sent.cached_bound is not None else 0
    prompt = min(reported - apart, sent.prompt_bound) + min(apart, sent.cached_bound or 0)
    is_cut = is_cut or prompt < reported
    if sent.prompt_paid is not None and sent.prompt_paid < prompt:
        prompt, is_limited = sent.prompt_paid, True
    tokens = Tokens(prompt, output, min(report.cached, prompt))
    return Counted(tokens, is_estimated, is_cut, is_limited, reasoning)


def _get_prompt(sent: Sent, report: Report) -> int | None:
    """Return the prompt tokens that are reported; an embedding's may be said by a total alone."""
    if report.prompt is None and report.completion is None and sent.output_bound == 0:
        return report.unexplained
    return report.prompt


def _believe_output(sent: Sent, shown: Weight, report: Report) -> tuple[int, int, bool]:
    """Return (reported output as far as it is charged, reasoning in it, whether it cannot be true).

    A shown text has no more tokens than bytes, but for a slack; reasoning need not be shown, and
    must be stated as such. What only the total has is reasoning where the output limit allows it.
    """
    reported = report.completion or 0
    shown_bound = shown.extent + SLACK_TOKENS * sent.choices
    if not sent.may_hide:
        output = min(reported, shown_bound, sent.output_bound)
        # What is not shown may have been reasoned, up to the limit.
        return output, min(report.reasoning, output), reported > sent.output_bound
    output = min(reported - report.reasoning, shown_bound) + report.reasoning
    is_cut, reasoning = output < reported, report.reasoning
    if report.prompt is not None and reported + report.unexplained <= sent.output_bound:
        output += report.unexplained
        reasoning += report.unexplained
    if output > sent.output_bound:
        return sent.output_bound, min(reasoning, sent.output_bound), True
    return output, reasoning, is_cut


def deliver_whole(weight: Weight) -> Delivered:
    """Return the delivery of a whole answer, whose report covers all of it."""
    return Delivered(weight, weight)
