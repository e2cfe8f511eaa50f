"""Which offer a request goes to next: the cheapest, the longest proven, or one that rests."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from market.endpoints.health import Standing
from market.errors import model_not_found
from market.routing.book import Book
from market.routing.ranking import Ask, Drop, Ranking, Verdict, assess, rank
from market.routing.refusals import explain_none
from market.routing.shelf import Shelf
from market.routing.tried import Tried
from serving.dialects.policy import Policy
from serving.http.errors import ApiError

PROVEN_TIMES_MAX: Final = 2
"""How many times as dear as the cheapest that is left a proven seller may be: a last attempt is
worth more with a seller that is known to serve, but not at any price."""


class Selection:
    """Chooses among the offers of the book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def rank(self, asks: Sequence[Ask]) -> Ranking:
        """Return the offers of the model before this request, those that it does not take counted
        only. Raises 404 for an unlisted model."""
        ranking = self._rank_open(asks)
        if not asks[0].policy.chooses:
            return ranking
        choose = self._rank_by_choice(asks[0].policy)
        return replace(ranking, ranked=tuple(sorted(ranking.ranked, key=choose)))

    def find(self, asks: Sequence[Ask], tried: Tried) -> Verdict | None:
        """Return the best offer to ask next, or None.

        Offers that refuse what others serve come last: see ``market.routing.refusing``.
        """
        last = self._book.get_last(asks[0].model, asks[0].endpoint)
        for narrowed in tried.narrow(asks, last=last):
            found = self._find_chosen(narrowed)
            if found is not None:
                return found
        return None

    def find_proven(self, asks: Sequence[Ask], tried: Tried) -> Verdict | None:
        """Return the offer of the seller that has served the model longest without a failure.

        The last attempt is for it, trusted sellers before others. It may be at most
        ``PROVEN_TIMES_MAX`` times as dear as the cheapest that is left; the cheapest always is
        within that, so this is None only where no offer may serve.
        """
        if asks[0].policy.chooses:
            return self.find(asks, tried)
        last = self._book.get_last(asks[0].model, asks[0].endpoint)
        for narrowed in tried.narrow(asks, last=last):
            found = [verdict for verdict in self._iterate(narrowed) if verdict.drop is None]
            if found:
                cheapest = min(found, key=_by_cost)
                near = [verdict for verdict in found if _is_near(verdict, cheapest)]
                return min(near, key=self._rank_by_proof)
        return None

    def find_resting(self, asks: Sequence[Ask], tried: Tried) -> Verdict | None:
        """Return the offer whose rest ends first, of those that would serve if they did not rest.

        A buyer with no other seller left is better off with it than with a refusal.
        """
        for narrowed in tried.narrow(asks, last=frozenset()):
            found = [
                verdict
                for verdict in self._iterate(narrowed, only_resting=True)
                if verdict.drop is None
            ]
            if found:
                return min(found, key=lambda one: (self._get_rest_end_s(one), _by_cost(one)))
        return None

    def _iterate(self, asks: Sequence[Ask], *, only_resting: bool = False) -> Iterator[Verdict]:
        """Yield the verdict on each offer; with ``only_resting`` as if those that rest did not."""
        for ask, shelf in self._find_shelves(asks):
            for offer in shelf.list_open(ask):
                state = self._book.get_state(offer)
                if only_resting:
                    if state.standing is not Standing.BACKING_OFF:
                        continue
                    state = replace(state, standing=Standing.ON_TRIAL)
                yield assess(offer, state, ask)

    def _get_rest_end_s(self, verdict: Verdict) -> float:
        place = self._book.get_live(verdict.offer.offer_id).place
        return self._book.health.get_rest_end_s(place)

    def _rank_by_proof(self, verdict: Verdict) -> tuple[bool, int, tuple[int, str]]:
        offer = verdict.offer
        served = self._book.health.count_served(offer.seller, offer.model)
        return (not offer.is_trusted, -served, _by_cost(verdict))

    def _find_chosen(self, asks: Sequence[Ask]) -> Verdict | None:
        """Return the first choice: the cheapest, or what the request's policy puts first."""
        policy = asks[0].policy
        if not policy.chooses:
            return self._find_cheapest(asks)
        able = (verdict for verdict in self._iterate(asks) if verdict.drop is None)
        return min(able, key=self._rank_by_choice(policy), default=None)

    def _rank_by_choice(
        self, policy: Policy
    ) -> Callable[[Verdict], tuple[tuple[int, bool, int], tuple[int, str]]]:
        return lambda one: (self._book.get_place(one.offer, policy), _by_cost(one))

    def _find_cheapest(self, asks: Sequence[Ask]) -> Verdict | None:
        best: Verdict | None = None
        for ask, shelf in self._find_shelves(asks):
            found = shelf.select(self._book.get_state, ask)
            if found is not None and (best is None or _by_cost(found) < _by_cost(best)):
                best = found
        return best

    def explain(self, asks: Sequence[Ask], denied: Drop | None) -> ApiError:
        """Return why no offer was even tried."""
        try:
            ranking = self._rank_open(asks)
        except ApiError as error:
            return error
        return explain_none(ranking, asks[0], denied=denied)

    def _rank_open(self, asks: Sequence[Ask]) -> Ranking:
        rankings = [
            replace(
                rank(shelf.list_open(ask), self._book.get_state, ask),
                unseen=shelf.count_closed(ask),
            )
            for ask, shelf in self._find_shelves(asks)
        ]
        return _join(rankings, asks[0].model)

    def _find_shelves(self, asks: Sequence[Ask]) -> Iterator[tuple[Ask, Shelf]]:
        for ask in asks:
            shelf = self._book.get_shelf(ask.model, ask.base)
            if shelf is not None:
                yield ask, shelf


def _join(rankings: Sequence[Ranking], model: str) -> Ranking:
    """Return one ranking of a request that is priced in several ways. Raises 404 without any."""
    if not rankings:
        raise model_not_found(model)
    if len(rankings) == 1:
        return rankings[0]
    unseen: Counter[Drop] = Counter()
    for ranking in rankings:
        unseen.update(ranking.unseen)
    return Ranking(
        tuple(sorted((v for r in rankings for v in r.ranked), key=_by_cost)),
        tuple(sorted((v for r in rankings for v in r.dropped), key=_by_cost)),
        unseen,
    )


def _is_near(verdict: Verdict, cheapest: Verdict) -> bool:
    """Tell whether an offer is near enough in what it will cost, and in what it may cost."""
    return (
        verdict.worth <= cheapest.worth * PROVEN_TIMES_MAX
        and verdict.ceiling_usdc <= cheapest.ceiling_usdc * PROVEN_TIMES_MAX
    )


def _by_cost(verdict: Verdict) -> tuple[int, str]:
    return verdict.cost_usdc, verdict.offer.offer_id
