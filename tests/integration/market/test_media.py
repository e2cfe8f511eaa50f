"""Images, speech and transcripts through a real market to studios that deliver, lie and break off.

::

    images
    ├── priced by image or by pixels, the cheaper one; charged for what was delivered
    ├── more than asked; fewer; none; at a private address; kept by the seller
    └── minimum discount: by the reference price of the same base; unknown never qualifies
    speech: charged by character; wrong type, half, endless, empty, redirected: the next one serves
    transcripts: by what the seller reports, within what the upload can be
    credit and caps under concurrency
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.settings import MarketSettings
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_ledger
from tests.support.market import PRICES, RunningMarket, bearer, make_settings, run_market
from tests.support.media import CLIP, IMAGE_MODEL, MEDIA_PRICES, SPEECH_MODEL, TRANSCRIPT_MODEL
from tests.support.recordings import make_wav


def make_media_settings(folder: Path) -> MarketSettings:
    """Return settings with reference prices of media."""
    (folder / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    return make_settings(
        folder, answer_bytes_max=1024**2, artifact_bytes_max=1024**2, read_timeout_s=6.0
    )


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_media_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def studio() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as studio:
        yield studio


@pytest.fixture
async def dear_studio() -> AsyncIterator[FakeEndpoint]:
    """Another one, for the dearer offer."""
    async with FakeEndpoint() as studio:
        yield studio


async def list_medium(
    market: RunningMarket, studio: FakeEndpoint, model: str, unit: str, price: Any, **changes: Any
) -> dict[str, Any]:
    """List an offer of a medium."""
    key = await market.get_key()
    offer = {"price_input_per_1m": ..., "price_output_per_1m": ..., "model": model, "unit": unit}
    if price is not None:
        offer["price_per_unit"] = price
    return await market.list_offer(key, studio.url, **offer, **changes)


async def test_images__by_image_and_by_pixels__the_cheaper_serves(
    market: RunningMarket, studio: FakeEndpoint, dear_studio: FakeEndpoint
) -> None:
    by_image = await list_medium(market, studio, IMAGE_MODEL, "image", "0.04")
    by_pixel = await list_medium(market, dear_studio, IMAGE_MODEL, "megapixel", "0.03")
    headers = bearer(await market.get_buyer_key())
    body = {"model": IMAGE_MODEL, "prompt": "a cat", "n": 2}

    small = await market.client.post(
        "/v1/images/generations", json={**body, "size": "1000x1000"}, headers=headers
    )
    large = await market.client.post(
        "/v1/images/generations", json={**body, "size": "2000x1000"}, headers=headers
    )
    unsaid = await market.client.post("/v1/images/generations", json=body, headers=headers)

    assert [answer.headers["x-market-offer"] for answer in (small, large, unsaid)] == [
        by_pixel["id"],
        by_image["id"],
        by_image["id"],
    ]
    assert [answer.headers["x-market-cost-usdc"] for answer in (small, large, unsaid)] == [
        "60000",
        "80000",
        "80000",
    ]
    assert len(small.json()["data"]) == 2
    assert studio.requests[0]["n"] == 2
    first = market.sales()[0]
    assert (first["unit"], first["prompt_tokens"]) == ("megapixel", 2_000_000)
    assert (first["earning_usdc"], first["fee_usdc"]) == (57_000, 3_000)
    prices = (await market.client.get("/v1/prices")).json()["data"]
    assert prices[0]["media"] == {
        "image": {"unit": "image", "price_per_unit": 0.04},
        "pixel": {"unit": "megapixel", "price_per_unit": 0.03},
    }
    assert prices[0]["input_usdc_per_mtok"] is None


@pytest.mark.parametrize(
    ("behaviour", "delivered"), [("more_images", 3), ("fewer_images", 1), ("kept_images", 3)]
)
async def test_images__seller_delivers_otherwise__charged_within_what_was_asked(
    market: RunningMarket, studio: FakeEndpoint, behaviour: str, delivered: int
) -> None:
    await list_medium(market, studio, IMAGE_MODEL, "image", "0.04")
    headers = bearer(await market.get_buyer_key())
    studio.behaviour = behaviour
    answer = await market.client.post(
        "/v1/images/generations",
        json={"model": IMAGE_MODEL, "prompt": "a cat", "n": 3},
        headers=headers,
    )

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == delivered
    assert answer.headers["x-market-cost-usdc"] == str(delivered * 40_000)
    if behaviour != "kept_images":
        return
    assert studio.url.rpartition("/")[0] not in answer.text
    studio.behaviour = "normal"
    path = answer.json()["data"][0]["url"].removeprefix("http://market.test")
    kept = await market.client.get(path)
    assert (kept.status_code, kept.content) == (200, CLIP)
    assert kept.headers["content-type"] == "video/mp4"
    assert studio.file_keys[-1] == studio.keys[0], "its own key goes to its own endpoint"
    missing = await market.client.get(path[:-3] + "AAA")
    assert missing.status_code == 404
    for behaviour, status in (("redirect", 502), ("status_500", 502)):
        studio.behaviour = behaviour
        assert (await market.client.get(path)).status_code == status


@pytest.mark.parametrize(
    "behaviour", ["no_images", "private_images", "nonsense", "html", "redirect", "status_500"]
)
async def test_images__cheaper_seller_fails__the_next_serves(
    market: RunningMarket, studio: FakeEndpoint, dear_studio: FakeEndpoint, behaviour: str
) -> None:
    await list_medium(market, studio, IMAGE_MODEL, "image", "0.04")
    dear = await list_medium(market, dear_studio, IMAGE_MODEL, "image", "0.05")
    headers = bearer(await market.get_buyer_key())
    studio.behaviour = behaviour

    answer = await market.client.post(
        "/v1/images/generations", json={"model": IMAGE_MODEL, "prompt": "x"}, headers=headers
    )

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-market-offer"] == dear["id"]
    assert [sale["state"] for sale in market.sales()] == ["voided", "posted"]


@pytest.mark.parametrize(
    "behaviour", ["html", "half", "endless", "empty", "redirect", "hang", "status_500"]
)
@pytest.mark.sampled(3)
async def test_speech__cheaper_seller_fails__the_next_serves_whole(
    market: RunningMarket, studio: FakeEndpoint, dear_studio: FakeEndpoint, behaviour: str
) -> None:
    await list_medium(market, studio, SPEECH_MODEL, "1k_characters", "0.015")
    await list_medium(market, dear_studio, SPEECH_MODEL, "1k_characters", "0.02")
    headers = bearer(await market.get_buyer_key())
    studio.behaviour = behaviour

    answer = await market.client.post(
        "/v1/audio/speech",
        json={"model": SPEECH_MODEL, "input": "Grüße " * 50, "voice": "alloy"},
        headers=headers,
    )

    assert answer.status_code == 200, answer.text
    assert answer.content == b"ID3 spoken"
    assert answer.headers["content-type"] == "audio/mpeg"
    failed, served = market.sales()
    assert (failed["state"], failed["is_seller_failure"]) == ("voided", True)
    assert (served["prompt_tokens"], served["cost_usdc"]) == (300, 6_000)


@pytest.mark.parametrize(
    ("behaviour", "seconds"), [("normal", 3), ("lies_long", 5), ("lies_negative", 5)]
)
async def test_transcript__seller_reports__is_believed_within_the_recording(
    market: RunningMarket, studio: FakeEndpoint, behaviour: str, seconds: int
) -> None:
    await list_medium(market, studio, TRANSCRIPT_MODEL, "minute", "0.006")
    headers = bearer(await market.get_buyer_key())
    studio.behaviour = behaviour
    recording = make_wav(4.5)

    answer = await market.client.post(
        "/v1/audio/transcriptions",
        files={"file": ("a.wav", recording, "audio/wav")},
        data={"model": TRANSCRIPT_MODEL, "language": "en", "routing": '{"trusted_only": false}'},
        headers=headers,
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "Hello."
    assert studio.requests == [
        {"model": TRANSCRIPT_MODEL.encode(), "language": b"en", "file": recording}
    ]
    (sale,) = market.sales()
    assert (sale["unit"], sale["prompt_tokens"], sale["cost_usdc"]) == (
        "minute",
        seconds,
        seconds * 100,
    )


async def test_transcript__as_text__charged_by_the_recording(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_medium(market, studio, TRANSCRIPT_MODEL, "second", "0.0001")
    headers = bearer(await market.get_buyer_key())
    answer = await market.client.post(
        "/v1/audio/transcriptions",
        files={"file": ("a.wav", make_wav(2), "audio/wav")},
        data={"model": TRANSCRIPT_MODEL, "response_format": "srt"},
        headers=headers,
    )

    assert (answer.status_code, answer.text) == (200, "1\n00:00\nHello\n")
    assert answer.headers["x-market-cost-usdc"] == "200"


async def test_endpoint__that_a_seller_does_not_serve__is_no_fault_of_its_offer(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_medium(market, studio, IMAGE_MODEL, "image", "0.04")
    headers = bearer(await market.get_buyer_key())
    body = {"model": IMAGE_MODEL, "prompt": "x"}
    studio.behaviour = "status_404"
    refused = await market.client.post("/v1/images/generations", json=body, headers=headers)
    studio.behaviour = "normal"
    served = await market.client.post("/v1/images/generations", json=body, headers=headers)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "seller_rejected")
    assert served.status_code == 200, "it does not rest for a buyer's mistake"


async def test_minimum_discount__of_media__by_the_reference_of_the_same_base(
    market: RunningMarket, studio: FakeEndpoint, dear_studio: FakeEndpoint
) -> None:
    await list_medium(market, studio, IMAGE_MODEL, "image", "0.04")
    await list_medium(market, dear_studio, "unknown-model", "image", "0.04")
    half = await list_medium(market, studio, SPEECH_MODEL, "1k_characters", None,
                             cost_multiplier="0.5")  # fmt: skip
    headers = bearer(await market.get_buyer_key())

    async def ask(path: str, model: str) -> Any:
        body = {"model": model, "prompt": "x", "input": "hello"}
        return await market.client.post(path, json=body, headers=headers)

    assert half["price_per_unit"] is None
    assert (await ask("/min50/v1/images/generations", IMAGE_MODEL)).status_code == 200
    assert (await ask("/min50/v1/audio/speech", SPEECH_MODEL)).status_code == 200
    refused = await ask("/min51/v1/images/generations", IMAGE_MODEL)
    unknown = await ask("/min0/v1/images/generations", "unknown-model")
    odd = await ask("/min051/v1/images/generations", IMAGE_MODEL)

    assert refused.status_code == 503
    assert refused.json() == {
        "error": {
            "message": "No marketplace sellers currently meet the minimum 51% estimated discount"
            " for 'image-model'. Best otherwise-eligible estimated discount is 50%.",
            "type": "no_discounted_offer",
            "code": "minimum_discount_not_met",
        },
        "minimum_discount_pct": 51,
        "best_available_discount_pct": 50.0,
    }
    assert unknown.json()["error"]["code"] == "minimum_discount_not_met"
    assert odd.json()["error"]["code"] == "invalid_minimum_discount"


async def test_requests__that_cannot_be_priced__are_refused_and_reach_no_seller(
    market: RunningMarket, studio: FakeEndpoint
) -> None:
    await list_medium(market, studio, IMAGE_MODEL, "megapixel", "0.04")
    headers = bearer(await market.get_buyer_key())
    image = {"model": IMAGE_MODEL, "prompt": "x", "size": "100x100"}
    for path, body, code in (
        ("images/generations", {"model": IMAGE_MODEL, "prompt": "x"}, "quantity_unknown"),
        ("images/generations", {**image, "n": 0}, "invalid_type"),
        ("images/generations", {**image, "n": 11}, "invalid_type"),
        ("images/generations", {**image, "num_images": 4}, "unsupported_parameter"),
        ("images/generations", {**image, "size": "99999x1"}, "invalid_type"),
        ("audio/speech", {"model": SPEECH_MODEL, "input": ""}, "invalid_type"),
        ("audio/transcriptions", {"model": TRANSCRIPT_MODEL}, "invalid_form"),
        ("images/generations", {**image, "model": SPEECH_MODEL}, "model_not_found"),
    ):
        answer = await market.client.post(f"/v1/{path}", json=body, headers=headers)
        assert (answer.json()["error"]["code"], answer.status_code // 100) == (code, 4), body
    assert studio.requests == []
    assert market.sales() == []


async def test_caps_and_credit__many_at_once__are_never_passed(
    databases: Databases, tmp_path: Path, studio: FakeEndpoint
) -> None:
    async with run_market(make_media_settings(tmp_path), databases.open_ledger()) as market:
        await spend_at_once(market, studio)


async def spend_at_once(market: RunningMarket, studio: FakeEndpoint) -> None:
    """Ask for more images at once than the credit and the cap allow."""
    await list_medium(market, studio, IMAGE_MODEL, "image", "0.04", cap_daily_usd="0.28")
    headers = bearer(await market.get_buyer_key(credit_usdc=200_000))

    async def ask(count: int) -> int:
        body = {"model": IMAGE_MODEL, "prompt": "x", "n": count}
        answer = await market.client.post("/v1/images/generations", json=body, headers=headers)
        return answer.status_code

    statuses = await asyncio.gather(*(ask(1 + number % 2) for number in range(16)))

    assert set(statuses) <= {200, 402, 503}
    spent = sum(sale["cost_usdc"] or 0 for sale in await market.settled_sales())
    assert spent <= 200_000
    assert spent >= 160_000, "and they are used up to the last image that fits"
