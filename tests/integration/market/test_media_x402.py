"""Media paid request by request, by the x402 package's own client on a real chain."""

from pathlib import Path
from typing import Any

from x402.http.utils import decode_payment_required_header

from tests.support.endpoint import FakeEndpoint
from tests.support.keepers import Stage
from tests.support.market import PRICES
from tests.support.media import IMAGE_MODEL, MEDIA_PRICES, VIDEO_MODEL, complete
from tests.support.payments import FEE_USDC, run_shop
from tests.support.waiting import until_it

IMAGES = "/min30/v1/images/generations"
VIDEO = "/min30/v1/video/generations"
TERMS = {"price_input_per_1m": ..., "price_output_per_1m": ...}


async def test_media__paid_by_the_packages_client__is_served_and_the_rest_is_credit(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    changes: dict[str, Any] = {"job_poll_interval_s": 1, "job_look_interval_s": 0.05}
    async with (
        FakeEndpoint() as studio,
        run_shop(stage, tmp_path, **changes) as shop,
        shop.payer() as payer,
    ):
        complete(studio)
        for model, unit in ((IMAGE_MODEL, "image"), (VIDEO_MODEL, "second")):
            offer = {**TERMS, "model": model, "unit": unit, "price_per_unit": "0.05"}
            await shop.market.list_offer(shop.seller_key, studio.url, **offer)

        asked = await shop.market.client.post(IMAGES, json={"model": IMAGE_MODEL})
        images = await payer.post(IMAGES, json={"model": IMAGE_MODEL, "prompt": "x", "n": 2})
        video = await payer.post(VIDEO, json={"model": VIDEO_MODEL, "prompt": "x", "seconds": 8})

        assert asked.status_code == 402
        required = decode_payment_required_header(asked.headers["payment-required"])
        assert required.resource is not None  # type: ignore[union-attr]
        assert required.resource.url.endswith(IMAGES), "it keeps the segment"  # type: ignore[union-attr]
        assert images.status_code == 200, images.text
        assert images.headers["x-market-cost-usdc"] == str(100_000 + FEE_USDC)
        assert images.headers["x-market-credit-usdc"] == "0"
        assert video.status_code == 202, video.text
        assert shop.payments()[-1]["value_usdc"] == 400_000 + FEE_USDC
        job = video.json()
        path = f"{VIDEO}/{job['id']}"

        async def is_done() -> bool:
            answer = await shop.market.client.get(path, headers={"x-job-token": job["job_token"]})
            job.update(answer.json())
            return bool(job["status"] == "completed")

        await until_it(is_done)
        # Four of the eight seconds were made; the fee for paying by request is due all the same.
        assert job["cost_usdc"] == 200_000 + FEE_USDC
        sales = await shop.market.settled_sales()
        assert [sale["margin_usdc"] for sale in sales] == [FEE_USDC, FEE_USDC]
