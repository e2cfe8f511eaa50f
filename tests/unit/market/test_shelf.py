"""How few offers a request looks at: those of sellers that it does not take are never walked."""

from dataclasses import replace
from itertools import chain

import pytest

from market.routing.ranking import Ask, Drop, Offer, OfferState
from market.routing.shelf import Shelf
from serving.models.prices import Price, Tokens
from serving.models.terms import Tiers

TOKENS = Tokens(1_000, 1_000)
DEAR = Offer("dear", "m", "approved", Price(20, 20))
CHEAP = Offer("cheap", "m", "approved", Price(10, 10))


def make_strangers(count: int) -> list[Offer]:
    return [
        Offer(f"{number:05d}", "m", "0xs", Price(1, number % 7), is_trusted=False)
        for number in range(count)
    ]


def look(shelf: Shelf, ask: Ask) -> tuple[str | None, list[str]]:
    """Return what is selected, and what was looked at for it."""
    seen: list[str] = []

    def get_state(offer: Offer) -> OfferState:
        seen.append(offer.offer_id)
        return OfferState()

    found = shelf.select(get_state, ask)
    return None if found is None else found.offer.offer_id, seen


def test_select__thousands_of_cheaper_strangers__are_not_looked_at() -> None:
    shelf = Shelf([DEAR, *make_strangers(5_000), CHEAP])

    approved = look(shelf, Ask("m", TOKENS, TOKENS, trusted_only=True))
    anybody = look(shelf, Ask("m", TOKENS, TOKENS))

    assert approved == ("cheap", ["cheap"])
    assert anybody == ("00000", ["00000"])


def test_list_open__approved_only__counts_the_others_without_naming_them() -> None:
    resting = Offer("rests", "m", "0xs", Price(1, 1), is_active=False, is_trusted=False)
    shelf = Shelf([DEAR, resting, *make_strangers(3)])
    approved = Ask("m", TOKENS, TOKENS, trusted_only=True)
    anybody = Ask("m", TOKENS, TOKENS)

    assert list(shelf.list_open(approved)) == [DEAR]
    assert shelf.count_closed(approved) == {Drop.UNTRUSTED: 3, Drop.INACTIVE: 1}
    assert len(list(shelf.list_open(anybody))) == 5
    assert not shelf.count_closed(anybody)


@pytest.mark.parametrize("longer", [(), ((1, Price(2, 2)),)])
def test_put__seller_is_approved_or_refused__moves_its_offer(longer: Tiers) -> None:
    waits = Offer("o", "m", "0xs", Price(1, 1), longer=longer, is_trusted=False)
    approved = replace(waits, is_trusted=True)
    ask = Ask("m", TOKENS, TOKENS, trusted_only=True)
    shelf = Shelf([waits, DEAR])

    told = []
    for offer in (approved, waits):
        shelf.put(offer)
        told.append((look(shelf, ask)[0], len(shelf), list(shelf.trusted), shelf.get("o")))

    assert told == [("o", 2, [DEAR, approved], approved), ("dear", 2, [DEAR], waits)]
    assert sum(shelf.count_closed(ask).values()) == 1


def test_iterate__both_kinds__are_in_one_order_of_prices() -> None:
    kinds = chain.from_iterable(
        (
            Offer(f"{number}a", "m", "s", Price(number, 1)),
            Offer(f"{number}b", "m", "s", Price(number, 1), is_trusted=False),
        )
        for number in range(5)
    )

    told = [offer.offer_id for offer in Shelf(kinds).iterate(TOKENS)]

    assert told == [f"{number}{kind}" for number in range(5) for kind in "ab"]
