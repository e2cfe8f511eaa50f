"""Which offer is tried next, and at what price: the last attempt, short credit, and strangers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from ledger.selling import sale_calls
from ledger.selling.sale_records import NewSale, SaleDenial, SaleRefused, Used
from market.endpoints.health import Standing
from market.metrics import Metrics
from market.records.database import Database
from market.records.store import KeyHolder
from market.routing.attempts import Attempts, Callee, Order
from market.routing.book import Book
from market.routing.ranking import Ask, Offer, OfferState
from market.routing.selection import Selection
from market.routing.seller_health import Place, SellerHealth
from market.routing.shelf import Shelf
from market.routing.tried import Tried
from serving.http.errors import RequestRejected
from serving.models.failures import Cause, UpstreamFailure
from serving.models.prices import Price, Tokens
from serving.models.upstream import Access

TOKENS = Tokens(500_000, 500_000)
"""A request that costs as many units as the input price, where the output price is the same."""


def make_offer(name: str, usdc: int, *, is_trusted: bool = True, **changes: Any) -> Offer:
    price = Price(usdc, usdc)
    return Offer(name, "m", f"0x{name}", price, is_trusted=is_trusted, **changes)


def make_ask(**changes: Any) -> Ask:
    return Ask("m", TOKENS, TOKENS, endpoint="chat", **changes)


class FakeBook:
    """The offers of one model, without a ledger; notes whom it was asked about."""

    def __init__(self, *offers: Offer) -> None:
        self.shelf = Shelf(offers)
        self.health = SellerHealth(lambda: 0.0)
        self.looked_at: set[str] = set()
        self.begun: list[str] = []
        self.credit_usdc = 0

    def get_shelf(self, *_: object) -> Shelf:
        return self.shelf

    def get_last(self, *_: object) -> frozenset[str]:
        return frozenset()

    def get_state(self, offer: Offer) -> OfferState:
        self.looked_at.add(offer.offer_id)
        return OfferState(self.health.get_standing(_place(offer)))

    def get_live(self, offer_id: str) -> Any:
        offer = self.shelf.get(offer_id)
        assert offer is not None
        return SimpleNamespace(
            place=_place(offer),
            base_url="",
            payout_address="0x",
            fee_bps=0,
            upstream_model="m",
            supply_offer_id=None,
        )

    async def open_access(self, *_: object) -> Access:
        return Access("https://s.example", "k")

    def fail(self, offer_id: str, cause: Cause, **_: object) -> None:
        self.health.fail(self.get_live(offer_id).place, cause)

    def begin(self, offer_id: str) -> None:
        self.begun.append(offer_id)

    def end(self, _: str, *, well: bool) -> None: ...
    def withdraw(self, _: str) -> None: ...
    def note_used(self, _: Used) -> None: ...
    def note_served(self, *_: object, **__: object) -> None: ...

    def served(self, name: str, times: int) -> None:
        """Note that a seller served so many requests."""
        for _ in range(times):
            self.health.succeed(Place(f"0x{name}", "", "m"))


def _place(offer: Offer) -> Place:
    return Place(offer.seller, offer.origin, offer.model)


def select(book: FakeBook) -> Selection:
    return Selection(cast(Book, book))


def find_proven(book: FakeBook, **changes: Any) -> str | None:
    found = select(book).find_proven([make_ask(**changes)], Tried())
    return None if found is None else found.offer.offer_id


# ------------------------------------------------------------------------------ the last attempt


@pytest.mark.parametrize(
    ("proven_usdc", "chosen"), [(1_100_000, "cheap"), (2_001, "cheap"), (2_000, "proven")]
)
def test_find_proven__much_dearer_than_the_cheapest_left__is_not_chosen(
    proven_usdc: int, chosen: str
) -> None:
    book = FakeBook(make_offer("cheap", 1_000), make_offer("proven", proven_usdc))
    book.served("proven", 100)

    assert find_proven(book) == chosen


def test_find_proven__cheap_estimate_that_may_cost_much__is_not_chosen() -> None:
    longer = ((600_000, Price(900_000, 900_000)),)
    risky = make_offer("risky", 1_000, longer=longer)
    book = FakeBook(make_offer("cheap", 1_000), risky)
    book.served("risky", 100)

    asks = [Ask("m", TOKENS, Tokens(700_000, 500_000))]
    found = select(book).find_proven(asks, Tried())

    assert found is not None
    assert found.offer.offer_id == "cheap"


def test_find_proven__served_another_model__is_not_proven() -> None:
    book = FakeBook(make_offer("cheap", 1_000), make_offer("other", 1_001))
    for _ in range(100):
        book.health.succeed(Place("0xother", "", "n"))

    assert find_proven(book) == "cheap"


def test_find_proven__free_offer__is_the_cheapest_whatever_others_served() -> None:
    book = FakeBook(make_offer("free", 0), make_offer("proven", 1))
    book.served("proven", 100)

    assert find_proven(book) == "free"


# ----------------------------------------------------------------------------------- short credit


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeBook:
    """A book whose sales are reserved against ``credit_usdc``."""
    book = FakeBook()

    def reserve(_: Connection, sale: NewSale, **__: object) -> Used:
        if sale.ceiling_usdc > book.credit_usdc:
            raise SaleRefused(SaleDenial.CREDIT_SPENT, book.credit_usdc)
        return Used(sale.offer_id, 0, 0, 0, book.credit_usdc)

    monkeypatch.setattr(sale_calls, "reserve_sale", reserve)
    return book


async def run(book: FakeBook, *, attempts_max: int) -> list[str]:
    """Return the sellers that a request is sent to; all but those called ``ok…`` fail."""
    asked = []

    async def write(function: Any) -> Any:
        return function(cast(Connection, None))

    async def persist(_: Any) -> None: ...

    async def attempt(callee: Callee) -> str:
        del callee
        offer_id = book.begun[-1]
        asked.append(offer_id)
        if not offer_id.startswith("ok"):
            raise UpstreamFailure(Cause.SERVER)
        return offer_id

    database = SimpleNamespace(
        write=write,
        persist=persist,
        now_s=lambda: 0,
        clock=SimpleNamespace(check_known=lambda: None),
        holder_id="h",
    )
    tries = Attempts(
        cast(Database, database), cast(Book, book), Metrics(), attempts_max=attempts_max, lease_s=1
    )
    await tries.run(Order(KeyHolder("k", "a"), "chat", [make_ask()], "r"), attempt)
    return asked


async def test_run__credit_covers_the_cheapest_left_but_not_the_proven__is_sent_there(
    ledger: FakeBook,
) -> None:
    for offer in (make_offer("bad", 1), make_offer("ok", 1_000), make_offer("ok-proven", 1_500)):
        ledger.shelf.put(offer)
    ledger.served("ok-proven", 100)

    ledger.credit_usdc = 1_200
    assert await run(ledger, attempts_max=2) == ["bad", "ok"]
    ledger.health.succeed(Place("0xbad", "", "m"))
    ledger.credit_usdc = 1_500
    assert await run(ledger, attempts_max=2) == ["bad", "ok-proven"]


async def test_run__cheapest_may_cost_more_than_the_credit__another_is_sent_the_request(
    ledger: FakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first is cheaper by the estimate, and dearer by what a prompt within the bound may cost.
    longer = ((600_000, Price(9_000, 9_000)),)
    ledger.shelf.put(make_offer("ok-risky", 1_000, longer=longer))
    ledger.shelf.put(make_offer("ok-flat", 1_100))
    ledger.shelf.put(make_offer("ok-dear", 1_200))
    ledger.credit_usdc = 2_000
    ask = Ask("m", TOKENS, Tokens(700_000, 500_000), endpoint="chat")
    monkeypatch.setattr(f"{__name__}.make_ask", lambda: ask)

    assert await run(ledger, attempts_max=2) == ["ok-flat"]


async def test_run__no_seller_within_the_credit__is_402_with_the_least_that_lacks(
    ledger: FakeBook,
) -> None:
    for offer in (make_offer("ok-1", 1_000), make_offer("ok-2", 1_500)):
        ledger.shelf.put(offer)
    ledger.credit_usdc = 999

    with pytest.raises(RequestRejected) as refused:
        await run(ledger, attempts_max=4)

    assert refused.value.code == "credit_spent"
    assert refused.value.beside == {"required_usdc": 1_000, "available_usdc": 999}


# -------------------------------------------------------------------------------------- strangers


def test_find__thousands_of_strangers__none_is_looked_at_where_only_approved_ones_serve() -> None:
    strangers = [make_offer(f"s{number}", 1, is_trusted=False) for number in range(2_000)]
    resting, busy = make_offer("rests", 10), make_offer("busy", 20, concurrency_max=0)
    book = FakeBook(*strangers, resting, busy)
    book.fail("rests", Cause.SERVER)
    selection, asks = select(book), [make_ask(trusted_only=True)]
    assert book.get_state(resting).standing is Standing.BACKING_OFF

    assert selection.find(asks, Tried()) is None
    assert selection.find_proven(asks, Tried()) is None
    assert selection.find_resting(asks, Tried()) is not None
    told = selection.explain(asks, None)

    assert book.looked_at == {"rests", "busy"}
    assert told.code == "sellers_busy"
    assert told.beside == {"dropped": {"untrusted": 2_000, "backing_off": 1, "busy": 1}}
