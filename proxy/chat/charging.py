"""What a request is charged: by the proxy's own meter, or what the market charged.

Where the model's price is what a market states (``/v1/prices``), the buyer pays what the market
says that it charged, to the unit: the market knows which seller served. The market is believed as
far as it can be true. It never charges more than the counted tokens cost at the price that it
stated, without a cache and in the dearest tier within reach, and never more than was reserved.
"""

from dataclasses import replace

from proxy.chat.model_choice import ModelOption
from serving.models.counting import Counted, Sent, count_tokens, deliver_whole
from serving.models.prices import Tokens, get_charge_usdc
from serving.models.provider_answers import Holder, weigh_answer
from serving.models.sold import Sale
from serving.models.upstream import ProviderAnswer
from serving.models.usage import find_usage, read_report


def buys_at_market(offer: ModelOption) -> bool:
    """Tell whether an offer's price is what upstream states that it charges."""
    return offer.terms.source == "upstream"


def count_completion(completion: ProviderAnswer, sent: Sent, holder: Holder) -> Counted:
    """Return the tokens of a whole answer, and what a market states that they cost."""
    delivered = deliver_whole(weigh_answer(completion.parsed, holder))
    counted = count_tokens(sent, delivered, read_report(find_usage(completion.parsed)))
    return replace(counted, sold_usdc=completion.sold_usdc)


def get_cost_usdc(offer: ModelOption, counted: Counted) -> int:
    """Return what to charge for the counted tokens (1e-6 USDC), at most the offer's ceiling."""
    tokens = counted.tokens
    own_usdc = get_charge_usdc(tokens, offer.get_price(tokens), ceiling_usdc=offer.ceiling_usdc)
    if counted.sold_usdc is None or not buys_at_market(offer):
        return own_usdc
    return min(counted.sold_usdc, get_bound_usdc(offer, tokens))


def get_bound_usdc(offer: ModelOption, tokens: Tokens) -> int:
    """Return the most that a market can have charged for these tokens (1e-6 USDC)."""
    uncached = Tokens(tokens.prompt, tokens.completion)
    return get_charge_usdc(uncached, offer.price, ceiling_usdc=offer.ceiling_usdc)


def count_sale(sale: Sale, sent: Sent) -> Counted:
    """Return the tokens of a market's record, as far as the request allows them.

    The record is of a stream that this server did not read to its end, so what the market delivered
    meanwhile is bounded by the request alone.
    """
    tokens = Tokens(
        min(sale.prompt_tokens, sent.prompt_bound),
        min(sale.completion_tokens, sent.output_bound),
    )
    is_cut = tokens.prompt < sale.prompt_tokens or tokens.completion < sale.completion_tokens
    counted = Counted(tokens, is_estimated=False, is_cut=is_cut)
    return replace(counted, sold_usdc=sale.cost_usdc)
