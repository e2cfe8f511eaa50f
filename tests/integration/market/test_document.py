"""Every operation of the market, called on a market that is paid on a real chain.

::

    each operation ── succeeds once; what it answers is what the document says, in every field
    each that takes a key ── without one: 401; each that takes a body ── a wrong one: 400
    the examples in the document ── are these answers
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from eth_account.messages import encode_defunct
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.resale.connections import approve_name
from ledger.tables import MarketSale, X402Payment, table_of
from market.evidence.recording import ProbedOffer, record, write_rounds
from market.evidence.two_samples import AnswerBlock
from market.evidence.verdicts import Method
from tests.support.keepers import Stage
from tests.support.mailbox import Mailbox
from tests.support.market import BUYER, OUTSIDER, PRICES, SELLER, bearer, make_body
from tests.support.media import (
    IMAGE_MODEL,
    MEDIA_PRICES,
    MUSIC_MODEL,
    SPEECH_MODEL,
    TRANSCRIPT_MODEL,
    VIDEO_MODEL,
    complete,
)
from tests.support.openapi import Document, get_market_document, hold_examples
from tests.support.payments import TOPUP, Shop, run_shop
from tests.support.recordings import make_wav
from tests.support.resale import API_NAME, make_connection, run_api
from tests.support.supplier_calls import IPN_SECRET, call_suppliers
from tests.support.waiting import until_it

PAID_WITHOUT_A_KEY: Final = frozenset(
    {
        "createAudioSpeech",
        "createAudioTranscriptions",
        "createChatCompletions",
        "createCompletions",
        "createEmbeddings",
        "createImagesGenerations",
        "createMessages",
        "createMusicGenerations",
        "createResponses",
        "createVideoGenerations",
        "explainRoute",
        "topUp",
    }
)
"""What x402 pays for, so that its body is looked at first; and a route whose key is optional."""

KEY: Final = "sk-your-provider-s-key"
MEDIA: Final = (
    (IMAGE_MODEL, "image"),
    (SPEECH_MODEL, "1k_characters"),
    (TRANSCRIPT_MODEL, "minute"),
    (VIDEO_MODEL, "second"),
    (MUSIC_MODEL, "track"),
)


class Caller:
    """Calls a market's operations and expects each to succeed."""

    def __init__(self, shop: Shop, seller_key: str, buyer_key: str) -> None:
        self.shop = shop
        self.seller = bearer(seller_key)
        self.buyer = bearer(buyer_key)

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        answer = await self.shop.market.client.request(method, path, headers=headers, **options)
        assert answer.is_success, answer.text
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.json() if is_json else answer.text


async def test_operations__each_called__answer_as_documented_and_as_the_examples(
    stage: Stage, tmp_path: Path
) -> None:
    document = Document(get_market_document().written)
    (tmp_path / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    often: dict[str, Any] = {"job_poll_interval_s": 1, "job_look_interval_s": 0.05}
    async with (
        Mailbox() as mailbox,
        run_shop(
            stage,
            tmp_path,
            document=document,
            smtp_url=mailbox.url,
            mail_interval_s=0.05,
            nowpayments_ipn_secret=IPN_SECRET,
            **often,
        ) as shop,
    ):
        buyer_key = await shop.market.get_buyer_key()
        caller = Caller(shop, shop.seller_key, buyer_key)
        await call_sellers(caller)
        await call_buyers(caller)
        await call_text(caller)
        api_url = await call_resale(caller)
        await call_media(caller)
        await call_public(caller)
        await call_keys(shop, caller)
        session = await call_suppliers(shop.market, mailbox, shop.seller.url)
        await call_wrongly(shop, caller, document, session)
        hidden = {
            shop.seller.url: "https://api.provider.example/v1",
            api_url: "https://api.analytics.example",
        }

    good = {name for name, bodies in document.answered.items() if _is_good(bodies)}
    assert good == document.operations.keys()
    hold_examples(document, "market.http", hidden)


def _is_good(bodies: dict[str, Any]) -> bool:
    return any(key < "300" for key in bodies if key != "request")


async def call_sellers(caller: Caller) -> None:
    seller, url = caller.seller, caller.shop.seller.url
    await caller.ask("GET", "/v1/seller/account", seller)
    await caller.ask("PATCH", "/v1/seller/account", seller, json={"payout_policy": "daily"})
    body = {"api_key": KEY, "seller_base_url": url}
    await caller.ask("POST", "/v1/seller/discover", seller, json=body)
    for model, unit in MEDIA:
        offer = {**body, "model": model, "unit": unit, "price_per_unit": "0.01"}
        await caller.ask("POST", "/v1/seller/offers", seller, json=offer)
    await caller.ask("GET", "/v1/seller/offers", seller)
    offer = {**body, "model": "gpt-4o", "cost_multiplier": "0.8", "cap_daily_usd": "5"}
    expires = {"quota_total_usd": "50", "quota_resets_at": int(time.time()) + 30 * 86_400}
    expiring = {**body, "model": "o3", "cost_multiplier": "0.9", "floor_pct": 40, **expires}
    await caller.ask("POST", "/v1/seller/offers", seller, json=expiring)
    listed = await caller.ask("POST", "/v1/seller/offers", seller, json=offer)
    path = f"/v1/seller/offers/{listed['id']}"
    await caller.ask("GET", path, seller)
    await caller.ask("PATCH", path, seller, json={"cap_daily_usd": None, "status": "paused"})
    await caller.ask("DELETE", path, seller)


async def call_buyers(caller: Caller) -> None:
    shop, buyer = caller.shop, caller.buyer
    async with shop.payer() as payer:
        paid = await payer.post(TOPUP, json={"amount_usd": "1.5"}, headers=buyer)
    assert paid.status_code == 200, paid.text
    await caller.ask("GET", "/v1/buyer/account", buyer)
    with write(shop.stage.engine) as connection:
        # As the keeper does, once the payment is deep enough.
        connection.execute(update(table_of(X402Payment)).values(is_final=True))
    path = "/v1/buyer/withdrawals"
    wish = {"address": BUYER.address, "amount_usd": "0.5"}
    message = (await caller.ask("GET", f"{path}/challenge", params=wish))["message"]
    signed = BUYER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    await caller.ask("POST", path, json={"message": message, "signature": signed})
    await caller.ask("GET", path, buyer)
    provider = {
        "label": "my own",
        "base_url": shop.seller.url,
        "api_key": KEY,
        "models": {"my-model": "gpt-4o"},
        "position": "fallback",
    }
    added = await caller.ask("POST", "/v1/buyer/providers", buyer, json=provider)
    path = f"/v1/buyer/providers/{added['id']}"
    await caller.ask("GET", "/v1/buyer/providers", buyer)
    await caller.ask("PATCH", path, buyer, json={"label": "mine"})
    await caller.ask("DELETE", path, buyer)


async def call_text(caller: Caller) -> None:
    model, buyer = make_body()["model"], caller.buyer
    calls = {
        "chat/completions": make_body(),
        "completions": {"model": model, "prompt": "Say hello.", "max_tokens": 100},
        "responses": {"model": model, "input": "Say hello.", "max_output_tokens": 100},
        "messages": make_body(),
        "embeddings": {"model": model, "input": "Say hello."},
    }
    for endpoint, body in calls.items():
        await caller.ask("POST", f"/v1/{endpoint}", buyer, json=body)
    await caller.ask("POST", "/v1/messages/count_tokens", buyer, json=make_body())
    for endpoint in ("chat/completions", "completions", "messages", "responses"):
        body = {**calls[endpoint], "stream": True}
        events = await caller.ask("POST", f"/v1/{endpoint}", buyer, json=body)
        assert events.count("data: ") > 2
    sold = await caller.shop.market.client.post(
        "/v1/chat/completions", json=make_body(), headers=buyer
    )
    await caller.ask("GET", f"/v1/buyer/sales/{sold.headers['x-request-id']}", buyer)
    # Before the seller fails: its offer rests then, for a time that a slow machine outlives.
    await caller.ask("GET", f"/v1/route/explain?model={model}", buyer)
    caller.shop.seller.behaviour = "status_500"
    failed = await caller.shop.market.client.post("/v1/responses", json=body, headers=buyer)
    assert failed.status_code == 502, failed.text
    caller.shop.seller.behaviour = "normal"


async def call_resale(caller: Caller) -> str:
    """Return where the API was."""
    seller, path = caller.seller, "/v1/seller/connections"
    async with run_api() as api:
        with write(caller.shop.market.engine) as connection:
            approve_name(connection, name=API_NAME, owner=SELLER.address.lower(), now_s=1)
        made = await caller.ask("POST", path, seller, json=make_connection(api.url))
        one = f"{path}/{made['id']}"
        await caller.ask("GET", path, seller)
        await caller.ask("GET", one, seller)
        await caller.ask("PATCH", one, seller, json={"price_usd": "0.1"})
        await caller.ask("POST", f"{one}/test", seller)
        await caller.ask("GET", f"/x402/{made['sold_under']}/v1/blocks/latest", caller.buyer)
        for name in ("status", "calls", "calls.csv"):
            await caller.ask("GET", f"{one}/{name}", seller)
        await caller.ask("GET", "/v1/apis")
        await caller.ask("GET", f"/v1/apis/{made['sold_under']}/openapi.json")
        await caller.ask("GET", "/discovery/resources")
        await caller.ask("DELETE", one, seller)
        return api.url


async def call_media(caller: Caller) -> None:
    buyer, client = caller.buyer, caller.shop.market.client
    body: dict[str, Any] = {"model": IMAGE_MODEL, "prompt": "a cat"}
    await caller.ask("POST", "/v1/images/generations", buyer, json=body)
    speech = {"model": SPEECH_MODEL, "input": "Hello.", "voice": "alto"}
    await caller.ask("POST", "/v1/audio/speech", buyer, json=speech)
    form = {"data": {"model": TRANSCRIPT_MODEL}, "files": {"file": ("a.wav", make_wav(2))}}
    await caller.ask("POST", "/v1/audio/transcriptions", buyer, **form)
    for kind, model in (("video", VIDEO_MODEL), ("music", MUSIC_MODEL)):
        job = {"model": model, "prompt": "a cat that walks", "seconds": "8"}
        made = await caller.ask("POST", f"/v1/{kind}/generations", buyer, json=job)
        path = f"/v1/{kind}/generations/{made['id']}"
        await caller.ask("DELETE", path, bearer(made["job_token"]))
        complete(caller.shop.seller)
        made = await caller.ask("POST", f"/v1/{kind}/generations", buyer, json=job)
        path = f"/v1/{kind}/generations/{made['id']}"

        async def is_made(path: str = path) -> bool:
            answer = await client.get(path.replace("/v1", "/min0/v1"), headers=buyer)
            return bool(answer.json()["status"] == "completed")

        await until_it(is_made)
        shown = await caller.ask("GET", path, buyer)
        url = shown["data"][0]["url"]
        await caller.ask("GET", url[url.index("/v1/") :])
        caller.shop.seller.news = {"status": "in_progress"}


async def call_public(caller: Caller) -> None:
    model = make_body()["model"]
    for path in (
        "/v1/models",
        f"/v1/models/{model}",
        "/v1/prices",
        "/api/markets",
        f"/api/markets/{model}",
        "/v1/sellers",
        "/feed?limit=100",
        "/metrics",
        "/healthz",
        "/readyz",
    ):
        await caller.ask("GET", path)
    await call_evidence(caller, model)
    for name in ("earnings", "earnings.csv", "capacity", "health-log", "health-log.csv"):
        await caller.ask("GET", f"/v1/seller/{name}", caller.seller)


async def call_evidence(caller: Caller, model: str) -> None:
    listed = await caller.ask("GET", "/v1/seller/offers", caller.seller)
    offer = next(one["id"] for one in listed["offers"] if one["model"] == model)
    block = AnswerBlock("border-0", ("willow", "willow"), ("willow", "raven"))
    # A minute ahead: a dispute shows what was made in its second or later.
    now_s = int(time.time()) + 60
    with write(caller.shop.market.engine) as connection:
        record(
            connection,
            ProbedOffer(offer, 0, model, SELLER.address.lower()),
            Method.BORDER,
            observed=write_rounds([[block]]),
            transcript=[
                {
                    "question": "Choose one word and say only that word: raven, willow.",
                    "offer": [["request-1", "Willow"], ["request-3", "willow"]],
                    "reference": [["request-2", "Willow."], ["request-4", "Raven"]],
                }
            ],
            cost_usdc=120,
            now_s=now_s,
        )
    await caller.ask("GET", f"/v1/models/{model}/evidence")
    await caller.ask("GET", f"/v1/evidence/{datetime.fromtimestamp(now_s, UTC).date()}")
    await caller.ask("GET", f"/v1/seller/offers/{offer}/evidence", caller.seller)
    account = await caller.ask("GET", "/v1/buyer/account", caller.buyer)
    with read(caller.shop.market.engine) as connection:
        sale = table_of(MarketSale)
        paid = select(sale.c.request_id).where(
            sale.c.state == "posted", sale.c.account_id == account["account_id"]
        )
        request_id = connection.execute(paid.order_by(sale.c.sale_id).limit(1)).scalar_one()
    wish = {"request_id": request_id, "reason": "It answers like a smaller model."}
    filed = await caller.ask("POST", "/v1/disputes", caller.buyer, json=wish)
    await caller.ask("GET", "/v1/disputes", caller.buyer)
    await caller.ask("GET", f"/v1/disputes/{filed['dispute_id']}", caller.buyer)
    wish = {"reason": "The endpoint was misconfigured; it is mended."}
    await caller.ask("POST", f"/v1/seller/offers/{offer}/retest", caller.seller, json=wish)


async def call_keys(shop: Shop, caller: Caller) -> None:
    for role, headers in (("seller", caller.seller), ("buyer", caller.buyer)):
        account = SELLER if role == "seller" else OUTSIDER
        issued = (await shop.market.issue_key(account, role, label="laptop")).json()
        if role == "buyer":
            headers = bearer(issued["api_key"])
        await caller.ask("GET", f"/v1/{role}/auth/keys", headers)
        await caller.ask("DELETE", f"/v1/{role}/auth/keys/{issued['key_id']}", headers)


async def call_wrongly(
    shop: Shop, caller: Caller, document: Document, session: dict[str, str]
) -> None:
    """Call every operation without its key, and with a body that is no object.

    ``session``: the headers of a supplier who is signed in.
    """
    client = shop.market.client
    for path, methods in document.written["paths"].items():
        filled = path.replace("{", "").replace("}", "")
        for method, operation in methods.items():
            body = b"[]" if "requestBody" in operation else None
            keys = str(operation.get("security", ""))
            answer = await client.request(method, filled, content=body)
            if keys and operation["operationId"] not in PAID_WITHOUT_A_KEY:
                assert answer.status_code == 401, (path, answer.text)
            if body is not None:
                headers = caller.seller if "sellerKey" in keys else caller.buyer
                if "/v1/supply/" in path or "/v1/review/" in path:
                    headers = session
                refused = await client.request(method, filled, headers=headers, content=body)
                assert refused.status_code == 400, (path, refused.text)
