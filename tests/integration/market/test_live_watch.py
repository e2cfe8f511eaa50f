"""Live traffic through the whole market becomes evidence, and no text of a buyer is kept.

::

    a seller of grade D who reports more tokens than it shows, whole or streamed
    ├── is watched, however many methods see it: nobody is doubted or convicted for live traffic
    ├── by requests that make an honest server look odd: nothing is looked at
    ├── the ledger is slow: what was written all the same is not written twice
    └── what is written down has figures only, for its seller and in public
    an honest one: evidence without a hit; a dispute is not answered by it, a probe not put off
    with a model's vocabulary: prompts are counted; a broken file stops the market
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from sqlalchemy import select

from ledger.database.engine import read
from ledger.errors import LedgerUnavailable
from ledger.selling.convictions import load_open_convictions
from ledger.tables import MarketOffer, table_of
from market.evidence.live_checks import ACCOUNT_LOOKS, KNOWN_LOOKS, LiveBatch, SeenAnswer
from market.evidence.live_watch import LiveWatch, VocabularyBroken, load_vocabularies
from market.evidence.recording import ProbedOffer
from market.evidence.verdicts import Method
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import OUTSIDER, RunningMarket, bearer, make_settings, run_market
from tests.support.waiting import until_it

_offer = table_of(MarketOffer)
SECRET_WORDS = "a buyer's own words that nobody keeps"


def answer_with(content: str, completion: int) -> dict[str, Any]:
    """Return an answer with probabilities that are none, or a server's own."""
    is_odd = completion > len(content) + 64
    top = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.1 if is_odd else -3.0}]
    tokens = [{"token": "a", "logprob": -0.1, "top_logprobs": top}]
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "logprobs": {"content": tokens, "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": completion, "total_tokens": 20},
    }


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, vesting_s=3_600), engine) as running:
        watch = get_watch(running)
        for _ in range(KNOWN_LOOKS):
            watch.checks.note_known(MODEL, SeenAnswer(completion_reported=5, shown_bytes=20))
        yield running
    engine.dispose()


def get_watch(market: RunningMarket) -> LiveWatch:
    watch: LiveWatch = market.front.app.state.services.live_watch
    return watch


async def buy(market: RunningMarket, *, accounts: int, **changes: Any) -> None:
    """Let each of some accounts ask as often as its answers count."""
    words = [{"role": "user", "content": SECRET_WORDS}]
    for number in range(accounts):
        wallet = Account.from_key(f"0x{0x51 + number:064x}")
        key = await market.get_buyer_key(wallet=wallet)
        for _ in range(ACCOUNT_LOOKS):
            answer = await market.chat(key, messages=words, max_tokens=2_000, **changes)
            assert answer.status_code == 200
    await market.settled_sales()


async def load_told(market: RunningMarket, offer_id: str, key: str) -> dict[str, list[Any]]:
    """Return what each method has seen of an offer, as its seller is shown it."""
    path = f"/v1/seller/offers/{offer_id}/evidence"
    shown = (await market.client.get(path, headers=bearer(key))).json()["evidence"]
    assert SECRET_WORDS not in json.dumps(shown)
    told: dict[str, list[Any]] = {}
    for one in shown:
        told.setdefault(one["method"], []).extend(json.loads(one["transcript"])["seen"])
    return told


async def wait_for_told(
    market: RunningMarket, offer_id: str, key: str, *, looks: int
) -> dict[str, list[Any]]:
    """Return that once so many answers are written down: the market does it by itself too."""
    await get_watch(market).write_down()

    async def load() -> dict[str, list[Any]] | None:
        told = await load_told(market, offer_id, key)
        return told if sum(map(len, told.values())) == looks else None

    return await until_it(load, "live evidence") or {}


async def test_inflated__by_two_methods__is_watched_and_goes_on_selling(
    market: RunningMarket,
) -> None:
    text = "Hello. " * 10
    async with FakeEndpoint(build=lambda _, __: answer_with(text, 900)) as endpoint:
        seller = await market.get_key(OUTSIDER)
        offer = (await market.list_offer(seller, endpoint.url))["id"]
        await buy(market, accounts=2)
        told = await wait_for_told(market, offer, seller, looks=16)
        assert told["completion_tokens"] == [{"is_hit": True, "figures": [70, 900]}] * 8
        assert told["logprobs"] == [{"is_hit": True, "figures": []}] * 8
        with read(market.engine) as connection:
            assert load_open_convictions(connection) == []
            assert connection.execute(select(_offer.c.doubted_at_s)).scalar_one() is None
        public = (await market.client.get(f"/v1/models/{MODEL}/evidence")).json()
        assert [one["verdict"] for one in public["offers"]] == ["watched"]
        path = f"/v1/seller/offers/{offer}"
        shown = (await market.client.get(path, headers=bearer(seller))).json()
        assert shown["suspended_for"] is None
        assert (await market.chat(await market.get_buyer_key())).status_code == 200


async def test_requests_that_make_an_honest_server_look_odd__are_no_evidence(
    market: RunningMarket,
) -> None:
    async with FakeEndpoint(build=lambda _, __: answer_with("", 900)) as endpoint:
        seller = await market.get_key(OUTSIDER)
        await market.list_offer(seller, endpoint.url)
        for asked in (
            {"stop": ["Hello"]},
            {"logit_bias": {"1": 100}},
            {"min_tokens": 900, "ignore_eos": True},
            {"logprobs": True, "top_logprobs": 2, "temperature": 1.5},
        ):
            await buy(market, accounts=1, **asked)
    assert get_watch(market).checks.watched == {}


async def test_the_ledger_was_slow__what_was_written_all_the_same__is_not_written_twice(
    market: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, tries = get_watch(market), []
    whole = watch.database.write

    async def write_late(call: Any, **values: Any) -> Any:
        result = await whole(call, **values)
        tries.append(result)
        if len(tries) == 1:
            raise LedgerUnavailable("it took too long to say so")
        return result

    async with FakeEndpoint() as endpoint:
        seller = await market.get_key(OUTSIDER)
        offer = (await market.list_offer(seller, endpoint.url))["id"]
        watch.checks.due = [LiveBatch(offer, Method.LOGPROBS, (True,) * 8, ((),) * 8)]
        watch.offers[offer] = ProbedOffer(offer, 0, MODEL, OUTSIDER.address)
        monkeypatch.setattr(
            watch,
            "database",
            SimpleNamespace(
                write=write_late, now_s=watch.database.now_s, clock=watch.database.clock
            ),
        )
        with pytest.raises(LedgerUnavailable):
            await watch.write_down()
        assert await watch.write_down() == 1
        assert len((await load_told(market, offer, seller))["logprobs"]) == 8


async def test_streamed__honest__is_evidence_without_a_hit(market: RunningMarket) -> None:
    async with FakeEndpoint() as endpoint:
        seller = await market.get_key(OUTSIDER)
        offer = (await market.list_offer(seller, endpoint.url))["id"]
        await buy(market, accounts=2, stream=True)
        (seen,) = (await wait_for_told(market, offer, seller, looks=8)).values()
    assert [one["is_hit"] for one in seen] == [False] * 8


async def test_vocabularies__by_name__and_a_broken_one_is_refused(tmp_path: Path) -> None:
    lines = (b64encode(bytes((value,))) + b" %d" % value for value in range(256))
    (tmp_path / "maker__model.tiktoken").write_bytes(b"\n".join(lines))

    (found,) = load_vocabularies(tmp_path).items()
    assert (found[0], found[1].count("abc")) == ("maker/model", 3)
    (tmp_path / "other.tiktoken").write_text("nothing")
    with pytest.raises(VocabularyBroken, match="other"):
        load_vocabularies(tmp_path)
