"""What probes may spend, as the ledger keeps it, and what a look does where something is wrong.

booked ── before anything is asked → counts; left by a process that died → counts for 30 days
       ── ended with less          → only what was lost counts; ended twice → once
others ── the seller's own account pays for nothing that a dispute is worth
disputes ── of one day are bounded together
look ── a probe fails → it rests, the next offer has its turn; what was paid counts
     ── live traffic makes an offer suspect → it is due earlier
     ── the key is refused → no offer rests
     ── another process probes it → it does not rest
by hand ── the ledger is away for a moment → what was bought is written down
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import pytest
from sqlalchemy import Connection, Engine

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.database.engine import read, write
from ledger.errors import LedgerUnavailable
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key, save_seller
from ledger.selling.disputes import WaitingOffer, ask_retest, load_waiting
from ledger.selling.evidence import load_of_offer, sum_probe_costs
from ledger.selling.offers import save_offer
from ledger.selling.probe_turns import (
    ProbeTurn,
    book_cost,
    end_turn,
    sum_disputed,
    sum_paid_by_others,
    take_turn,
)
from ledger.selling.sale_records import NewSale, SaleFigures
from ledger.selling.sales import post_sale, reserve_sale
from ledger.selling.sealed_keys import SealedKey
from market.evidence import own_probes, prober
from market.evidence.own_probes import OwnProbes
from market.evidence.prober import MONTH_S, ProbeRefused, ProbeWish, probe_offer
from market.evidence.recording import ProbedOffer, record, write_differences, write_rounds
from market.evidence.runner import OfferProbe, Purse
from market.evidence.schedule import METHODS, ProbeRules
from market.evidence.two_samples import AnswerBlock
from market.evidence.verdicts import Method
from market.routing.ranking import Offer
from serving.models.grades import Grade
from serving.models.prices import Price
from tests.support.ledgers import BOTH, NOW_S, Databases, make_ledger
from tests.support.offers import SELLER, make_offer

T = TypeVar("T")
PRICE: Final = Price(1_000_000, 1_000_000)
ANSWERED: Final = OfferProbe(((AnswerBlock("t", ("oak",), ("oak",)),),), ({"question": "?"},), 0)
NOBODY: Final = OfferProbe((), (), 0)
OFFERS: Final = ("a", "b")


def fill(engine: Engine) -> None:
    """A seller of two offers, who buys too, and another buyer."""
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        for offer_id in OFFERS:
            offer = make_offer(offer_id=offer_id)
            save_offer(connection, offer, SealedKey(b"c", b"w", "kms"), now_s=NOW_S)
        for buyer, wallet in (("own", SELLER), ("ann", "0x" + "aa" * 20)):
            save_account(connection, account_id=buyer, kind="prepaid", wallet=wallet, now_s=NOW_S)
            save_key(connection, NewKey(buyer, buyer, "buyer", buyer, "", None), now_s=NOW_S)
            add_credit(
                connection,
                credit_id=f"paid in by {buyer}",
                account_id=buyer,
                amount_usdc=10_000_000,
                source="test",
                now_s=NOW_S,
            )


def sell(engine: Engine, name: str, cost_usdc: int, *, buyer: str, offer: str = "a") -> None:
    terms = (SELLER, SELLER, "chat/completions", "m", 1, 1, 500, cost_usdc)
    sale = NewSale(name, 0, buyer, buyer, offer, 0, *terms)
    with write(engine) as connection:
        reserve_sale(connection, sale, now_s=NOW_S, lease_expires_at_s=NOW_S + 900)
    fee_usdc = cost_usdc // 20
    figures = SaleFigures(1, 1, cost_usdc, cost_usdc - fee_usdc, fee_usdc, 0, 1, 1)
    with write(engine) as connection:
        post_sale(connection, sale.sale_id, figures, now_s=NOW_S)


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        engine = databases.open_ledger()
        fill(engine)
        yield engine


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    fill(engine)
    yield engine
    engine.dispose()


def book(engine: Engine, cost_usdc: int, *, at_s: int = NOW_S, **more: Any) -> ProbeTurn:
    with write(engine) as connection:
        turn = take_turn(connection, offer_id="a", now_s=at_s, until_s=at_s + 100)
        assert turn is not None
        since_s = at_s - MONTH_S
        return book_cost(connection, turn, cost_usdc=cost_usdc, now_s=at_s, since_s=since_s, **more)


def end(engine: Engine, turn: ProbeTurn, lost_usdc: int, *, at_s: int = NOW_S + 1) -> bool:
    with write(engine) as connection:
        return end_turn(connection, turn, now_s=at_s, lost_usdc=lost_usdc)


def count_spent(engine: Engine, offer: str = "a", *, at_s: int = NOW_S) -> int:
    with read(engine) as connection:
        return sum_probe_costs(connection, offer_id=offer, since_s=at_s - MONTH_S)[0]


def test_booked__counts__until_it_is_lowered_once(engine: Engine) -> None:
    turn = book(engine, 1_000)
    assert count_spent(engine) == 1_000

    assert end(engine, turn, 300)
    assert not end(engine, turn, 0), "the turn is over: nothing is put back twice"
    assert count_spent(engine) == 300

    again = book(engine, 1_000, at_s=NOW_S + 10)
    assert count_spent(engine) == 1_300
    assert end(engine, again, 0, at_s=NOW_S + 11)
    assert count_spent(engine) == 300


def test_booked__by_a_process_that_died__counts_for_30_days(engine: Engine) -> None:
    dead = book(engine, 1_000)
    later_s = NOW_S + 200
    turn = book(engine, 500, at_s=later_s)

    assert not end(engine, dead, 0), "another process has the turn by now"
    assert count_spent(engine) == 1_500
    end(engine, turn, 0, at_s=later_s + 1)
    assert count_spent(engine, at_s=NOW_S + MONTH_S) == 1_000
    assert count_spent(engine, at_s=NOW_S + MONTH_S + 1) == 0
    end(engine, book(engine, 7, at_s=NOW_S + 2 * MONTH_S), 7, at_s=NOW_S + 2 * MONTH_S)
    assert count_spent(engine, at_s=NOW_S + 2 * MONTH_S) == 7, "what is older is forgotten"


def test_disputed__of_one_day__is_summed(engine: Engine) -> None:
    end(engine, book(engine, 100, is_disputed=True), 0)
    end(engine, book(engine, 1_000, at_s=NOW_S + 5), 0, at_s=NOW_S + 6)
    end(engine, book(engine, 20, at_s=NOW_S + 9, is_disputed=True), 0, at_s=NOW_S + 10)

    with read(engine) as connection:
        assert sum_disputed(connection, day=utc_day(NOW_S)) == 120
        assert sum_disputed(connection, day=utc_day(NOW_S) + 1) == 0


def test_paid_by_others__without_the_sellers_own_account(engine: Engine) -> None:
    sell(engine, "own", 500, buyer="own")
    sell(engine, "other", 40, buyer="ann")
    sell(engine, "elsewhere", 7, buyer="ann", offer="b")

    with read(engine) as connection:
        assert sum_paid_by_others(connection, offer_id="a", since_s=NOW_S) == 40


def test_waiting__a_retest__is_no_buyers_doubt(engine: Engine) -> None:
    with write(engine) as connection:
        ask_retest(
            connection,
            dispute_id="d",
            offer_id="a",
            model="m",
            seller=SELLER,
            reason="",
            now_s=NOW_S,
        )
        waiting = load_waiting(connection, now_s=NOW_S)

    assert (waiting["a"].since_s, waiting["a"].is_doubted) == (NOW_S, False)


class PlainDatabase:
    """The ledger for a look, without a writer of its own."""

    clock = SimpleNamespace(may_sweep=True)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def now_s(self) -> int:
        return NOW_S

    async def read(self, query: Callable[[Connection], T]) -> T:
        with read(self.engine) as connection:
            return query(connection)

    async def write(self, call: Callable[[Connection], T]) -> T:
        with write(self.engine) as connection:
            return call(connection)

    persist = write


def make_duty(engine: Engine, folder: Path, **rules: Any) -> OwnProbes:
    """Return a duty for two offers of grade D that have sold enough, beside one of grade A."""
    keys = folder / "keys"
    keys.write_text("key")
    shown = [
        Offer(name, "m", "0xs", PRICE, grade=grade)
        for name, grade in (("a", Grade.OTHER), ("b", Grade.OTHER), ("top", Grade.MAKER))
    ]
    book: Any = SimpleNamespace(
        shelves={"m": {"": shown}},
        get_state=lambda _: SimpleNamespace(total_used_usdc=10**9),
    )
    values = {"budget_bps": 100, "dispute_usdc": 0, "disputes_day_usdc": 0, **rules}
    database: Any = PlainDatabase(engine)
    return OwnProbes(database, book, ProbeRules(keys, templates=1, **values), "http://m", b"s")


def answer_with(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, OfferProbe | Exception], **purse: Any
) -> None:
    """Have probes cost 100, and come to these."""

    async def ask(wish: ProbeWish, _: str, __: bytes, found: Purse) -> OfferProbe:
        found.spent_usdc = 100
        for name, value in purse.items():
            setattr(found, name, value)
        answer = answers[wish.offer_id]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(own_probes, "ask_all", ask)
    monkeypatch.setattr(prober, "ask_all", ask)


@pytest.mark.parametrize("failure", [AttributeError("one answer"), NOBODY], ids=["raises", "none"])
def test_look__a_probe_fails__it_rests_and_the_next_has_its_turn(
    sqlite: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: OfferProbe | Exception,
) -> None:
    for name in OFFERS:
        sell(sqlite, name, 1_000_000, buyer="ann", offer=name)
    duty = make_duty(sqlite, tmp_path)
    answer_with(monkeypatch, {"a": failure, "b": ANSWERED})

    assert asyncio.run(duty.look()) == "b"

    assert list(duty.broke_until_s) == ["a False"]
    assert (count_spent(sqlite, "a"), count_spent(sqlite, "b")) == (100, 100)
    assert asyncio.run(duty.look()) is None


def test_look__live_traffic_makes_one_suspect__it_is_probed_before_its_day_is_over(
    sqlite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_s = NOW_S - 2 * SECONDS_PER_DAY // 5

    def note(name: str, method: Method, observed: str, at_s: int) -> None:
        with write(sqlite) as connection:
            offer = ProbedOffer(name, 0, "m", SELLER)
            told: dict[str, Any] = {"transcript": [], "cost_usdc": 0, "now_s": at_s}
            record(connection, offer, method, observed=observed, **told)

    for name in OFFERS:
        sell(sqlite, name, 1_000_000, buyer="ann", offer=name)
        for method in METHODS:
            note(name, method, write_rounds(ANSWERED.rounds), last_s)
        note(name, Method.LOGPROBS, write_differences([name == "b"] * 8), last_s + 1)
    duty = make_duty(sqlite, tmp_path)
    answer_with(monkeypatch, dict.fromkeys(OFFERS, ANSWERED))

    assert asyncio.run(duty.look()) == "b"


def test_look__the_key_is_refused__no_offer_rests(
    sqlite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(sqlite, "s", 1_000_000, buyer="ann")
    duty = make_duty(sqlite, tmp_path)
    answer_with(monkeypatch, {"a": NOBODY, "b": ANSWERED}, refusal="402", spent_usdc=0)

    assert asyncio.run(duty.look()) is None

    assert duty.broke_until_s == {}
    assert count_spent(sqlite) == 0


def test_look__another_process_probes_it__it_does_not_rest(
    sqlite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(sqlite, "s", 1_000_000, buyer="ann")
    turn = book(sqlite, 0)
    duty = make_duty(sqlite, tmp_path)
    answer_with(monkeypatch, {"a": ANSWERED})

    assert asyncio.run(duty.look()) is None
    end(sqlite, turn, 0, at_s=NOW_S)
    assert asyncio.run(duty.look()) == "a"


@pytest.mark.parametrize(
    ("day_usdc", "buyer", "probed"),
    [(10_000, "ann", "a"), (10_000, "own", None), (1_000, "ann", None)],
    ids=["others paid", "the seller paid", "the day is spent"],
)
def test_look__a_dispute__pays_within_what_others_paid_and_the_day(
    sqlite: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    day_usdc: int,
    buyer: str,
    probed: str | None,
) -> None:
    sell(sqlite, "s", 5_000, buyer=buyer)
    duty = make_duty(sqlite, tmp_path, dispute_usdc=100_000, disputes_day_usdc=day_usdc)
    doubt = WaitingOffer(NOW_S, is_doubted=True)
    monkeypatch.setattr(own_probes, "load_waiting", lambda *_, **__: {"a": doubt})
    answer_with(monkeypatch, {"a": ANSWERED})

    assert asyncio.run(duty.look()) == probed


def test_by_hand__the_ledger_is_away__what_was_bought_is_written_down(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = ProbeWish("http://m", "key", "a", None, Method.BORDER)
    answer_with(monkeypatch, {"a": ANSWERED})
    whole, tries = record, []

    def record_late(*args: Any, **values: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise LedgerUnavailable("away")
        return whole(*args, **values)

    monkeypatch.setattr(prober, "record", record_late)
    monkeypatch.setattr(prober, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))

    assert "is clean" in probe_offer(sqlite, wish, secret=b"s")

    with read(sqlite) as connection:
        (row,) = load_of_offer(connection, offer_id="a")
    assert row.cost_usdc == 100


def test_by_hand__nobody_answers__what_was_paid_counts(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = ProbeWish("http://m", "key", "a", None, Method.BORDER)
    answer_with(monkeypatch, {"a": NOBODY})

    with pytest.raises(ProbeRefused, match="nothing is written"):
        probe_offer(sqlite, wish, secret=b"s")

    with read(sqlite) as connection:
        assert sum_probe_costs(connection, offer_id="a", since_s=0)[0] == 100
