"""Videos and music: jobs that outlive their requests, and sellers that lie about them.

::

    submit ── reserved; answered with where to ask; once for an idempotency key and threshold
    follow ── completed: charged by the seconds reported within those asked for; artifact relayed
           ├─ failed, lost, nonsense, never ends, artifact where it must not be: not charged
           └─ the market restarted, or killed while submitting: goes on, or gives back
    cancel ── by key or job token, not by others; after the end nothing changes
    min{N} ── at submission only; URLs keep the segment
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.tables import MarketArtifact, MarketJob, MarketSale, table_of
from market.settings import MarketSettings
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_ledger
from tests.support.market import (
    OUTSIDER,
    PRICES,
    PUBLIC_URL,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
)
from tests.support.media import CLIP, MEDIA_PRICES, MUSIC_MODEL, VIDEO_MODEL, complete
from tests.support.waiting import until, until_it

SUBMISSION = {"model": VIDEO_MODEL, "prompt": "a cat that walks", "seconds": "8"}
SUBMIT = "/v1/video/generations"

_job = table_of(MarketJob)


def make_job_settings(folder: Path, **changes: Any) -> MarketSettings:
    """Return settings of a market that asks often."""
    (folder / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    return make_settings(
        folder,
        **{
            "job_poll_interval_s": 1,
            "job_look_interval_s": 0.05,
            "sweep_interval_s": 0.1,
            **changes,
        },
    )


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_job_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def studio() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as studio:
        yield studio


async def list_video(market: RunningMarket, studio: FakeEndpoint, **changes: Any) -> dict[str, Any]:
    """List an offer of videos at 0.1 US dollars a second, half the reference price."""
    offer = {
        "price_input_per_1m": ...,
        "price_output_per_1m": ...,
        "model": VIDEO_MODEL,
        "unit": "second",
        "price_per_unit": "0.1",
        **changes,
    }
    return await market.list_offer(await market.get_key(), studio.url, **offer)


async def wait_for(market: RunningMarket, path: str, headers: Any, *states: str) -> dict[str, Any]:
    """Poll as a buyer does until the job is in one of the states."""

    async def look() -> dict[str, Any] | None:
        answer = await market.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job if job["status"] in states else None

    return await until_it(look, f"the job is {' or '.join(states)}") or {}


def make_due(market: RunningMarket, **changes: Any) -> None:
    """Have every job be looked at now, or put its clock forward."""
    with write(market.engine) as connection:
        connection.execute(update(_job).values(**{"next_poll_at_s": 0, **changes}))


async def test_job__completed__is_charged_by_its_seconds_and_handed_out(
    databases: Databases, tmp_path: Path, studio: FakeEndpoint
) -> None:
    async with run_market(make_job_settings(tmp_path), databases.open_ledger()) as market:
        offer = await list_video(market, studio, upstream_model="their-video")
        headers = bearer(await market.get_buyer_key())

        submitted = await market.client.post(SUBMIT, json=SUBMISSION, headers=headers)

        assert submitted.status_code == 202, submitted.text
        job = submitted.json()
        assert job["status"] == "queued"
        assert job["poll_url"] == job["cancel_url"] == f"{PUBLIC_URL}{SUBMIT}/{job['id']}"
        assert job["reserved_usdc"] == 800_000
        assert submitted.headers["x-market-offer"] == offer["id"]
        assert studio.requests[0]["model"] == "their-video"
        path = f"{SUBMIT}/{job['id']}"
        await wait_for(market, path, headers, "in_progress")
        (sale,) = market.sales()
        assert sale["state"] == "reserved"
        assert sale["lease_expires_at_s"] >= job["expires_at"], "it stands until the deadline"

        complete(studio)
        done = await wait_for(market, path, bearer(job["job_token"]), "completed")

        assert (done["cost_usdc"], done["reserved_usdc"]) == (400_000, 0)
        assert done["usage"] == {"base": "second", "quantity": 4}
        (sale,) = market.sales()
        assert (sale["state"], sale["earning_usdc"], sale["fee_usdc"]) == (
            "posted",
            380_000,
            20_000,
        )
        artifact = await market.client.get(done["data"][0]["url"].removeprefix(PUBLIC_URL))
        assert (artifact.status_code, artifact.content) == (200, CLIP)
        assert studio.url.rpartition("/")[0] not in artifact.text + str(done)
        cancelled = await market.client.delete(path, headers=headers)
        assert cancelled.json()["status"] == "completed", "what has ended stays"
        with write(market.engine) as connection:
            connection.execute(update(table_of(MarketArtifact)).values(expires_at_s=1))
        gone = await market.client.get(done["data"][0]["url"].removeprefix(PUBLIC_URL))
        assert gone.status_code == 404


@pytest.mark.parametrize(
    ("news", "seconds"),
    [
        ({"usage": {"seconds": 10**5}}, 8),
        ({"usage": None}, 8),
        ({"usage": {"seconds": 0}}, 0),
        ({"usage": {}, "seconds": "2.5"}, 3),
    ],
)
async def test_job__seller_lies_of_its_length__is_charged_within_what_was_asked(
    market: RunningMarket, studio: FakeEndpoint, news: Any, seconds: int
) -> None:
    await list_video(market, studio)
    headers = bearer(await market.get_buyer_key())
    complete(studio, **news)
    job = (await market.client.post(SUBMIT, json=SUBMISSION, headers=headers)).json()
    make_due(market)
    done = await wait_for(market, f"{SUBMIT}/{job['id']}", headers, "completed")

    assert done["cost_usdc"] == seconds * 100_000


@pytest.mark.parametrize(
    ("news", "code"),
    [
        (
            {"status": "failed", "error": "at http://127.0.0.1 with sk-secret-12345"},
            "seller_failed",
        ),
        ({"status": "cancelled"}, "seller_failed"),
        ({"status": "completed", "data": [{"url": "http://10.0.0.1/x"}]}, "artifact_refused"),
        ({"status": "completed", "data": [{"url": "file:///etc/passwd"}]}, "artifact_refused"),
        ({"status": "completed", "data": [{"url": "http://169.254.169.254/"}]}, "artifact_refused"),
        ({"status": "completed", "data": []}, "seller_lost_it"),
        ({"status": "it is fine"}, "seller_lost_it"),
        ({"status": 7}, "seller_lost_it"),
    ],
)
@pytest.mark.sampled(2)
async def test_job__seller_fails_or_talks_nonsense__is_not_charged(
    market: RunningMarket, studio: FakeEndpoint, news: Any, code: str
) -> None:
    await list_video(market, studio)
    key = await market.get_buyer_key()
    job = (await market.client.post(SUBMIT, json=SUBMISSION, headers=bearer(key))).json()
    studio.news = news
    path = f"{SUBMIT}/{job['id']}"

    async def look_again() -> dict[str, Any] | None:
        with contextlib.suppress(AssertionError):
            make_due(market)
        ended: dict[str, Any] = (await market.client.get(path, headers=bearer(key))).json()
        return ended if ended["status"] == "failed" else None

    ended = await until_it(look_again, "the job failed") or {}
    assert ended["error"]["code"] == code
    assert "secret" not in str(ended)
    assert ended["cost_usdc"] is None
    (sale,) = market.sales()
    assert (sale["state"], sale["is_seller_failure"]) == ("voided", True)
    account = await market.account(key)
    assert (account["spent_usdc"], account["reserved_usdc"]) == (0, 0)
    assert (await market.client.get("/metrics")).text.count('health="backing_off"} 1.0') == 1


async def test_job__that_never_ends__expires_at_its_deadline(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_video(market, studio)
    headers = bearer(await market.get_buyer_key())
    job = (await market.client.post(SUBMIT, json=SUBMISSION, headers=headers)).json()
    path = f"{SUBMIT}/{job['id']}"
    await wait_for(market, path, headers, "in_progress")
    make_due(market, deadline_s=int(time.time()) - 1)
    ended = await wait_for(market, path, headers, "expired")

    assert ended["error"]["code"] == "deadline_passed"
    (sale,) = market.sales()
    assert sale["state"] == "voided"


async def test_submit__again_with_the_same_key__is_the_same_job_for_each_threshold(
    databases: Databases, tmp_path: Path, studio: FakeEndpoint
) -> None:
    async with run_market(make_job_settings(tmp_path), databases.open_ledger()) as market:
        await list_video(market, studio)
        key = await market.get_buyer_key()
        headers = {**bearer(key), "idempotency-key": "one"}

        async def submit(path: str = SUBMIT, **changes: Any) -> Any:
            body = {**SUBMISSION, **changes}
            return await market.client.post(path, json=body, headers=headers)

        at_once = await asyncio.gather(*(submit() for _ in range(6)))
        again = await submit()
        other = await submit(seconds="4")
        below = await submit("/min50" + SUBMIT)
        below_again = await submit("/min50" + SUBMIT)
        too_dear = await submit("/min51" + SUBMIT)

        assert {answer.status_code for answer in at_once} <= {202, 409}
        ids = {answer.json()["id"] for answer in (*at_once, again) if answer.status_code == 202}
        assert len(ids) == 1
        assert again.json()["job_token"] == next(
            answer.json()["job_token"] for answer in at_once if answer.status_code == 202
        )
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
        assert below.status_code == 202
        assert below.json()["id"] not in ids
        assert below_again.json()["id"] == below.json()["id"]
        assert below.json()["poll_url"] == f"{PUBLIC_URL}/min50{SUBMIT}/{below.json()['id']}"
        assert too_dear.json()["error"]["code"] == "minimum_discount_not_met"
        assert len(studio.requests) == 2
        assert (await market.account(key))["reserved_usdc"] == 2 * 800_000
        polled = await market.client.get(
            f"/min50{SUBMIT}/{below.json()['id']}", headers=bearer(key)
        )
        assert polled.json()["cancel_url"] == below.json()["cancel_url"]
        odd = await market.client.get(f"/min050{SUBMIT}/{below.json()['id']}", headers=bearer(key))
        assert odd.json()["error"]["code"] == "invalid_minimum_discount"


async def test_cancel__by_its_buyer_or_token_only__gives_the_reservation_back(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_video(market, studio)
    key = await market.get_buyer_key()
    job = (await market.client.post("/min30" + SUBMIT, json=SUBMISSION, headers=bearer(key))).json()
    path = f"/min30{SUBMIT}/{job['id']}"
    other = await market.get_key(OUTSIDER, "buyer")
    token = job["job_token"]
    wrong = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")

    for headers, status in (
        ({}, 401),
        (bearer(other), 404),
        (bearer(wrong), 401),
        ({"x-job-token": wrong}, 401),
    ):
        assert (await market.client.get(path, headers=headers)).status_code == status
        assert (await market.client.delete(path, headers=headers)).status_code == status
    assert (await market.client.get(f"/v1/music/generations/{job['id']}",
                                    headers=bearer(key))).status_code == 404  # fmt: skip
    cancelled = await market.client.delete(path, headers={"x-job-token": token})
    again = await market.client.delete(path, headers=bearer(key))

    assert cancelled.json()["status"] == again.json()["status"] == "cancelled"
    assert studio.deleted == ["up-1"]
    (sale,) = market.sales()
    assert (sale["state"], sale["is_seller_failure"]) == ("voided", False)


@pytest.mark.parametrize("behaviour", ["status_500", "nonsense", "evil_id", "redirect", "html"])
async def test_submit__seller_does_not_take_it__the_next_does_or_nothing_stays(
    market: RunningMarket, studio: FakeEndpoint, behaviour: str
) -> None:
    studio.behaviour = behaviour
    await list_video(market, studio)
    headers = {**bearer(await market.get_buyer_key()), "idempotency-key": "one"}

    refused = await market.client.post(SUBMIT, json=SUBMISSION, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "sellers_failed")

    async with FakeEndpoint() as other:
        await list_video(market, other, price_per_unit="0.15")
        taken = await market.client.post(SUBMIT, json=SUBMISSION, headers=headers)
        assert taken.status_code == 202, "no seller had taken it: the key is free"
    assert [sale["state"] for sale in market.sales()] == ["voided", "reserved"]


async def test_music__without_a_length__is_sold_by_the_track_only(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_video(market, studio, model=MUSIC_MODEL, unit="second")
    headers = bearer(await market.get_buyer_key())
    body = {"model": MUSIC_MODEL, "prompt": "slow"}
    refused = await market.client.post("/v1/music/generations", json=body, headers=headers)
    await list_video(market, studio, model=MUSIC_MODEL, unit="track", price_per_unit="0.5")
    taken = await market.client.post("/v1/music/generations", json=body, headers=headers)
    complete(studio)
    make_due(market)
    path = f"/v1/music/generations/{taken.json()['id']}"

    assert refused.json()["error"]["code"] == "quantity_unknown"
    done = await wait_for(market, path, headers, "completed")
    assert (done["cost_usdc"], done["usage"]) == (500_000, {"base": "track", "quantity": 1})


async def test_restart__in_the_middle_of_a_job__it_is_followed_and_charged_once(
    databases: Databases, tmp_path: Path, studio: FakeEndpoint
) -> None:
    engine, settings = databases.open_ledger(), make_job_settings(tmp_path)
    async with run_market(settings, engine) as market:
        await list_video(market, studio)
        key = await market.get_buyer_key()
        job = (await market.client.post(SUBMIT, json=SUBMISSION, headers=bearer(key))).json()
    complete(studio)
    # Two at once, after the one that took it is gone.
    async with run_market(settings, engine) as first, run_market(settings, engine) as second:
        make_due(first)
        path = f"{SUBMIT}/{job['id']}"
        done = await wait_for(second, path, bearer(job["job_token"]), "completed")
        assert done["cost_usdc"] == 400_000
        assert len([sale for sale in first.sales() if sale["state"] == "posted"]) == 1
        with read(engine) as connection:
            assert len(connection.execute(select(table_of(MarketArtifact))).all()) == 1


async def test_killed__while_submitting__the_job_is_lost_and_the_money_given_back(
    tmp_path: Path, studio: FakeEndpoint
) -> None:
    engine, settings = make_ledger(tmp_path / "ledger.sqlite3"), make_job_settings(tmp_path)
    studio.behaviour = "hang"
    async with run_market(settings, engine) as market:
        await list_video(market, studio)
        key = await market.get_buyer_key()
        pending = asyncio.create_task(
            market.client.post(SUBMIT, json=SUBMISSION, headers=bearer(key))
        )
        await until(lambda: studio.requests)
        # What a process killed now would leave: the row of a job that is being submitted.
        with read(engine) as connection:
            left = connection.execute(select(_job)).mappings().one()
            sale = connection.execute(select(table_of(MarketSale))).mappings().one()
        assert (left["state"], sale["state"]) == ("submitting", "reserved")
        make_due(market)
        lost = await wait_for(market, f"{SUBMIT}/{left['job_id']}", bearer(key), "failed")
        assert lost["error"]["code"] == "submission_lost"
        studio.release.set()
        await pending
        assert all(row["state"] == "voided" for row in market.sales())
        assert (await market.account(key))["reserved_usdc"] == 0
    engine.dispose()
