"""Requests paid one by one, and top-ups, by the x402 package's own clients on a real chain.

::

    the package pays: httpx, requests; version 2, version 1; each endpoint; a stream; /min{N}
    ├── charged as any other request; the rest is credit; the treasury has the money; L7
    └── x402 off, a key, an unknown key, a chain that is away
    a payment
    ├── for something else: network, asset, payee, amount, times, signature → 402, nothing taken
    ├── again after it was used │ for another request │ twice at once → one is served, once
    ├── of more than the balance │ of a wallet │ of USDC that is paused
    └── of a price that changed: dearer → asked anew; cheaper → taken, the rest is credit
    the keeper is away → bounded wait, nothing lost; comes back → credit, the same payment serves
    drained before it settles → 402; all sellers fail → credit, the same payment serves later
    serving before settlement
    the least that the keeper sends: asked for, said; moved since; top-ups
    top-ups: bounds, whose account, again
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from eth_abi.abi import encode
from eth_account import Account
from x402.http.clients import wrapRequestsWithPayment
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.mechanisms.evm.exact.v1.client import ExactEvmSchemeV1
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.mechanisms.evm.v1.constants import V1_NETWORK_CHAIN_IDS

from contracts.authorizations import Authorization
from contracts.signatures import ERC6492_SUFFIX
from ledger.database.engine import write
from ledger.payments.floor import save_floor
from market.operator import ArgumentInvalid, agree_fee, agree_trust
from serving.dialects.endpoints import Endpoint
from tests.support.answers import MODEL
from tests.support.authorizations import authorize, deploy_wallet, submit
from tests.support.keepers import Stage
from tests.support.market import BUYER, OUTSIDER, bearer, make_body
from tests.support.payments import (
    CHAT,
    FEE_USDC,
    FUNDS_USDC,
    TOPUP,
    Shop,
    build_header,
    header_of,
    make_client,
    make_sync_client,
    read_answer,
    run_shop,
)
from tests.support.waiting import LIMIT_S

COST_USDC = 300 + FEE_USDC
"""What the seller's usual answer costs with the fee: 20 tokens at 5, 10 at 20 USDC a million."""


def assert_paid(shop: Shop, answer: httpx.Response, *, version: int = 2) -> None:
    """Check a paid answer against the chain and the ledger."""
    assert answer.status_code == 200, answer.text
    payment = shop.payments()[-1]
    name = "payment-response" if version == 2 else "x-payment-response"
    receipt = decode_payment_response_header(answer.headers[name])
    assert receipt.success
    assert receipt.transaction == payment["tx_hash"]
    assert receipt.payer == BUYER.address.lower()
    assert receipt.amount == str(payment["value_usdc"])
    assert payment["state"] == "settled"
    assert shop.paid_usdc() == sum(one["value_usdc"] for one in shop.payments())


async def buyer_account(shop: Shop) -> dict[str, Any]:
    return await shop.market.account(await shop.market.get_key(BUYER, "buyer"))


# --------------------------------------------------------------------------------- the package pays


async def test_chat__paid_by_the_packages_client__is_charged_and_the_rest_is_credit(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        asked = await shop.ask()
        required = decode_payment_required_header(asked.headers["payment-required"])
        async with shop.payer() as payer:
            answer = await payer.post(CHAT, json=make_body())

        assert_paid(shop, answer)
        value_usdc = shop.payments()[0]["value_usdc"]
        assert required.accepts[0].amount == str(value_usdc)  # type: ignore[union-attr]
        assert answer.headers["x-market-reserved-usdc"] == str(value_usdc)
        assert answer.headers["x-market-cost-usdc"] == str(COST_USDC)
        assert answer.headers["x-market-credit-usdc"] == str(value_usdc - COST_USDC)
        (sale,) = await shop.market.settled_sales()
        assert (sale["cost_usdc"], sale["fee_usdc"], sale["earning_usdc"]) == (COST_USDC, 15, 285)
        assert sale["margin_usdc"] == FEE_USDC

        account = await buyer_account(shop)
        assert account["available_usdc"] == value_usdc - COST_USDC
        assert [one["state"] for one in account["payments"]] == ["settled"]
        # The rest is there for a key of the same wallet.
        key = await shop.market.get_key(BUYER, "buyer")
        with_key = await shop.market.chat(key, max_tokens=10)
        assert with_key.status_code == 200, with_key.text
        assert with_key.headers["x-market-cost-usdc"] == str(COST_USDC - FEE_USDC)
        await shop.market.settled_sales()


async def test_chat__paid_by_the_packages_blocking_client__is_served(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        session = wrapRequestsWithPayment(requests.Session(), make_sync_client())
        answer = await asyncio.to_thread(session.post, shop.url + CHAT, json=make_body())

        assert answer.status_code == 200, answer.text
        assert decode_payment_response_header(answer.headers["payment-response"]).success
        assert len(await shop.market.settled_sales()) == 1
        session.close()


class WithoutHeader(httpx.AsyncHTTPTransport):
    """What a client of version 1 sees: it does not know the header of version 2."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.headers.pop("payment-required", None)
        return response


async def test_chat__paid_by_version_1__is_served(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Version 1 of the package knows chains from a table of its own; this one is not in it.
    network = f"eip155:{stage.world.deployment.chain_id}"
    monkeypatch.setitem(V1_NETWORK_CHAIN_IDS, network, stage.world.deployment.chain_id)
    client = make_client().register_v1(network, ExactEvmSchemeV1(EthAccountSigner(BUYER)))
    async with run_shop(stage, tmp_path) as shop:
        transport = x402AsyncTransport(client, WithoutHeader())
        async with httpx.AsyncClient(
            transport=transport, base_url=shop.url, timeout=LIMIT_S
        ) as payer:
            answer = await payer.post(CHAT, json=make_body())

        assert_paid(shop, answer, version=1)
        assert "payment-response" not in answer.headers
        await shop.market.settled_sales()


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.COMPLETIONS, {"model": MODEL, "prompt": "Hello", "max_tokens": 50}),
        (Endpoint.RESPONSES, {"model": MODEL, "input": "Hello", "max_output_tokens": 50}),
        (Endpoint.EMBEDDINGS, {"model": MODEL, "input": "Hello"}),
    ],
)
async def test_endpoints__each__can_be_paid(
    stage: Stage, tmp_path: Path, endpoint: Endpoint, body: dict[str, Any]
) -> None:
    async with run_shop(stage, tmp_path) as shop, shop.payer() as payer:
        answer = await payer.post(f"/v1/{endpoint}", json=body)

        assert_paid(shop, answer)
        (sale,) = await shop.market.settled_sales()
        assert sale["endpoint"] == endpoint


async def test_stream__paid__is_charged_when_it_ends(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path) as shop, shop.payer() as payer:
        body = make_body(stream=True, stream_options={"include_usage": True})
        answer = await payer.post(CHAT, json=body)

        assert_paid(shop, answer)
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert f'"cost_usdc":{COST_USDC}' in answer.text.replace(" ", "")
        await shop.market.settled_sales()
        paid_usdc = shop.payments()[0]["value_usdc"]
        # All of it is set aside meanwhile; a short stream may be over before the head is sent.
        assert answer.headers["x-market-credit-usdc"] in ("0", str(paid_usdc - COST_USDC))
        assert (await buyer_account(shop))["available_usdc"] == paid_usdc - COST_USDC


async def test_minimum_discount__counts_the_fee_and_keeps_its_path(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop, shop.payer() as payer:
        path = "/min20/v1/chat/completions"
        asked = await shop.ask(path)
        required = decode_payment_required_header(asked.headers["payment-required"])
        assert required.resource is not None  # type: ignore[union-attr]
        assert required.resource.url.endswith(path)  # type: ignore[union-attr]
        assert asked.json()["accepts"][0]["resource"].endswith(path)
        assert_paid(shop, await payer.post(path, json=make_body()))

        # The seller asks for half of the reference price; the fee makes it less of a discount.
        refused = await shop.ask("/min50/v1/chat/completions")
        assert refused.status_code == 503
        assert read_answer(refused)["error"]["code"] == "minimum_discount_not_met"
        key = await shop.market.get_buyer_key()
        with_key = await shop.market.chat(key, path="/min50/v1/chat/completions")
        assert with_key.status_code == 200, with_key.text


# ----------------------------------------------------------------------------------- who must pay


async def test_without_x402__no_key__is_refused_as_ever(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, x402=False) as shop:
        answer = await shop.ask()
        topup = await shop.market.client.post(TOPUP, json={"amount_usd": 1})

        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")
        assert topup.status_code == 404


async def test_no_payment__wrong_requests_and_keys__are_refused_first(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        unknown_key = await shop.market.chat("inf_" + "A" * 43)
        no_json = await shop.market.client.post(CHAT, content=b"{")
        unknown_model = await shop.ask(model="nobody-sells-this")
        wrong_segment = await shop.ask("/min030/v1/chat/completions")

        assert unknown_key.status_code == 401
        assert no_json.status_code == 400
        assert unknown_model.status_code == 404
        assert wrong_segment.json()["error"]["code"] == "invalid_minimum_discount"


async def test_chain_away__is_told_and_nothing_is_taken(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, rpc_url="http://127.0.0.1:9") as shop:
        answer = await shop.ask()

        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "chain_unavailable")
        key = await shop.market.get_buyer_key()
        assert (await shop.market.chat(key)).status_code == 200, "keys need no chain"


# ----------------------------------------------------------------------- payments that will not do


MISMATCH = "invalid_exact_evm_payload_authorization_value_mismatch"


async def test_payments__that_will_not_do__take_nothing(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        world = shop.stage.world
        asked = int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])

        def sign(value_usdc: int = asked, **changes: Any) -> Authorization:
            changes = {"account": BUYER, "lives_s": 300, **changes}
            return authorize(world, value_usdc, **changes)

        poor = Account.from_key("0x" + "77" * 32)
        used = sign()
        submit(world, used)
        before = shop.paid_usdc()
        long_ago, not_yet = sign(lives_s=5), sign()
        not_yet = Authorization(
            not_yet.payer,
            not_yet.payee,
            asked,
            not_yet.valid_before_s,
            not_yet.valid_before_s,
            not_yet.nonce,
            not_yet.signature,
        )
        cases: list[tuple[dict[str, str], str]] = [
            (build_header(shop, sign(asked - 1)), MISMATCH),
            (build_header(shop, sign(asked + 1)), MISMATCH),
            (build_header(shop, sign(2**63 - 1)), MISMATCH),
            (build_header(shop, sign(2**63)), MISMATCH),
            (build_header(shop, sign(0)), MISMATCH),
            (build_header(shop, sign(), network="eip155:1"), "network_mismatch"),
            (build_header(shop, sign(), asset="0x" + "12" * 20), "invalid_asset"),
            (
                build_header(shop, sign(payee=OUTSIDER.address)),
                "invalid_exact_evm_payload_recipient_mismatch",
            ),
            (
                build_header(shop, sign(account=OUTSIDER, payer=BUYER.address)),
                "invalid_exact_evm_payload_signature",
            ),
            (
                build_header(shop, long_ago),
                "invalid_exact_evm_payload_authorization_valid_before",
            ),
            (
                build_header(shop, sign(lives_s=86_400)),
                "invalid_exact_evm_payload_authorization_valid_before",
            ),
            (build_header(shop, not_yet), "invalid_exact_evm_payload_authorization_valid_after"),
            (build_header(shop, used), "invalid_exact_evm_nonce_already_used"),
            (build_header(shop, sign(account=poor)), "invalid_exact_evm_insufficient_balance"),
            ({"PAYMENT-SIGNATURE": "rubbish"}, "invalid_payload"),
            ({"X-PAYMENT": "e30="}, "invalid_x402_version"),
        ]
        for header, reason in cases:
            answer = await shop.pay(header)
            assert answer.status_code == 402, (reason, answer.text)
            assert answer.json()["error"] == reason
            required = decode_payment_required_header(answer.headers["payment-required"])
            assert required.error == reason
        assert shop.payments() == []
        assert shop.paid_usdc() == before
        assert shop.market.sales() == []


async def test_payment__usdc_is_paused_or_refuses_the_payer__takes_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        usdc = stage.world.contracts.usdc.functions
        header = await shop.make_payment()
        stage.world.send("admin", usdc.pause())
        paused = await shop.pay(header)
        stage.world.send("admin", usdc.unpause())
        stage.world.send("admin", usdc.blacklist(BUYER.address, True))
        refused = await shop.pay(header)

        assert paused.status_code == refused.status_code == 402
        assert "usdc: paused" in paused.json()["message"]
        assert "usdc: blacklisted" in refused.json()["message"]
        assert shop.payments() == []


async def test_payments__of_more_than_the_balance__only_what_it_covers_is_taken(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, x402_wait_s=0.1) as shop:
        asked = int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])
        stage.world.fund_usdc(OUTSIDER.address, 2 * asked - 1)
        first = await shop.pay(await shop.make_payment(account=OUTSIDER))
        second = await shop.pay(await shop.make_payment(account=OUTSIDER))

        assert first.status_code == 503
        assert second.status_code == 402
        assert second.json()["error"] == "invalid_exact_evm_insufficient_balance"
        assert len(shop.payments()) == 1


# ------------------------------------------------------------------------------ again, and at once


async def test_payment__used_before__serves_nothing_more(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path) as shop:
        header = await shop.make_payment()
        first = await shop.pay(header)
        again = await shop.pay(header)
        other = await shop.pay(header, max_tokens=50)
        elsewhere = await shop.pay(header, "/min0/v1/chat/completions")

        assert first.status_code == 200, first.text
        for answer in (again, other, elsewhere):
            assert answer.status_code == 402
            assert answer.json()["error"] == "invalid_exact_evm_nonce_already_used"
        assert len(await shop.market.settled_sales()) == len(shop.payments()) == 1
        assert len(shop.seller.requests) == 1


async def test_payment__sent_many_times_at_once__serves_one_request(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        shop.seller.delay_s = 0.05
        header = await shop.make_payment()
        answers = await asyncio.gather(*(shop.pay(header) for _ in range(6)))

        assert sorted(a.status_code for a in answers)[0] == 200
        assert [a.status_code for a in answers].count(200) == 1
        assert {a.status_code for a in answers} <= {200, 402, 503}
        assert len(shop.payments()) == 1
        sales = await shop.market.settled_sales()
        assert [sale["state"] for sale in sales] == ["posted"]
        assert shop.paid_usdc() == shop.payments()[0]["value_usdc"]


async def test_payments__of_one_payer_at_once__each_serve_their_own(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        headers = [await shop.make_payment() for _ in range(8)]
        answers = await asyncio.gather(*(shop.pay(header) for header in headers))

        assert [answer.status_code for answer in answers] == [200] * 8
        assert len(await shop.market.settled_sales()) == 8
        assert shop.paid_usdc() == sum(one["value_usdc"] for one in shop.payments())


async def test_payment__submitted_by_somebody_else_first__serves_all_the_same(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        asked = int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])
        signed = authorize(stage.world, asked, account=BUYER, lives_s=300)
        paying = asyncio.create_task(shop.pay(build_header(shop, signed)))
        await shop.until(shop.payments)
        submit(stage.world, signed)
        await shop.until(paying.done, rounds=True)

        assert (await paying).status_code == 200
        assert shop.paid_usdc() == asked
        await shop.market.settled_sales()


# --------------------------------------------------------------------------------------- wallets


async def test_payment__of_a_contract_wallet__is_served(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, x402_contracts=True) as shop:
        wallet = deploy_wallet(stage.world, BUYER)
        stage.world.fund_usdc(wallet, FUNDS_USDC)
        asked = int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])
        plain = authorize(stage.world, asked, account=BUYER, payer=wallet, lives_s=300)
        wrapped = authorize(stage.world, asked, account=BUYER, payer=wallet, lives_s=300)
        suffixed = encode(["address", "bytes", "bytes"], [OUTSIDER.address, b"", wrapped.signature])
        wrapped = Authorization(
            wrapped.payer,
            wrapped.payee,
            asked,
            0,
            wrapped.valid_before_s,
            wrapped.nonce,
            suffixed + ERC6492_SUFFIX,
        )
        answers = [await shop.pay(build_header(shop, one)) for one in (plain, wrapped)]

        assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
        assert {one["payer"] for one in shop.payments()} == {wallet.lower()}
        foreign = authorize(stage.world, asked, account=OUTSIDER, payer=wallet, lives_s=300)
        refused = await shop.pay(build_header(shop, foreign))
        assert refused.json()["error"] == "invalid_exact_evm_payload_signature"
        await shop.market.settled_sales()


async def test_payment__of_an_address_with_code__is_refused_unless_allowed(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        wallet = deploy_wallet(stage.world, BUYER)
        stage.world.fund_usdc(wallet, FUNDS_USDC)
        stage.world.fund_usdc(OUTSIDER.address, FUNDS_USDC)
        # EIP-7702: a key's account that delegates to a contract.
        delegated = "0xef0100" + wallet[2:]
        stage.world.anvil.request("anvil_setCode", OUTSIDER.address, delegated)
        asked = int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])
        signed = [
            authorize(stage.world, asked, account=BUYER, payer=wallet, lives_s=300),
            authorize(stage.world, asked, account=OUTSIDER, lives_s=300),
        ]

        answers = [await shop.pay(build_header(shop, one)) for one in signed]

        assert [answer.status_code for answer in answers] == [402, 402]
        assert {answer.json()["error"] for answer in answers} == {
            "invalid_exact_evm_payload_signature"
        }
        assert "has code" in answers[0].json()["message"]
        assert shop.payments() == []


async def test_payment__more_than_may_wait_of_one_payer__is_refused(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(
        stage, tmp_path, is_kept=False, x402_wait_s=0.05, x402_payments_open_max=2
    ) as shop:
        headers = [await shop.make_payment() for _ in range(3)]
        answers = [await shop.pay(header) for header in headers]

        assert [answer.status_code for answer in answers] == [503, 503, 402]
        assert answers[2].json()["error"] == "payer_refused"
        assert len(shop.payments()) == 2
        assert (await shop.pay(headers[0])).status_code == 503, "what waits may be asked for"


# --------------------------------------------------------------------- the keeper, and the sellers


async def test_keeper_away__wait_is_bounded_and_the_payment_serves_later(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, x402_wait_s=0.2) as shop:
        header = await shop.make_payment()
        pending = await shop.pay(header)
        still = await shop.pay(header)

        for answer in (pending, still):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "payment_pending"
            assert answer.json()["payment"]["state"] == "verified"
        assert shop.seller.requests == []

        await shop.until(lambda: shop.payments()[0]["state"] == "settled", rounds=True)
        paid_usdc = shop.payments()[0]["value_usdc"]
        assert (await buyer_account(shop))["available_usdc"] == paid_usdc
        served = await shop.pay(header)
        assert_paid(shop, served)
        assert len(shop.payments()) == 1
        await shop.market.settled_sales()


async def test_keeper_away_until_it_expires__nothing_is_taken(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, x402_wait_s=0.2) as shop:
        header = await shop.make_payment()
        assert (await shop.pay(header)).status_code == 503
        stage.world.anvil.warp_to(shop.payments()[0]["valid_before_s"] + 60)
        await shop.until(lambda: shop.payments()[0]["state"] == "expired", rounds=True)
        answer = await shop.pay(header)

        assert answer.status_code == 402
        assert "never settled" in answer.json()["message"]
        assert shop.paid_usdc() == 0
        assert (await buyer_account(shop))["credited_usdc"] == 0


async def test_drained_before_it_settles__is_told_and_may_be_credit_later(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        paying = asyncio.create_task(shop.pay(await shop.make_payment()))
        await shop.until(shop.payments)
        elsewhere = stage.world.accounts["outsider"].address
        submit(stage.world, authorize(stage.world, FUNDS_USDC, account=BUYER, payee=elsewhere))
        await shop.until(paying.done, rounds=True)

        answer = await paying
        assert answer.status_code == 402
        assert answer.json()["error"] == "invalid_exact_evm_transaction_simulation_failed"
        assert shop.seller.requests == []
        assert (await buyer_account(shop))["credited_usdc"] == 0


async def test_sellers_fail__payment_is_credit_and_serves_later(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        header = await shop.make_payment()
        shop.seller.behaviour = "status_400"
        failed = await shop.pay(header)
        paid_usdc = shop.payments()[0]["value_usdc"]

        assert failed.status_code == 400
        assert failed.headers["x-market-credit-usdc"] == str(paid_usdc)
        assert decode_payment_response_header(failed.headers["payment-response"]).success
        assert failed.json()["payment"]["state"] == "settled"
        assert "is the payer's credit" in failed.json()["error"]["message"]
        other = await shop.pay(header, max_tokens=50)
        assert other.status_code == 402, "only the same request"

        shop.seller.behaviour = "normal"
        served = await shop.pay(header)
        assert_paid(shop, served)
        assert served.headers["x-market-credit-usdc"] == str(paid_usdc - COST_USDC)
        assert (await shop.pay(header)).status_code == 402, "and once only"
        assert shop.paid_usdc() == paid_usdc
        sales = await shop.market.settled_sales()
        assert [sale["state"] for sale in sales] == ["voided", "posted"]


@pytest.mark.parametrize("behaviour", ["status_500", "disconnect"])
async def test_sellers_fail__whatever_the_cause__nothing_is_charged(
    stage: Stage, tmp_path: Path, behaviour: str
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        header = await shop.make_payment()
        shop.seller.behaviour = behaviour
        failed = await shop.pay(header)

        assert failed.status_code == 502
        paid_usdc = shop.payments()[0]["value_usdc"]
        assert failed.headers["x-market-credit-usdc"] == str(paid_usdc)
        assert [sale["state"] for sale in await shop.market.settled_sales()] == ["voided"]
        assert (await buyer_account(shop))["available_usdc"] == paid_usdc


# ------------------------------------------------------------------------------------------ prices


async def test_price__dearer_since__is_asked_for_anew(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        header = await shop.make_payment()
        await shop.market.client.patch(
            f"/v1/seller/offers/{shop.offer['id']}",
            json={"price_output_per_1m": 40},
            headers=bearer(shop.seller_key),
        )
        answer = await shop.pay(header)

        assert answer.status_code == 402
        assert answer.json()["error"] == MISMATCH
        assert shop.payments() == []


async def test_price__another_seller_is_cheaper_since__the_rest_is_credit(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        header = await shop.make_payment()
        await shop.market.list_offer(shop.seller_key, shop.seller.url, price_output_per_1m=10)
        answer = await shop.pay(header)

        assert_paid(shop, answer)
        assert int(answer.headers["x-market-cost-usdc"]) == COST_USDC - 100
        await shop.market.settled_sales()


async def test_payment__whatever_the_session__buys_from_the_cheapest_that_it_was_asked_for(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, session_premium_pct=5) as shop:
        key = await shop.market.get_key(OUTSIDER)
        await shop.market.list_offer(key, shop.seller.url, price_output_per_1m="20.5")
        # Credit beside the payment would pay for the dearer seller.
        await shop.market.get_buyer_key()
        for number in range(5):
            async with shop.payer() as payer:
                body = make_body(user=f"session-{number}")
                answer = await payer.post(CHAT, json=body)
            assert answer.headers["x-market-cost-usdc"] == str(COST_USDC), answer.text


async def test_fee__none_and_a_free_seller__still_costs_a_unit(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, x402_fee_usdc=0) as shop, shop.payer() as payer:
        await shop.market.list_offer(
            shop.seller_key, shop.seller.url, price_input_per_1m=0, price_output_per_1m=0
        )
        answer = await payer.post(CHAT, json=make_body())

        assert_paid(shop, answer)
        assert shop.payments()[0]["value_usdc"] == 1
        assert answer.headers["x-market-credit-usdc"] == "1"


async def test_serve_first__is_served_at_once_and_credited_once(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False, x402_serve_first=True) as shop:
        answer = await shop.pay(await shop.make_payment())
        assert answer.status_code == 200, answer.text
        assert shop.payments()[0]["state"] == "verified"
        await shop.market.settled_sales()

        await shop.until(lambda: shop.payments()[0]["state"] == "settled", rounds=True)
        paid_usdc = shop.payments()[0]["value_usdc"]
        account = await buyer_account(shop)
        assert account["credited_usdc"] == shop.paid_usdc() == paid_usdc
        await shop.market.settled_sales()


# ------------------------------------------------------------------- what is too small to be sent


def set_floor(stage: Stage, floor_usdc: int) -> None:
    """Let the keeper have said the least that it sends."""
    with write(stage.engine) as connection:
        save_floor(connection, floor_usdc, now_s=1)


@pytest.mark.parametrize("serves_first", [False, True])
async def test_floor__above_the_price__is_asked_for_and_the_rest_is_credit(
    stage: Stage, tmp_path: Path, serves_first: bool
) -> None:
    async with run_shop(stage, tmp_path, x402_serve_first=serves_first) as shop:
        set_floor(stage, 50_000)
        asked = await shop.ask()
        answer = await shop.pay(header_of(await shop.sign(asked)))

        terms = asked.json()["accepts"][0]
        assert terms["maxAmountRequired"] == "50000"
        assert "0.050000 USDC is the least that a payment has to move" in terms["description"]
        assert "0.050000 USDC is the least" in asked.json()["message"]
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-market-credit-usdc"] == str(50_000 - COST_USDC)
        await shop.market.settled_sales()


async def test_floor__below_the_price__changes_nothing(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        before = (await shop.ask()).json()
        set_floor(stage, 1)
        assert (await shop.ask()).json() == before


async def test_floor__moved_since_it_was_asked__lower_is_taken_and_higher_asked_anew(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, x402_serve_first=True) as shop:
        set_floor(stage, 50_000)
        signed = [header_of(await shop.sign(await shop.ask())) for _ in range(2)]
        set_floor(stage, 20_000)
        lower = await shop.pay(signed[0])
        set_floor(stage, 80_000)
        higher = await shop.pay(signed[1])

        assert lower.status_code == 200, lower.text
        assert higher.status_code == 402
        assert higher.json()["accepts"][0]["maxAmountRequired"] == "80000"
        assert [one["value_usdc"] for one in shop.payments()] == [50_000]
        await shop.market.settled_sales()


async def test_floor__above_a_topup__is_said_and_what_was_signed_before_is_credited(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        client = shop.market.client
        asked = await client.post(TOPUP, json={"amount_usd": 1})
        header = header_of(await shop.sign(asked))
        bought = await client.post(TOPUP, json={"amount_usd": 1}, headers=header)
        set_floor(stage, 1_500_000)
        again = await client.post(TOPUP, json={"amount_usd": 1}, headers=header)
        too_small = await client.post(TOPUP, json={"amount_usd": 1})

        assert bought.status_code == again.status_code == 200, again.text
        assert too_small.status_code == 400
        error = too_small.json()["error"]
        assert (error["code"], error["param"]) == ("amount_too_small", "amount_usd")
        assert "1.500000 USDC is the least" in error["message"]
        assert shop.paid_usdc() == 1_000_000


# ----------------------------------------------------------------------------------------- top-ups


async def test_topup__by_the_package__is_credit_of_the_payer(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path) as shop:
        async with shop.payer() as payer:
            answer = await payer.post(TOPUP, json={"amount_usd": "12.5"})
        assert_paid(shop, answer)
        body = answer.json()
        assert body["available_usdc"] == shop.paid_usdc() == 12_500_000
        account = await buyer_account(shop)
        assert account["account_id"] == body["account_id"]
        assert account["credited_usdc"] == 12_500_000
        (topup,) = account["payments"]
        assert (topup["purpose"], topup["value_usdc"]) == ("topup", 12_500_000)
        shop.market.sales()


async def test_topup__with_a_key__is_credit_of_its_account(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path) as shop:
        key = await shop.market.get_key(OUTSIDER, "buyer")
        async with shop.payer() as payer:
            answer = await payer.post(TOPUP, json={"amount_usd": 1}, headers=bearer(key))
        assert_paid(shop, answer)
        assert (await shop.market.account(key))["available_usdc"] == 1_000_000
        assert (await buyer_account(shop))["available_usdc"] == 0


async def test_topup__again_or_for_another_account__is_credit_once(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        client = shop.market.client
        asked = await client.post(TOPUP, json={"amount_usd": 2})
        header = header_of(await shop.sign(asked))
        first = await client.post(TOPUP, json={"amount_usd": 2}, headers=header)
        again = await client.post(TOPUP, json={"amount_usd": 2}, headers=header)
        more = await client.post(TOPUP, json={"amount_usd": 3}, headers=header)
        key = await shop.market.get_key(OUTSIDER, "buyer")
        theirs = await client.post(TOPUP, json={"amount_usd": 2}, headers={**header, **bearer(key)})
        as_request = await shop.pay(header)

        assert first.status_code == again.status_code == 200, first.text
        assert first.json() == again.json()
        assert more.status_code == theirs.status_code == as_request.status_code == 402
        assert shop.paid_usdc() == 2_000_000
        assert (await buyer_account(shop))["credited_usdc"] == 2_000_000
        assert (await shop.market.account(key))["credited_usdc"] == 0


async def test_topup__out_of_bounds__is_refused(stage: Stage, tmp_path: Path) -> None:
    amounts = [0, "0", -1, "0.0000001", "1e3", "x", None, True, [], 1_000.000001, 10**15]
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        for amount in amounts:
            answer = await shop.market.client.post(TOPUP, json={"amount_usd": amount})
            assert answer.status_code == 400, amount
            assert answer.json()["error"]["code"] == "invalid_amount"


async def test_topup__at_its_bounds__is_asked_for(stage: Stage, tmp_path: Path) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        for amount, asked in (("0.000001", "1"), (1_000, "1000000000")):
            answer = await shop.market.client.post(TOPUP, json={"amount_usd": amount})
            assert answer.json()["accepts"][0]["maxAmountRequired"] == asked
        bad_key = await shop.market.client.post(
            TOPUP, json={"amount_usd": 1}, headers=bearer("inf_" + "A" * 43)
        )
        assert bad_key.status_code == 401


# ------------------------------------------------------------------------------ sellers' own terms


async def test_seller_account__policy_is_the_sellers_fee_and_trust_the_operators(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        client, path = shop.market.client, "/v1/seller/account"
        headers = bearer(shop.seller_key)
        before = (await client.get(path, headers=headers)).json()
        seller = before["address"]
        changed = await client.patch(path, json={"payout_policy": "daily"}, headers=headers)
        bodies: list[Any] = [{"payout_policy": "weekly"}, {"fee_bps": 0}, {}, []]
        refused = [await client.patch(path, json=body, headers=headers) for body in bodies]
        said = agree_fee(stage.engine, seller.upper().replace("0X", "0x"), 250)
        agree_trust(stage.engine, seller, is_trusted=True)
        after = (await client.get(path, headers=headers)).json()

        assert (before["payout_policy"], before["fee_bps"]) == ("at_once", 500)
        assert changed.json()["payout_policy"] == "daily"
        assert [answer.status_code for answer in refused] == [400] * 4
        assert said == f"seller {seller} pays a fee of 250 bps from now on"
        assert after == {
            **before,
            "payout_policy": "daily",
            "fee_bps": 250,
            "fee_pct": 2.5,
            "is_trusted": True,
        }
        with pytest.raises(ArgumentInvalid, match="once it has signed in"):
            agree_fee(stage.engine, "0x" + "99" * 20, 1)
