"""What using a model costs, by prompt length, hour and date, and how much it can take. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from serving.models.prices import Price

Tiers = tuple[tuple[int, Price], ...]
"""(more than this many prompt tokens, price), ascending; the first is for any prompt."""

Source = Literal["upstream", "operator", "genai-prices"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a source says of one model."""

    tiers: Tiers
    """Empty for a model that is not sold by tokens."""
    source: Source
    context_tokens: int | None = None
    image_tokens: int | None = None
    """The most tokens that one image takes; None: images cannot be priced."""
    stated_at_s: int | None = None
    """When the source said so, in Unix seconds, if it tells."""
    prices_output: bool = True
    """False where the source states no price of output: the model is an embedding."""
    date: str = field(default="", compare=False)
    """The date of the file, or the release of the data set, for people."""
    usdc_per_unit: Mapping[str, int] = field(default_factory=dict)
    """Prices of media in 1e-6 USDC, by the name of their unit."""
    valid_until_s: int | None = field(default=None, compare=False)
    """When another price begins (Unix seconds), for prices by hours and dates."""

    @property
    def price(self) -> Price | None:
        """The price of a short prompt, which lists show; None where it is not sold by tokens."""
        return self.tiers[0][1] if self.tiers else None

    def get_age_s(self, now_s: int) -> int | None:
        """Return how long ago the source said so, in seconds, if it tells."""
        return None if self.stated_at_s is None else max(0, now_s - self.stated_at_s)

    def get_price(self, prompt_tokens: int) -> Price:
        """Return the price of a request whose prompt has ``prompt_tokens``, all tokens of it."""
        return find_tier_price(self.tiers, prompt_tokens)

    def get_bound_price(self, prompt_bound: int) -> Price:
        """Return a price that no prompt of up to ``prompt_bound`` tokens exceeds."""
        return find_bound_price(self.tiers, prompt_bound)


def find_tier_price(tiers: Tiers, prompt_tokens: int) -> Price:
    """Return the price of a request whose prompt has ``prompt_tokens``, all tokens of it."""
    found = tiers[0][1]
    for above, price in tiers[1:]:
        if prompt_tokens <= above:
            break
        found = price
    return found


def find_bound_price(tiers: Tiers, prompt_bound: int) -> Price:
    """Return a price that no prompt of up to ``prompt_bound`` tokens exceeds.

    A longer prompt may fall into a cheaper tier, so the dearest tier within reach counts. Of
    several tiers the cached price is not part of it: a ceiling does not count on a cache.
    """
    reached = [price for above, price in tiers if above == 0 or prompt_bound > above]
    if len(reached) == 1:
        return reached[0]
    return Price(
        max(price.input_usdc_per_mtok for price in reached),
        max(price.output_usdc_per_mtok for price in reached),
        per_request_usdc=max(price.per_request_usdc for price in reached),
    )
