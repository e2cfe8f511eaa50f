"""Whether an offer keeps a minimum discount at every length that a prompt may have. Pure.

The discount of a request is estimated for its estimated tokens. An offer, or the reference, may
have other prices for longer prompts, and it is the seller who says how long the prompt was: so an
offer keeps the discount only if it keeps it in every tier that the prompt may reach, each compared
with what as many tokens cost at the reference price.
"""

from collections.abc import Iterator
from typing import Final

from serving.models.prices import Price, Tokens, get_worth
from serving.models.terms import Tiers, find_tier_price

Worths = tuple[int, int]
"""(worth to the buyer, worth at the reference price), both in 1e-12 USDC."""

NOTHING_PROVEN: Final = (0, 0)


def find_worst(
    tiers: Tiers, direct_tiers: Tiers, *, estimate: Tokens, prompt_bound: int, fee_worth: int
) -> Worths:
    """Return the two worths of the request whose discount is the least, of all that may be.

    ``estimate`` stands for all lengths in its own tier; of any other tier within ``prompt_bound``
    its shortest and longest prompt are compared, with the estimated output: between the two the
    discount lies between theirs. ``fee_worth`` (1e-12 USDC) is what the buyer pays beside the
    seller's price. ``NOTHING_PROVEN`` where some length has no reference price, or a free one.
    """
    worst: Worths | None = None
    for prompt in _list_lengths(tiers, direct_tiers, estimate.prompt, prompt_bound):
        tokens = Tokens(prompt, estimate.completion)
        worth = get_worth(tokens, _find(tiers, prompt)) + fee_worth
        direct = get_worth(tokens, _find(direct_tiers, prompt)) if direct_tiers else 0
        if direct == 0:
            return NOTHING_PROVEN
        if worst is None or worth * worst[1] > worst[0] * direct:
            worst = (worth, direct)
    assert worst is not None
    return worst


def _find(tiers: Tiers, prompt_tokens: int) -> Price:
    return find_tier_price(tiers, prompt_tokens)


def _list_lengths(
    tiers: Tiers, direct_tiers: Tiers, estimated: int, prompt_bound: int
) -> Iterator[int]:
    """Yield the estimated length, and both ends of each other tier within the bound."""
    yield estimated
    steps = sorted({above for above, _ in (*tiers, *direct_tiers) if 0 < above < prompt_bound})
    starts = [0, *steps]
    for start, end in zip(starts, [*steps, max(prompt_bound, 1)], strict=True):
        if not start < max(estimated, 1) <= end:
            yield start + 1
            yield end
