"""What a probe makes of answers, and what it pays for them at most.

ask
├── an answer of any shape, or none: missing, never an error
├── the price that was planned goes along; the purse ends the asking, not the plan's arithmetic
├── no answer came: it counts as paid; a refusal that says no cost does not
└── the key is refused: nothing more is asked
run
└── one answer raises: the others of the probe count all the same
record
└── half a surrogate pair in an answer: written as a replacement
"""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from ledger.database.engine import read, write
from ledger.selling.accounts import save_seller
from ledger.selling.evidence import load_of_offer
from ledger.selling.offers import save_offer
from ledger.selling.sealed_keys import SealedKey
from market.evidence.prober import build_ask
from market.evidence.recording import ProbedOffer, record, write_rounds
from market.evidence.runner import Purse, Told, run_probe
from market.evidence.schedule import bound_answer
from market.evidence.two_samples import AnswerBlock
from market.evidence.verdicts import Method
from serving.models.prices import Price
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.offers import SELLER, make_offer

PRICE = Price(1_000_000, 2_000_000, per_request_usdc=3)
FAR_USDC = 1_000_000_000
COST = {"x-market-cost-usdc": "7", "x-request-id": "r"}


def ask_all(
    answers: list[httpx.Response | Exception], purse: Purse
) -> tuple[list[Told | None], list[dict[str, Any]]]:
    """Ask as often as there are answers; return what was told and the requests that came."""
    came: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[len(came)]
        came.append(orjson.loads(request.content))
        if isinstance(found, Exception):
            raise found
        return found

    async def run() -> list[Told | None]:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://market") as client:
            ask = build_ask(client, {"only": ["offer:o"]}, PRICE, purse)
            return [await ask({"model": "m"}) for _ in answers]

    return asyncio.run(run()), came


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":"hi"}]}',
        b'{"choices":[]}',
        b'{"choices":{"a":1}}',
        b'{"choices":[{"message":{"content":[1]}}]}',
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
    ids=range(9),
)
def test_ask__an_answer_that_nobody_can_read__is_missing_and_paid(body: bytes) -> None:
    purse = Purse(FAR_USDC)

    told, _ = ask_all([httpx.Response(200, content=body, headers=COST)], purse)

    assert told == [None]
    assert purse.spent_usdc == 7


def test_ask__an_answer_without_text__is_one() -> None:
    body = {"choices": [{"message": {"content": None}}]}

    told, _ = ask_all([httpx.Response(200, json=body, headers=COST)], Purse(FAR_USDC))

    assert told == [Told("", "r", 7)]


def test_ask__the_planned_price__goes_along() -> None:
    _, came = ask_all([httpx.Response(503)], Purse(FAR_USDC))

    assert came[0]["routing"] == {
        "only": ["offer:o"],
        "max_price_input_per_1m": "1.000000",
        "max_price_output_per_1m": "2.000000",
        "max_price_per_request": "0.000003",
    }


def test_ask__the_purse__is_never_overdrawn() -> None:
    most_usdc = bound_answer(PRICE)
    dear = {"x-market-cost-usdc": str(most_usdc)}
    purse = Purse(2 * most_usdc + most_usdc - 1)

    _, came = ask_all([httpx.Response(200, headers=dear) for _ in range(4)], purse)

    assert len(came) == 2
    assert purse.spent_usdc == 2 * most_usdc


def test_ask__nobody_answered__counts_as_paid_and_a_refusal_does_not() -> None:
    purse = Purse(FAR_USDC)

    told, _ = ask_all([httpx.ReadTimeout("late"), httpx.Response(502)], purse)

    assert told == [None, None]
    assert purse.spent_usdc == bound_answer(PRICE)


@pytest.mark.parametrize("status", [401, 402])
def test_ask__the_key_is_refused__asks_nothing_more(status: int) -> None:
    purse = Purse(FAR_USDC)

    _, came = ask_all([httpx.Response(status), httpx.Response(200)], purse)

    assert len(came) == 1
    assert purse.refusal is not None and str(status) in purse.refusal
    assert purse.spent_usdc == 0


def test_run__one_answer_raises__the_others_count() -> None:
    asked = 0

    async def ask_badly(_: dict[str, Any]) -> Told:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise AttributeError("of one answer")
        return Told("oak", "r", 1)

    async def ask_well(_: dict[str, Any]) -> Told:
        return Told("oak", "r", 1)

    probe = asyncio.run(
        run_probe(
            ask_badly,
            ask_well,
            secret=b"s",
            model="m",
            method=Method.BORDER,
            random=Random(1),
            templates=1,
            rounds=1,
        )
    )

    ((block,),) = probe.rounds
    assert (len(block.offer), len(block.reference)) == (3, 4)


def test_record__half_a_surrogate_pair__is_written_as_a_replacement(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    offer = ProbedOffer("o", 0, "m", SELLER)
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        save_offer(connection, make_offer(), SealedKey(b"c", b"w", "kms"), now_s=NOW_S)
        record(
            connection,
            offer,
            Method.BORDER,
            observed=write_rounds([[AnswerBlock("t", ("oak",), ("oak",))]]),
            transcript=({"question": "?", "offer": [["r", "\ud800"]]},),
            cost_usdc=1,
            now_s=NOW_S,
        )
    with read(engine) as connection:
        (row,) = load_of_offer(connection, offer_id="o")
    engine.dispose()

    assert orjson.loads(row.transcript)[0]["offer"] == [["r", "\ufffd"]]
