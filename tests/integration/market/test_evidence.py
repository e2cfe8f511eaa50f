"""The lab through the whole market: an honest offer, a swapped one, and what everybody is shown.

probe
├── an offer that answers as the reference does: clean
├── another model behind the same name: doubted by one method, asked after all others
├── by a second method: convicted, suspended, with transcripts for its seller alone
├── … and its buyer has back what it sold, as credit; the seller sees it gone
├── the day's root has every probe; a changed one does not lead to it
└── let back by the operator: nothing of before counts; a spent budget: refused
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.units import format_usdc, utc_day
from ledger.database.engine import read, write
from ledger.selling.evidence import EvidenceRow, hash_transcript, load_day, save_evidence
from ledger.spending.receipts import build_proof, is_proof_valid
from market.background import gather_earnings, refund_convicted
from market.evidence import prober
from market.evidence.prober import ProbeRefused, ProbeWish, probe_offer
from market.evidence.verdicts import Method
from market.operator import list_convictions, resume_offer
from tests.support.answering_models import build_model
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import OUTSIDER, RunningMarket, bearer, make_settings, run_market

SECRET = b"the lab's own secret of this test"


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market where earnings of grade D vest."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, vesting_s=3_600), engine) as running:
        yield running
    engine.dispose()


async def probe(market: RunningMarket, key: str, offer: str, reference: str, method: Method) -> str:
    url = str(market.client.base_url).rstrip("/")
    wish = ProbeWish(url, key, offer, reference, method, templates=8)
    said = await asyncio.to_thread(probe_offer, market.engine, wish, secret=SECRET)
    await market.front.app.state.services.book.refresh()
    return said


async def test_probe__honest_and_swapped__through_the_whole_market(market: RunningMarket) -> None:
    key = await market.get_buyer_key()
    seller, outsider = await market.get_key(), await market.get_key(OUTSIDER)
    honest, swapped = build_model(prefers_last=False), build_model(prefers_last=True)
    async with (
        FakeEndpoint(build=honest) as maker,
        FakeEndpoint(build=honest) as same,
        FakeEndpoint(build=swapped) as other,
    ):
        reference = (await market.list_offer(seller, maker.url, price_input_per_1m=9))["id"]
        good = (await market.list_offer(seller, same.url, price_input_per_1m=8))["id"]
        bad = (await market.list_offer(outsider, other.url, price_input_per_1m=1))["id"]
        cheapest = await market.chat(key)
        assert cheapest.headers["x-market-offer"] == bad

        assert "is clean" in await probe(market, key, good, reference, Method.BORDER)
        for _ in range(2):
            said = await probe(market, key, bad, reference, Method.BORDER)
            if "is doubted" in said:
                break
        assert "is doubted" in said
        assert (await market.chat(key)).headers["x-market-offer"] != bad, "others go first"
        only = await market.chat(key, routing={"only": [f"offer:{bad}"]})
        assert only.status_code == 200
        for _ in range(2):
            said = await probe(market, key, bad, reference, Method.FIRST_TOKEN)
            if "is convicted" in said:
                break
        assert "is convicted" in said

        path = f"/v1/seller/offers/{bad}"
        shown = (await market.client.get(path, headers=bearer(outsider))).json()
        assert "another model answers" in shown["suspended_for"]
        only = await market.chat(key, routing={"only": [f"offer:{bad}"]})
        assert only.status_code == 503

        told = (await market.client.get(f"/v1/models/{MODEL}/evidence")).json()
        verdicts = {one["offer_id"]: one["verdict"] for one in told["offers"]}
        assert verdicts == {reference: "untested", good: "clean", bad: "convicted"}
        methods = next(one["methods"] for one in told["offers"] if one["offer_id"] == bad)
        assert {one["method"] for one in methods} == {"border", "first_token"}
        assert all(one["wealth"] >= told["convicts_at"] for one in methods)

        own = await market.client.get(f"{path}/evidence", headers=bearer(outsider))
        answers = json.loads(own.json()["evidence"][0]["transcript"])[0]
        assert answers["offer"] and answers["reference"] and answers["question"]
        hidden = await market.client.get(f"{path}/evidence", headers=bearer(seller))
        assert hidden.status_code == 404

        await check_refund(market, key, outsider, bad)
        await check_day(market)
        await check_way_back(market, key, bad, reference)


async def check_refund(market: RunningMarket, key: str, seller: str, offer: str) -> None:
    """Check that the buyer gets all back that a convicted offer sold, and its seller nothing."""
    sold = [one for one in market.sales() if one["offer_id"] == offer and one["cost_usdc"]]
    before = await market.account(key)
    shown = await get_earnings(market, seller)
    assert shown["totals"]["refunded_usdc"] == sum(one["earning_usdc"] for one in sold) > 0
    database = market.front.app.state.services.database

    assert await refund_convicted(database) == len(sold)
    assert await refund_convicted(database) == 0

    after = await market.account(key)
    cost_usdc = sum(one["cost_usdc"] for one in sold)
    assert after["credited_usdc"] - before["credited_usdc"] == cost_usdc
    assert {one["payout_state"] for one in shown["earnings"]} == {"refunded"}
    assert await gather_earnings(database, 1) == [], "all else is not vested"
    assert market.sales()
    (line,) = list_convictions(market.engine)
    assert f"{format_usdc(cost_usdc)} USDC refunded to 1 buyers" in line


async def get_earnings(market: RunningMarket, seller: str) -> dict[str, Any]:
    answer = await market.client.get("/v1/seller/earnings", headers=bearer(seller))
    shown: dict[str, Any] = answer.json()
    return shown


async def check_day(market: RunningMarket) -> None:
    """Check that the day's root has every probe as it is."""
    today = datetime.now(UTC).date().isoformat()
    day = (await market.client.get(f"/v1/evidence/{today}")).json()
    leaves = [bytes.fromhex(one["leaf"][2:]) for one in day["entries"]]
    root = bytes.fromhex(day["root"][2:])
    assert (3 <= len(leaves) <= 5, day["is_over"]) == (True, False)
    for place, leaf in enumerate(leaves):
        assert is_proof_valid(leaf, build_proof(leaves, place), root)
    with read(market.engine) as connection:
        rows = load_day(connection, utc_day(int(datetime.now(UTC).timestamp())))
    assert [row.leaf() for row in rows] == leaves
    assert (await market.client.get("/v1/evidence/1999-01-01")).json()["root"] is None
    assert (await market.client.get("/v1/evidence/today")).status_code == 400


async def test_evidence__pages__approved_sellers_first_and_all_of_each_offer(
    tmp_path: Path,
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, trusted_only=True)
    async with FakeEndpoint() as endpoint, run_market(settings, engine) as market:
        outsider = await market.get_key(OUTSIDER, is_approved=False)
        cheap = {"price_input_per_1m": 1, "price_output_per_1m": 1}
        strange = [await market.list_offer(outsider, endpoint.url, **cheap) for _ in range(2)]
        good = await market.list_offer(await market.get_key(), endpoint.url)
        now_s = market.front.app.state.services.database.now_s()
        with write(engine) as connection:
            for number, (offer, peak_milli) in enumerate(((good, 9_000), (good, 2_000))):
                row = EvidenceRow(
                    evidence_id=f"e{number}",
                    offer_id=offer["id"],
                    offer_version=1,
                    model=MODEL,
                    method="border",
                    day=utc_day(now_s),
                    made_at_s=now_s + number,
                    observed="{}",
                    transcript=f"{number}",
                    transcript_hash=hash_transcript(f"{number}"),
                    cost_usdc=0,
                    looks=12 + number,
                    peak_milli=peak_milli,
                )
                save_evidence(connection, row)
        path = f"/v1/models/{MODEL}/evidence?limit=2"
        first = (await market.client.get(path)).json()
        rest = (await market.client.get(f"{path}&cursor={first['next_cursor']}")).json()
        wrong = await market.client.get(f"{path}&cursor=nothing")
    engine.dispose()

    shown = [offer["offer_id"] for offer in first["offers"] + rest["offers"]]
    assert shown == [good["id"], *sorted(offer["id"] for offer in strange)]
    assert rest["next_cursor"] is None
    assert first["offers"][0]["methods"] == [
        {
            "method": "border",
            "probes": 2,
            "looks": 13,
            "wealth": 9.0,
            "last_at": now_s + 1,
            "transcript_hashes": [hash_transcript("1"), hash_transcript("0")],
        }
    ]
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_cursor")


async def check_way_back(market: RunningMarket, key: str, offer: str, reference: str) -> None:
    """Check that the operator lets an offer back, and that its budget ends."""
    assert "lets" in resume_offer(market.engine, offer)
    await market.front.app.state.services.book.refresh()
    assert (await market.chat(key)).headers["x-market-offer"] == offer
    told = (await market.client.get(f"/v1/models/{MODEL}/evidence")).json()
    counted = {one["offer_id"]: one["verdict"] for one in told["offers"]}
    # What was found in the second of the new start may still count.
    assert counted[offer] in ("untested", "doubted", "watched", "clean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prober, "FLOOR_USDC", 0)
        with pytest.raises(ProbeRefused, match="have cost"):
            await probe(market, key, offer, reference, Method.BORDER)
