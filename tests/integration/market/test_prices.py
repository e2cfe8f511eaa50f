"""What text costs at the market beside input and output.

::

    cached input    its own price, or the input price; of the reference by a multiplier
                    charged, written down, listed; never counted on before
    longer prompts  by a multiplier as the reference has them; the tokens that were used count
                    listed, bounded, and by the same header for who charges by the list
    fees            of each request that used tokens, beside them; of the reference by a multiplier
    both servers    a proxy charges by the market's list what the market charges it
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.database.engine import write
from ledger.selling.offers import change_offer
from market.http.offers import routes as offers_routes
from market.listing.offers import parse_change
from serving.models.prices import Price
from serving.models.references import References
from tests.support import proxy as proxies
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market

CACHED: Final = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 16},
}
PRICES: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "10"
output_usd_per_mtok = "40"
cached_input_usd_per_mtok = "1"
context_tokens = 2048
"""


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own, whose reference has a price of cached input."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    (tmp_path / "prices.toml").write_text(PRICES)
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint that has 16 of 20 prompt tokens in its cache."""
    async with FakeEndpoint(usage=CACHED) as seller:
        yield seller


def at_multiplier(multiplier: str) -> dict[str, Any]:
    """Return the fields of an offer that is priced by a multiplier."""
    return {
        "price_input_per_1m": ...,
        "price_output_per_1m": ...,
        "cost_multiplier": multiplier,
    }


# ---------------------------------------------------------------------------------- cached input


@pytest.mark.parametrize(
    ("changes", "cost_usdc"),
    [
        ({}, 20 * 5 + 10 * 20),
        ({"price_cached_input_per_1m": "0.5"}, 4 * 5 + 8 + 10 * 20),
        ({"price_cached_input_per_1m": 0}, 4 * 5 + 10 * 20),
        ({"price_cached_input_per_1m": 5}, 20 * 5 + 10 * 20),
        # Half of 10, 40 and 1.
        (at_multiplier("0.5"), 4 * 5 + 8 + 10 * 20),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.sampled(2)
async def test_cached_input__by_each_price__is_what_the_buyer_pays(
    market: RunningMarket,
    seller: FakeEndpoint,
    stream: bool,
    changes: dict[str, Any],
    cost_usdc: int,
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    await market.list_offer(seller_key, seller.url, **changes)

    answer = await market.chat(key, stream=stream)

    [sale] = await market.settled_sales()
    assert (sale["cost_usdc"], sale["prompt_tokens"], sale["cached_tokens"]) == (cost_usdc, 20, 16)
    # What is set aside counts on no cache: body and chat template, and 100 tokens of output.
    without = await market.client.get(
        "/v1/route/explain", params={"model": MODEL, "prompt_tokens": 20, "max_tokens": 10}
    )
    [ranked] = without.json()["ranked"]
    assert ranked["estimated_cost_usdc"] == ranked["ceiling_usdc"] == 20 * 5 + 10 * 20
    assert int(answer.headers["x-market-reserved-usdc"]) == sale["ceiling_usdc"] > 100 * 20 + 128
    earnings = await market.client.get("/v1/seller/earnings", headers=bearer(seller_key))
    [line] = earnings.json()["earnings"]
    assert (line["cached_tokens"], line["cost_usdc"]) == (16, cost_usdc)


async def test_cached_input__price_changed_in_flight__is_that_of_the_reservation(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    offer = await market.list_offer(seller_key, seller.url, price_cached_input_per_1m="0.5")
    path = f"/v1/seller/offers/{offer['id']}"
    await market.chat(key)
    lifted = await market.client.patch(
        path, json={"price_cached_input_per_1m": None}, headers=bearer(seller_key)
    )
    assert lifted.json()["price_cached_input_per_1m"] is None
    await market.chat(key)

    sales = await market.settled_sales()
    assert [sale["cost_usdc"] for sale in sales] == [228, 300]
    assert [sale["cached_input_usdc_per_mtok"] for sale in sales] == [500_000, None]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"price_cached_input_per_1m": "5.000001"}, "price_cached_input_per_1m"),
        ({"price_cached_input_per_1m": -1}, "price_cached_input_per_1m"),
        (
            {**at_multiplier("0.5"), "price_cached_input_per_1m": 1},
            "price_cached_input_per_1m",
        ),
        (
            {
                "price_input_per_1m": ...,
                "price_output_per_1m": ...,
                "price_cached_input_per_1m": 1,
                "unit": "image",
                "price_per_unit": 1,
            },
            "price_per_unit",
        ),
    ],
)
async def test_cached_input__price_that_makes_no_sense__is_400_with_its_field(
    market: RunningMarket, seller: FakeEndpoint, changes: dict[str, Any], param: str
) -> None:
    headers = bearer(await market.get_key())
    body = {
        "model": MODEL,
        "api_key": "k",
        "seller_base_url": seller.url,
        "price_input_per_1m": 5,
        "price_output_per_1m": 20,
        **changes,
    }
    body = {name: value for name, value in body.items() if value is not ...}

    answer = await market.client.post("/v1/seller/offers", json=body, headers=headers)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_cached_input__changes_of_an_offer__never_leave_it_above_the_input_price(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    headers = bearer(await market.get_key())
    offer = await market.list_offer(
        headers["authorization"].split()[1], seller.url, price_cached_input_per_1m="0.5"
    )

    async def change(**fields: Any) -> tuple[int, Any]:
        path = f"/v1/seller/offers/{offer['id']}"
        answer = await market.client.patch(path, json=fields, headers=headers)
        body = answer.json()
        names = ("price_input_per_1m", "price_cached_input_per_1m", "cost_multiplier")
        shown = body["error"]["param"] if "error" in body else tuple(body[name] for name in names)
        return answer.status_code, shown

    cached = "price_cached_input_per_1m"
    assert await change(price_input_per_1m="0.4") == (400, cached)
    assert await change(price_cached_input_per_1m=6) == (400, cached)
    assert await change(price_input_per_1m=6, price_cached_input_per_1m=6) == (200, (6, 6, None))
    assert await change(price_cached_input_per_1m=2) == (200, (6, 2, None))
    # A multiplier has the reference's price in place of the offer's own, and none follows it back.
    assert await change(cost_multiplier=0.5) == (200, (None, None, 0.5))
    assert await change(price_cached_input_per_1m=1) == (400, "price_input_per_1m")
    back = {"price_input_per_1m": 3, "price_output_per_1m": 3}
    assert await change(**back) == (200, (3, None, None))


async def test_tiers__two_changes_at_once__do_not_pass_the_bound_together(
    market: RunningMarket, seller: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(await market.get_key())
    offer = await market.list_offer(headers["authorization"].split()[1], seller.url)
    path = f"/v1/seller/offers/{offer['id']}"

    def parse_slowly(body: Any, stored: Any, *, allow_loopback: bool) -> Any:
        wish = parse_change(body, stored, allow_loopback=allow_loopback)
        with write(market.engine) as connection:  # another request was faster
            change_offer(
                connection,
                offer_id=offer["id"],
                seller=stored["seller"],
                version=stored["version"],
                changes={"price_input_usdc_per_mtok": 250_000},
                sealed=None,
                now_s=stored["changed_at_s"],
            )
        return wish

    monkeypatch.setattr(offers_routes, "parse_change", parse_slowly)
    tier = {"above_prompt_tokens": 10, "price_input_per_1m": 100, "price_output_per_1m": 20}
    refused = await market.client.patch(path, json={"tiers": [tier]}, headers=headers)
    monkeypatch.undo()
    again = await market.client.patch(path, json={"tiers": [tier]}, headers=headers)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "offer_changed")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "invalid_price")


async def test_cached_input__every_list__shows_it(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    offer = await market.list_offer(seller_key, seller.url, price_cached_input_per_1m="0.5")
    await market.chat(key)
    await market.settled_sales()

    async def get(path: str, **params: Any) -> Any:
        return (await market.client.get(path, params=params, headers=bearer(seller_key))).json()

    [entry] = (await get("/v1/prices"))["data"]
    assert entry["cached_input_usdc_per_mtok"] == 500_000
    assert entry["best"]["price_cached_input_per_1m"] == 0.5
    assert entry["reference"]["cached_input_usdc_per_mtok"] == 1_000_000
    [summary] = (await get("/api/markets"))["markets"]
    assert summary["best"]["cached_input_usdc_per_mtok"] == 500_000
    [row] = (await get(f"/api/markets/{MODEL}"))["offers"]
    assert row["price_cached_input_per_1m"] == 0.5
    explained = await market.client.get("/v1/route/explain", params={"model": MODEL})
    assert explained.json()["ranked"][0]["cached_input_usdc_per_mtok"] == 500_000
    assert (await get(f"/v1/seller/offers/{offer['id']}"))["price_cached_input_per_1m"] == 0.5
    events = (await get("/feed"))["events"]
    shown = {one["event"]: one for one in events}
    assert shown["sale"]["cached_tokens"] == 16
    assert shown["offer_listed"]["price_cached_input_per_1m"] == 0.5
    found = await market.client.post(
        "/v1/seller/discover",
        json={"api_key": "k", "seller_base_url": seller.url},
        headers=bearer(seller_key),
    )
    models = {one["model"]: one["reference"] for one in found.json()["models"]}
    assert models[MODEL]["price_cached_input_per_1m"] == 1


async def test_cached_input__buyers_ceiling__keeps_out_offers_that_charge_it_in_full(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    await market.list_offer(seller_key, seller.url)
    cheap_cache = await market.list_offer(
        seller_key, seller.url, price_input_per_1m=6, price_cached_input_per_1m="0.5"
    )
    headers = {**bearer(key), "x-market-max-cached-input-usdc-per-mtok": "500000"}

    by_field = await market.chat(key, routing={"max_price_cached_input_per_1m": 0.5})
    by_header = await market.client.post("/v1/chat/completions", json=make_body(), headers=headers)
    below = await market.chat(key, routing={"max_price_cached_input_per_1m": 0.499999})

    assert by_field.headers["x-market-offer"] == cheap_cache["id"]
    assert by_header.headers["x-market-offer"] == cheap_cache["id"]
    assert below.json()["error"]["code"] == "price_ceiling_not_met"
    assert below.json()["dropped"] == {"price_ceiling": 2}


# -------------------------------------------------------------------------------- longer prompts

TIERED: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "10"
output_usd_per_mtok = "40"
cached_input_usd_per_mtok = "1"
context_tokens = 2048

[[models."SmolLM2-135M-Instruct".tiers]]
above_prompt_tokens = 16
input_usd_per_mtok = "20"
output_usd_per_mtok = "60"
cached_input_usd_per_mtok = "2"
"""


@pytest.fixture
async def tiered(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market whose reference has another price for prompts of more than 16 tokens."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    (tmp_path / "prices.toml").write_text(TIERED)
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.mark.parametrize(
    ("prompt", "cached", "cost_usdc"),
    [
        (16, 0, 16 * 5 + 10 * 20),
        (17, 0, 17 * 10 + 10 * 30),
        (17, 7, 10 * 10 + 7 * 1 + 10 * 30),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_longer_prompts__by_a_multiplier__cost_by_the_tokens_that_were_used(
    tiered: RunningMarket,
    seller: FakeEndpoint,
    prompt: int,
    cached: int,
    cost_usdc: int,
    stream: bool,
) -> None:
    seller_key, key = await tiered.get_key(), await tiered.get_buyer_key()
    await tiered.list_offer(seller_key, seller.url, **at_multiplier("0.5"))
    details = {"cached_tokens": cached}
    usage = {"prompt_tokens": prompt, "completion_tokens": 10, "prompt_tokens_details": details}
    seller.usage = {**usage, "total_tokens": prompt + 10}

    answer = await tiered.chat(key, stream=stream)

    [sale] = await tiered.settled_sales()
    is_long = prompt > 16
    assert sale["cost_usdc"] == cost_usdc
    assert sale["input_usdc_per_mtok"] == (10_000_000 if is_long else 5_000_000)
    assert sale["cached_input_usdc_per_mtok"] == (1_000_000 if is_long else 500_000)
    # Any length may come, so the dearest is set aside: 100 tokens of output at 30.
    assert int(answer.headers["x-market-reserved-usdc"]) > 100 * 30 + 128 * 10


async def test_longer_prompts__discount__is_measured_at_the_reference_of_that_length(
    tiered: RunningMarket, seller: FakeEndpoint
) -> None:
    await tiered.list_offer(await tiered.get_key(), seller.url, **at_multiplier("0.5"))

    async def explain(prompt_tokens: int) -> tuple[int, int, float]:
        params: dict[str, Any] = {"model": MODEL, "max_tokens": 10}
        params["prompt_tokens"] = prompt_tokens
        explained = await tiered.client.get("/v1/route/explain", params=params)
        [one] = explained.json()["ranked"]
        direct_usdc = explained.json()["direct_cost_usdc"]
        return direct_usdc, one["estimated_cost_usdc"], one["estimated_discount_pct"]

    assert await explain(16) == (16 * 10 + 400, 16 * 5 + 200, 50)
    assert await explain(17) == (17 * 20 + 600, 17 * 10 + 300, 50)
    key = await tiered.get_buyer_key()
    for pct, status in ((50, 200), (51, 503)):
        answer = await tiered.chat(key, path=f"/min{pct}/v1/chat/completions")
        assert answer.status_code == status


async def test_longer_prompts__listed__as_the_proxys_parser_reads_them(
    tiered: RunningMarket, seller: FakeEndpoint
) -> None:
    await tiered.list_offer(await tiered.get_key(), seller.url, **at_multiplier("0.5"))
    entries = (await tiered.client.get("/v1/prices")).json()["data"]
    references, now_s = References(), proxies.now_s()
    references.note_upstream(entries, now_s=now_s)

    charged = references.find_terms(MODEL, now_s=now_s)
    direct = references.find_discount_base(MODEL, now_s=now_s)

    assert charged is not None
    assert direct is not None
    short, long = Price(5_000_000, 20_000_000, 500_000), Price(10_000_000, 30_000_000, 1_000_000)
    assert charged.tiers == ((0, short), (16, long))
    short, long = Price(10_000_000, 40_000_000, 1_000_000), Price(20_000_000, 60_000_000, 2_000_000)
    assert direct.tiers == ((0, short), (16, long))
    [row] = (await tiered.client.get(f"/api/markets/{MODEL}")).json()["offers"]
    assert [one["above_prompt_tokens"] for one in row["tiers"]] == [16]


async def test_longer_prompts__ceilings__hold_at_every_length_that_the_prompt_may_have(
    tiered: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key, key = await tiered.get_key(), await tiered.get_buyer_key()
    by_length = await tiered.list_offer(seller_key, seller.url, **at_multiplier("0.5"))
    # As dear for a long prompt, and dearer for a short one.
    await tiered.list_offer(seller_key, seller.url, price_input_per_1m=10, price_output_per_1m=30)
    short = {
        "x-market-max-input-usdc-per-mtok": "5000000",
        "x-market-max-output-usdc-per-mtok": "20000000",
    }

    async def ask(**headers: str) -> Any:
        named = {f"x-market-max-{name.replace('_', '-')}": one for name, one in headers.items()}
        return await tiered.client.post(
            "/v1/chat/completions", json=make_body(), headers=bearer(key) | short | named
        )

    served = await ask(longer_prompts="16=10000000/30000000/1000000")
    assert served.headers["x-market-offer"] == by_length["id"]
    for dropping in ({}, {"longer_prompts": "16=10000000/29999999/1000000"}):
        answer = await ask(**dropping)
        assert answer.json()["error"]["code"] == "price_ceiling_not_met"
        assert answer.json()["dropped"] == {"price_ceiling": 2}
    later = await ask(longer_prompts="17=10000000/30000000/1000000")
    assert later.status_code == 503, "a prompt of 17 tokens is dearer than the short price"
    for wrong in ("16", "0=1/1/1", "9=1/1/1,9=1/1/1", "9=1/1/2", "9=1/1/1,", "9=1.5/1/1"):
        refused = await ask(longer_prompts=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_header")
    by_field = await tiered.chat(key, routing={"max_price_input_per_1m": "9.99"})
    assert by_field.json()["error"]["code"] == "price_ceiling_not_met"


# ------------------------------------------------------------------------------ fees of requests

WITH_FEE: Final = PRICES + 'usd_per_request = "0.01"\n'
FEE: Final = {"price_per_request": "0.005"}


@pytest.fixture
async def fees(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market whose reference has a fee of each request."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    (tmp_path / "prices.toml").write_text(WITH_FEE)
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.mark.parametrize("changes", [FEE, at_multiplier("0.5")])
@pytest.mark.parametrize("stream", [False, True])
async def test_fee__of_an_offer_or_of_the_reference__is_reserved_and_charged_once(
    fees: RunningMarket, seller: FakeEndpoint, changes: dict[str, Any], stream: bool
) -> None:
    seller_key, key = await fees.get_key(), await fees.get_buyer_key()
    seller.usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    await fees.list_offer(seller_key, seller.url, **changes)

    await fees.chat(key, stream=stream, n=2)

    [sale] = await fees.settled_sales()
    assert (sale["cost_usdc"], sale["per_request_usdc"]) == (300 + 5_000, 5_000)
    assert sale["ceiling_usdc"] > 2 * 100 * 20 + 5_000
    params: dict[str, Any] = {"model": MODEL, "prompt_tokens": 20, "max_tokens": 10}
    explained = (await fees.client.get("/v1/route/explain", params=params)).json()
    assert explained["direct_cost_usdc"] == 600 + 10_000
    [ranked] = explained["ranked"]
    assert ranked["estimated_cost_usdc"] == ranked["ceiling_usdc"] == 5_300
    assert ranked["estimated_discount_pct"] == 50


async def test_fee__nothing_delivered__is_not_charged(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await fees.get_buyer_key()
    await fees.list_offer(await fees.get_key(), seller.url, **FEE)
    seller.behaviour = "status_500"

    assert (await fees.chat(key)).status_code == 502
    assert [sale["cost_usdc"] for sale in await fees.settled_sales()] == [None]


async def test_fee__the_seller_breaks_off_after_text__is_charged_with_the_tokens(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await fees.get_buyer_key()
    await fees.list_offer(await fees.get_key(), seller.url, **FEE)
    seller.behaviour = "stream_dies"

    answer = await fees.chat(key, stream=True)

    [sale] = await fees.settled_sales()
    assert sale["per_request_usdc"] == 5_000
    assert 5_000 < sale["cost_usdc"] < 10_000
    assert f'"cost_usdc":{sale["cost_usdc"]}' in answer.text


async def test_fee__above_the_references__only_where_the_buyer_allows_it(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await fees.get_buyer_key()
    tokens = {"price_input_per_1m": 1, "price_output_per_1m": 1}
    await fees.list_offer(await fees.get_key(), seller.url, price_per_request="0.010001", **tokens)

    refused = await fees.chat(key, max_tokens=100_000)
    allowed = await fees.chat(key, routing={"max_price_per_request": "0.010001"})

    assert refused.json()["error"]["code"] == "price_ceiling_not_met"
    assert allowed.status_code == 200


async def test_fee__the_reference_has_none__none_is_charged_unasked(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url, price_per_request="0.000001")
    refused = await market.chat(await market.get_buyer_key())
    assert refused.json()["error"]["code"] == "price_ceiling_not_met"


async def test_fee__in_the_order__counts_for_what_the_request_costs(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await fees.get_key()
    tokens = {"price_input_per_1m": 1, "price_output_per_1m": 1}
    with_fee = await fees.list_offer(seller_key, seller.url, price_per_request="0.001", **tokens)
    without = await fees.list_offer(seller_key, seller.url)

    async def first(max_tokens: int) -> str:
        params: dict[str, Any] = {"model": MODEL, "prompt_tokens": 0, "max_tokens": max_tokens}
        explained = (await fees.client.get("/v1/route/explain", params=params)).json()
        return str(explained["ranked"][0]["offer_id"])

    # 1,000 and a unit a token against 20 units a token.
    assert await first(52) == without["id"]
    assert await first(53) == with_fee["id"]
    key = await fees.get_buyer_key()
    for max_tokens, offer in ((20, without), (1_000, with_fee)):
        answer = await fees.chat(key, max_tokens=max_tokens)
        assert answer.headers["x-market-offer"] == offer["id"]


async def test_fee__buyers_ceilings__keep_it_out_and_a_list_without_fees_allows_none(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    key = await fees.get_buyer_key()
    await fees.list_offer(await fees.get_key(), seller.url, **FEE)
    listed = {"x-market-max-input-usdc-per-mtok": "5000000"}

    async def ask(**headers: str) -> int:
        answer = await fees.client.post(
            "/v1/chat/completions", json=make_body(), headers=bearer(key) | headers
        )
        return answer.status_code

    assert await ask() == 200
    assert await ask(**listed) == 503
    assert await ask(**listed, **{"x-market-max-per-request-usdc": "4999"}) == 503
    assert await ask(**listed, **{"x-market-max-per-request-usdc": "5000"}) == 200
    by_field = await fees.chat(key, routing={"max_price_per_request": "0.004999"})
    assert by_field.json()["error"]["code"] == "price_ceiling_not_met"


async def test_fee__changes_of_an_offer__are_shown_and_a_multiplier_takes_its_place(
    fees: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await fees.get_key()
    offer = await fees.list_offer(seller_key, seller.url, **FEE)
    path = f"/v1/seller/offers/{offer['id']}"

    async def change(**fields: Any) -> Any:
        answer = await fees.client.patch(path, json=fields, headers=bearer(seller_key))
        body = answer.json()
        return body["error"]["param"] if "error" in body else body["price_per_request"]

    assert offer["price_per_request"] == 0.005
    [event] = (await fees.client.get("/feed")).json()["events"]
    assert event["price_per_request"] == 0.005
    assert await change(price_per_request="0.25") == 0.25
    assert await change(price_per_request=10_001) == "price_per_request"
    assert await change(cost_multiplier=1, price_per_request=1) == "price_per_request"
    assert await change(price_per_request=None) is None
    assert await change(cost_multiplier=1) is None
    [entry] = (await fees.client.get("/v1/prices")).json()["data"]
    assert entry["per_request_usdc"] == entry["reference"]["per_request_usdc"] == 10_000


# ---------------------------------------------------------------------------------- both servers


@asynccontextmanager
async def run_proxy_before(
    market: RunningMarket, key: str, folder: Path
) -> AsyncIterator[proxies.RunningProxy]:
    """Serve a proxy, over a ledger of its own, whose upstream is the market."""
    engine = make_ledger(folder / "proxy.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=proxies.now_s()))
        put_cursor(connection, now_s=proxies.now_s())
    settings = proxies.make_settings(upstream_url=f"{market.client.base_url}/v1", upstream_key=key)
    async with proxies.run_proxy(settings, engine) as proxy:
        yield proxy
    engine.dispose()


@pytest.mark.parametrize("stream", [False, True])
async def test_both_servers__cached_input__one_figure_and_no_dearer_seller_after_a_failure(
    market: RunningMarket, seller: FakeEndpoint, tmp_path: Path, stream: bool
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    await market.list_offer(seller_key, seller.url, price_cached_input_per_1m="0.5")
    # The same to a router that counts on no cache, and 90 units dearer for this request.
    await market.list_offer(seller_key, seller.url)

    async with run_proxy_before(market, key, tmp_path) as proxy:
        answer = await proxy.chat(stream=stream)
        assert answer.status_code == 200, answer.text
        [sale] = await market.settled_sales()
        [usage] = proxy.usage()
        seller.script.append("status_500")
        failed = await proxy.chat(stream=stream)

    assert usage["cost_usdc"] == sale["cost_usdc"] == 4 * 5 + 8 + 10 * 20
    assert (usage["cached_tokens"], usage["cached_input_usdc_per_mtok"]) == (16, 500_000)
    assert failed.status_code == 502
    assert [row["cost_usdc"] for row in market.sales()] == [228, None]


@pytest.mark.parametrize("prompt", [16, 17])
async def test_both_servers__longer_prompts__one_figure(
    tiered: RunningMarket, seller: FakeEndpoint, tmp_path: Path, prompt: int
) -> None:
    seller_key, key = await tiered.get_key(), await tiered.get_buyer_key()
    await tiered.list_offer(seller_key, seller.url, **at_multiplier("0.5"))
    seller.usage = {"prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10}

    async with run_proxy_before(tiered, key, tmp_path) as proxy:
        answer = await proxy.chat()
        assert answer.status_code == 200, answer.text
        [sale] = await tiered.settled_sales()
        [usage] = proxy.usage()

    cost_usdc = {16: 16 * 5 + 10 * 20, 17: 17 * 10 + 10 * 30}[prompt]
    assert usage["cost_usdc"] == sale["cost_usdc"] == cost_usdc
    assert usage["input_usdc_per_mtok"] == sale["input_usdc_per_mtok"]


@pytest.mark.parametrize("stream", [False, True])
async def test_both_servers__fee_of_a_request__one_figure_in_charge_receipt_and_list(
    fees: RunningMarket, seller: FakeEndpoint, tmp_path: Path, stream: bool
) -> None:
    seller_key, key = await fees.get_key(), await fees.get_buyer_key()
    await fees.list_offer(seller_key, seller.url, **FEE)

    async with run_proxy_before(fees, key, tmp_path) as proxy:
        answer = await proxy.chat(stream=stream)
        assert answer.status_code == 200, answer.text
        [sale] = await fees.settled_sales()
        [usage] = proxy.usage()
        path = f"/api/current/receipts/{usage['request_id']}"
        receipt = await proxy.client.get(path, headers=bearer(proxies.make_key()))
        models = (await proxy.client.get("/api/current/models")).json()["models"]

    assert usage["cost_usdc"] == sale["cost_usdc"] == 300 + 5_000
    assert receipt.json()["per_request_usdc"] == usage["per_request_usdc"] == 5_000
    assert {model["per_request_usdc"] for model in models if model["id"] == MODEL} == {5_000}
