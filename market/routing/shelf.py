"""The offers of one model in the order of their prices, kept so that few are looked at."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import heappop, heappush, merge
from itertools import chain

from market.routing.ranking import Ask, Drop, GetState, Offer, Verdict, assess, get_price_rank
from market.routing.sessions import Session
from serving.models.prices import Tokens, get_worth


class Row:
    """Offers by price: the cheapest for any mix of tokens is found at once.

    Offers of one price pair stand together. The pairs are kept in two orders, by input price and by
    output price; walked side by side, no pair that was not met yet can be cheaper than both walks'
    next prices together. So only as many are looked at as it takes to know the cheapest. The pairs
    are those of short prompts; where a longer one has another price at some offer, or a request has
    a fee, all are sorted.
    """

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._pairs: dict[tuple[int, int], list[str]] = {}
        self._by_input: list[tuple[int, int]] = []
        self._by_output: list[tuple[int, int]] = []
        self._starts: Counter[int] = Counter()
        """Where the second tiers of the offers begin that have some; at -1 what has a fee."""
        self.active_count = 0
        """Offers that are active."""

    def __len__(self) -> int:
        return len(self._offers)

    def __contains__(self, offer: object) -> bool:
        return isinstance(offer, Offer) and offer.offer_id in self._offers

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def get(self, offer_id: str) -> Offer | None:
        """Return an offer, or None where it is not here."""
        return self._offers.get(offer_id)

    def put(self, offer: Offer) -> None:
        """Add an offer, in place of the one with its id."""
        self.remove(offer.offer_id)
        self._offers[offer.offer_id] = offer
        self.active_count += offer.is_active
        start = _get_start(offer)
        if start is not None:
            self._starts[start] += 1
        pair = _pair_of(offer)
        if pair not in self._pairs:
            self._pairs[pair] = []
            insort(self._by_input, pair)
            insort(self._by_output, (pair[1], pair[0]))
        insort(self._pairs[pair], offer.offer_id)

    def remove(self, offer_id: str) -> None:
        """Take an offer away. Idempotent."""
        offer = self._offers.pop(offer_id, None)
        if offer is None:
            return
        self.active_count -= offer.is_active
        start = _get_start(offer)
        if start is not None:
            self._starts[start] -= 1
            if not self._starts[start]:
                del self._starts[start]
        pair = _pair_of(offer)
        ids = self._pairs[pair]
        del ids[bisect_left(ids, offer_id)]
        if not ids:
            del self._pairs[pair]
            del self._by_input[bisect_left(self._by_input, pair)]
            del self._by_output[bisect_left(self._by_output, (pair[1], pair[0]))]

    def iterate(self, tokens: Tokens) -> Iterator[Offer]:
        """Yield all offers, the cheapest for ``tokens`` first, in the order of ``rank``."""
        if self._starts and tokens.prompt > min(self._starts):
            yield from sorted(self, key=lambda offer: _rank_of(offer, tokens))
            return
        for pair in self._iterate_pairs(tokens):
            for offer_id in self._pairs[pair]:
                yield self._offers[offer_id]

    def _iterate_pairs(self, tokens: Tokens) -> Iterator[tuple[int, int]]:
        met: list[tuple[int, tuple[int, int]]] = []
        seen: set[tuple[int, int]] = set()
        for by_input, (output, input_) in zip(self._by_input, self._by_output, strict=True):
            # Every offer not visited yet is at least as dear as this one in both prices.
            least = tokens.prompt * by_input[0] + tokens.completion * output
            while met and met[0][0] < least:
                yield heappop(met)[1]
            for pair in (by_input, (input_, output)):
                if pair not in seen:
                    seen.add(pair)
                    worth = tokens.prompt * pair[0] + tokens.completion * pair[1]
                    heappush(met, (worth, pair))
        while met:
            yield heappop(met)[1]


class Shelf:
    """The offers of one model, those of approved sellers in a row of their own.

    Anybody may list, so there may be any number of the others: a request that takes approved
    sellers only looks at none of them. A request that takes both has the two rows merged.
    """

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._trusted, self._others = Row(), Row()
        for offer in offers:
            self.put(offer)

    def __len__(self) -> int:
        return len(self._trusted) + len(self._others)

    def __contains__(self, offer: object) -> bool:
        return offer in self._trusted or offer in self._others

    def __iter__(self) -> Iterator[Offer]:
        return chain(self._trusted, self._others)

    @property
    def trusted(self) -> Row:
        """The offers of approved sellers."""
        return self._trusted

    @property
    def others(self) -> Row:
        """The offers of sellers who are not approved."""
        return self._others

    def get(self, offer_id: str) -> Offer | None:
        """Return an offer, or None where it is not here."""
        return self._trusted.get(offer_id) or self._others.get(offer_id)

    def put(self, offer: Offer) -> None:
        """Add an offer, in place of the one with its id."""
        self.remove(offer.offer_id)
        (self._trusted if offer.is_trusted else self._others).put(offer)

    def remove(self, offer_id: str) -> None:
        """Take an offer away. Idempotent."""
        self._trusted.remove(offer_id)
        self._others.remove(offer_id)

    def list_open(self, ask: Ask) -> Iterator[Offer]:
        """Yield the offers whose sellers a request takes, approved or not, in no order."""
        return iter(self._trusted if ask.trusted_only else self)

    def count_closed(self, ask: Ask) -> Mapping[Drop, int]:
        """Return how many offers ``list_open`` leaves out, by why they do not serve."""
        if not ask.trusted_only:
            return {}
        active = self._others.active_count
        return {Drop.INACTIVE: len(self._others) - active, Drop.UNTRUSTED: active}

    def iterate(self, tokens: Tokens, *, trusted_only: bool = False) -> Iterator[Offer]:
        """Yield the offers, the cheapest for ``tokens`` first, in the order of ``rank``."""
        if trusted_only or not self._others:
            return self._trusted.iterate(tokens)
        return merge(
            self._trusted.iterate(tokens),
            self._others.iterate(tokens),
            key=lambda offer: _rank_of(offer, tokens),
        )

    def select(self, get_state: GetState, ask: Ask) -> Verdict | None:
        """Return the best offer for a request, or None where none may serve it."""
        offers = self.iterate(ask.estimate, trusted_only=ask.trusted_only)
        for offer in offers:
            verdict = assess(offer, get_state(offer), ask)
            if verdict.drop is None:
                if ask.session is None:
                    return verdict
                return _select_near(verdict, offers, get_state, ask, ask.session)
        return None


def _select_near(
    cheapest: Verdict, dearer: Iterator[Offer], get_state: GetState, ask: Ask, session: Session
) -> Verdict:
    """Return the verdict whose seller has the session, of those near to the cheapest."""
    limit, best = get_worth(ask.estimate, cheapest.price), cheapest
    weights = {cheapest.offer.seller: session.weigh(cheapest.offer.seller)}
    for offer in dearer:
        worth = get_worth(ask.estimate, offer.get_price(ask.estimate.prompt))
        if not session.is_near(worth, cheapest=limit):
            break
        if offer.seller not in weights:
            weights[offer.seller] = session.weigh(offer.seller)
        if weights[offer.seller] > weights[best.offer.seller]:
            verdict = assess(offer, get_state(offer), ask)
            best = best if verdict.drop is not None else replace(verdict, stays=True)
    return best


def _pair_of(offer: Offer) -> tuple[int, int]:
    return (offer.price.input_usdc_per_mtok, offer.price.output_usdc_per_mtok)


def _rank_of(offer: Offer, tokens: Tokens) -> tuple[int, int, int, str]:
    return (*get_price_rank(tokens, offer.get_price(tokens.prompt)), offer.offer_id)


def _get_start(offer: Offer) -> int | None:
    """Return above how many prompt tokens an offer's pair of prices does not tell its place."""
    if offer.price.per_request_usdc:
        return -1
    return offer.longer[0][0] if offer.longer else None
