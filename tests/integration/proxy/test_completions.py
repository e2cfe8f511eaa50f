"""Chat completions over HTTP, with a real ledger and a real upstream.

::

    POST /v1/chat/completions
    ├── answered: passed through, charged from usage, headers, receipt
    │   ├── max_tokens: capped, absent, lowered by fit
    │   ├── "cheapest", min_discount_pct
    │   └── upstream counts nothing, too much, nonsense
    ├── refused before upstream: key, request, model, price, allowance, hold, mirror
    ├── upstream fails: given back at once, its meaning kept, its secrets not
    ├── client leaves, proxy stops: posted or given back all the same
    ├── the ledger fails: nothing let through; an answer that cannot be charged is withheld
    └── 200 at once against an allowance for 5
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from ledger.chain.positions import PositionState
from ledger.database.engine import write
from ledger.errors import LedgerUnavailable
from ledger.spending.books import Books
from ledger.spending.metering import Post, Posted, Reserve
from proxy.catalogue import FRESH_S
from tests.support.answers import MODEL, PROVIDER_KEY, make_completion
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    PRICES,
    RunningProxy,
    make_body,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.waiting import until


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    put(engine, make_state(now_s=now_s()))
    return engine


def put(engine: Engine, *states: PositionState, mirror_age_s: int = 0) -> None:
    with write(engine) as connection:
        put_positions(connection, *states)
        put_cursor(connection, now_s=now_s() - mirror_age_s)


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(
        upstream_url=provider.url,
        upstream_key=PROVIDER_KEY,
        upstream_body_bytes_max=1024**2,
        prices_file=write_prices(tmp_path),
    )
    async with run_proxy(settings, engine) as running:
        yield running


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["x-request-id"]
    error: dict[str, Any] = response.json()["error"]
    assert {"message", "type", "code", "param"} <= error.keys()
    return error


# ------------------------------------------------------------------------------------ answered


async def test_completion__answered__is_charged_from_usage(proxy: RunningProxy) -> None:
    response = await proxy.chat()

    assert response.status_code == 200
    assert response.json() == make_completion()
    # 20 x 0.20 + 10 x 0.80 USD a million tokens.
    assert response.headers["x-current-cost-usdc"] == "12"
    assert response.headers["x-current-model"] == MODEL
    assert response.headers["x-current-max-tokens-applied"] == "100"
    assert response.headers["x-current-served-by"] == "upstream"
    [usage] = proxy.usage()
    assert usage["request_id"] == response.headers["x-request-id"]
    assert usage["state"] == "posted"
    assert usage["cost_usdc"] == 12
    assert usage["ceiling_usdc"] == int(response.headers["x-current-reserved-usdc"])
    assert proxy.drawn_usdc() == 12
    assert int(response.headers["x-current-remaining-usdc"]) == 500_000 - 12


async def test_completion__unknown_fields__reach_upstream(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    extra: dict[str, Any] = {
        "seed": 7,
        "stop": ["\n"],
        "logit_bias": {"1": -1},
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "future_field": {"deep": [1, 2.5, None]},
    }

    response = await proxy.chat(**extra, fit=True, min_discount_pct=1)

    # The operator's file states the price, and nobody another reference: it is no discount.
    error = error_of(response)
    assert error["code"] == "minimum_discount_not_met"
    assert error["best_available_discount_pct"] == 0.0
    assert (await proxy.chat(**extra, fit=True, min_discount_pct=0)).status_code == 200
    [sent] = provider.requests
    assert sent == {**make_body(), **extra}


@pytest.mark.parametrize(
    ("asked", "applied"),
    [
        ({"max_tokens": 100_000}, 2_048),
        # As much as the context of 2,048 tokens leaves beside the prompt, of about 39.
        ({"max_tokens": None}, 2_009),
        ({"max_tokens": None, "max_completion_tokens": 50}, 50),
        ({"max_tokens": 70, "max_completion_tokens": 50}, 50),
    ],
)
async def test_completion__max_tokens__is_capped(
    proxy: RunningProxy, provider: FakeEndpoint, asked: dict[str, Any], applied: int
) -> None:
    response = await proxy.chat(**asked)

    assert response.headers["x-current-max-tokens-applied"] == str(applied)
    [sent] = provider.requests
    limits = {sent.get("max_tokens"), sent.get("max_completion_tokens")} - {None}
    assert limits == {applied}


async def test_completion__max_tokens_without_context__is_capped_at_4096(
    proxy: RunningProxy,
) -> None:
    response = await proxy.chat(model="gpt-4o", max_tokens=100_000)

    assert response.headers["x-current-max-tokens-applied"] == "4096"


async def test_completion__several_choices__multiply_the_ceiling(proxy: RunningProxy) -> None:
    one = await proxy.chat()
    three = await proxy.chat(n=3)

    reserved = [int(answer.headers["x-current-reserved-usdc"]) for answer in (one, three)]
    assert reserved[1] - reserved[0] >= 2 * 80


async def test_completion__fit__lowers_max_tokens(proxy: RunningProxy, engine: Engine) -> None:
    put(engine, make_state(now_s=now_s(), credited_usdc=100, hold_usdc=100))

    refused = await proxy.chat()
    fitted = await proxy.chat(fit=True)

    assert error_of(refused)["code"] == "allowance_spent"
    assert fitted.status_code == 200
    assert 0 < int(fitted.headers["x-current-max-tokens-applied"]) < 100
    assert int(fitted.headers["x-current-reserved-usdc"]) <= 100
    assert proxy.demands() == {0: error_of(refused)["required_usdc"]}


async def test_completion__cheapest__takes_the_lowest_price(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    response = await proxy.chat(model="cheapest")

    assert response.headers["x-current-model"] == MODEL
    assert provider.requests[0]["model"] == MODEL


async def test_completion__min_discount__is_proven_or_refused(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    half = '[models."gpt-4o"]\ninput_usd_per_mtok = "1.25"\noutput_usd_per_mtok = "5"\n'
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(tmp_path, half))
    async with run_proxy(settings, engine) as proxy:
        met = await proxy.chat(model="gpt-4o", min_discount_pct=49)
        missed = await proxy.chat(model="gpt-4o", min_discount_pct=51)
        cheapest = await proxy.chat(model="cheapest", min_discount_pct=49)

    assert met.status_code == 200
    assert cheapest.headers["x-current-model"] == "gpt-4o"
    error = error_of(missed)
    assert missed.status_code == 503
    assert error["type"] == "no_discounted_offer"
    assert error["minimum_discount_pct"] == 51
    assert 49 <= error["best_available_discount_pct"] <= 50


async def test_start__one_price_file_for_proxy_and_market__its_tokens_are_served(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    pictures = '[models.painter]\nusd_per = {image = "0.04", megapixel = "0.03"}\n'
    both = write_prices(tmp_path, PRICES + pictures)
    async with run_proxy(
        make_settings(upstream_url=provider.url, prices_file=both), engine
    ) as proxy:
        served = await proxy.chat()
        painted = await proxy.chat(model="painter")

    assert served.status_code == 200
    assert (painted.status_code, error_of(painted)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("behaviour", ["no_usage", "absurd_usage"])
async def test_completion__no_usage__is_counted_by_us(
    proxy: RunningProxy, provider: FakeEndpoint, behaviour: str
) -> None:
    provider.behaviour = behaviour

    response = await proxy.chat()

    assert response.status_code == 200
    [usage] = proxy.usage()
    assert usage["completion_tokens"] == 100  # 300 bytes
    assert 0 < usage["cost_usdc"] <= usage["ceiling_usdc"]
    assert proxy.drawn_usdc() == usage["cost_usdc"]


async def test_completion__usage_above_what_can_be_true__costs_what_can_be(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "huge_usage"

    response = await proxy.chat()

    cost, reserved = (
        int(response.headers[f"x-current-{name}-usdc"]) for name in ("cost", "reserved")
    )
    [usage] = proxy.usage()
    text = response.json()["choices"][0]["message"]["content"]
    assert len(text) + 64 > 100, "the output limit is what bounds it here"
    assert usage["completion_tokens"] == 100
    assert usage["prompt_tokens"] < 400, "no more than what was sent"
    assert cost == usage["cost_usdc"] <= reserved
    assert proxy.drawn_usdc() == cost


# ------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "no-such-model"}, 404, "model_not_found", "model"),
        ({"model": "unpriced-model"}, 400, "model_not_priced", "model"),
        ({"model": 7}, 400, "invalid_type", "model"),
        ({"messages": []}, 400, "invalid_type", "messages"),
        ({"stream": 1}, 400, "invalid_type", "stream"),
        ({"min_discount_pct": 30.5}, 400, "invalid_minimum_discount", "min_discount_pct"),
        ({"min_discount_pct": "30"}, 400, "invalid_minimum_discount", "min_discount_pct"),
        ({"min_discount_pct": 101}, 400, "invalid_minimum_discount", "min_discount_pct"),
        ({"n_predict": 9_999}, 400, "unsupported_parameter", "n_predict"),
    ],
)
async def test_completion__bad_request__400_or_404(
    proxy: RunningProxy,
    provider: FakeEndpoint,
    changes: dict[str, Any],
    status: int,
    code: str,
    param: str,
) -> None:
    response = await proxy.chat(**changes)

    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["param"]) == (code, param)
    assert provider.requests == []
    assert proxy.usage() == []


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{", b'{"model": NaN}', b"\xff\xfe", b"[" * 100_000]
)
async def test_completion__not_json__400(proxy: RunningProxy, raw: bytes) -> None:
    headers = {"authorization": f"Bearer {make_key()}"}

    response = await proxy.client.post(CHAT, content=raw, headers=headers)

    assert response.status_code == 400


async def test_completion__nested_beyond_what_can_be_sent__400(proxy: RunningProxy) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    assert (await proxy.chat(deep=deep)).status_code == 400


async def test_completion__body_too_large__413(proxy: RunningProxy) -> None:
    response = await proxy.chat(messages=[{"role": "user", "content": "x" * 5_000_000}])

    assert response.status_code == 413
    assert error_of(response)["code"] == "body_too_large"


async def test_completion__wrong_method__405(proxy: RunningProxy) -> None:
    response = await proxy.client.get(CHAT)

    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"


async def test_completion__no_key__401(proxy: RunningProxy) -> None:
    response = await proxy.client.post(CHAT, json=make_body())

    assert response.status_code == 401
    assert error_of(response)["code"] == "missing_api_key"


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "sk-something",
        make_key() + "=",
        make_key()[:-1],
        make_key().replace("current_0", "current_00"),
        make_key().replace("current_0", "current_1"),
        make_key().replace("current_0", "current_" + "9" * 400),
        make_key().swapcase(),
        "current_0_0_" + "~" * 54,
    ],
)
@pytest.mark.sampled(3)
async def test_completion__damaged_key__401(proxy: RunningProxy, key: str) -> None:
    response = await proxy.chat(key)

    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"


async def test_completion__bytes_as_key__401(proxy: RunningProxy) -> None:
    for raw in (b"Bearer \xff\xfe", "Bearer current_\u0663_0_x".encode(), b"Basic abc", b"Bearer"):
        response = await proxy.client.post(
            CHAT, json=make_body(), headers=[(b"authorization", raw)]
        )
        assert response.status_code == 401


@pytest.mark.parametrize("changes", [{}, {"model": "no-such-model"}, {"messages": 1}])
async def test_completion__revoked_key__401_first(
    proxy: RunningProxy, engine: Engine, changes: dict[str, Any]
) -> None:
    assert (await proxy.chat()).status_code == 200
    put(engine, make_state(now_s=now_s(), key_epoch=1))

    response = await proxy.chat(**changes)

    assert response.status_code == 401
    assert error_of(response)["code"] == "key_revoked"
    assert (await proxy.chat(make_key(key_epoch=1))).status_code == 200


async def test_completion__no_such_position__404(proxy: RunningProxy) -> None:
    response = await proxy.chat(make_key(token_id=7))

    assert response.status_code == 404
    assert error_of(response)["code"] == "position_not_found"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"credited_usdc": 0, "hold_usdc": 0}, 429, "never_harvested"),
        ({"credited_usdc": 50, "hold_usdc": 50}, 429, "allowance_spent"),
        (
            {"credited_usdc": 1_000, "hold_usdc": 0, "daily_smoothing_bps": 10},
            429,
            "daily_cap_reached",
        ),
        ({"hold_usdc": 0}, 503, "hold_pending"),
        ({"hold_lives_s": 600}, 503, "hold_pending"),
    ],
)
async def test_completion__money__is_refused_with_facts(
    proxy: RunningProxy, engine: Engine, changes: dict[str, Any], status: int, code: str
) -> None:
    put(engine, make_state(now_s=now_s(), **changes))

    response = await proxy.chat()

    assert response.status_code == status
    error = error_of(response)
    assert error["code"] == code
    assert error["required_usdc"] > 0
    assert {"available_usdc", "held_usdc", "resets_at", "next_harvest_at"} <= error.keys()
    assert response.headers.get("x-should-retry") == ("false" if status == 429 else None)
    assert ("retry-after" in response.headers) == (code in ("daily_cap_reached", "hold_pending"))
    # The writer is done with whatever was submitted before this.
    await proxy.front.app.state.services.meter.write(lambda _: None)
    wanted = {0: error["required_usdc"]} if code == "hold_pending" else {}
    assert proxy.demands() == wanted
    assert proxy.usage() == []


async def test_completion__stale_mirror__503(proxy: RunningProxy, engine: Engine) -> None:
    put(engine, make_state(now_s=now_s()), mirror_age_s=3_600)

    response = await proxy.chat()

    assert response.status_code == 503
    assert error_of(response)["code"] == "chain_state_stale"
    assert "retry-after" in response.headers


# ------------------------------------------------------------------------------ upstream fails


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("status_500", 502, "upstream_error"),
        ("status_401", 502, "upstream_error"),
        ("status_429", 503, "upstream_rate_limited"),
        ("status_400", 400, "context_length_exceeded"),
        ("too_cheap", 503, "price_changed"),
        ("bad_json", 502, "upstream_invalid_response"),
        ("not_a_completion", 502, "upstream_invalid_response"),
        ("disconnect", 502, "upstream_unreachable"),
        ("half", 502, "upstream_disconnected"),
        ("huge_body", 502, "upstream_invalid_response"),
        ("redirect", 502, "upstream_error"),
    ],
)
@pytest.mark.sampled(2)
async def test_completion__upstream_fails__nothing_is_charged(
    proxy: RunningProxy, provider: FakeEndpoint, behaviour: str, status: int, code: str
) -> None:
    provider.behaviour = behaviour

    response = await proxy.chat()

    assert response.status_code == status
    error = error_of(response)
    assert error["code"] == code
    assert PROVIDER_KEY not in response.text
    assert str(provider.port) not in response.text
    assert response.headers["x-current-cost-usdc"] == "0"
    if code == "upstream_unreachable":
        assert response.headers["retry-after"] == "5"
    [usage] = proxy.usage()
    assert (usage["state"], usage["void_reason"]) == ("voided", code)
    assert proxy.drawn_usdc() == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_completion__price_that_is_charged__bounds_what_sellers_may_ask(
    proxy: RunningProxy, provider: FakeEndpoint, stream: bool
) -> None:
    assert (await proxy.chat(stream=stream)).status_code == 200

    [headers] = provider.headers
    [usage] = proxy.usage()
    assert headers["x-market-max-input-usdc-per-mtok"] == str(usage["input_usdc_per_mtok"])
    assert headers["x-market-max-output-usdc-per-mtok"] == str(usage["output_usdc_per_mtok"])
    assert usage["cached_input_usdc_per_mtok"] is None, "so it costs what other input does"
    cached = headers["x-market-max-cached-input-usdc-per-mtok"]
    assert cached == str(usage["input_usdc_per_mtok"])
    assert "x-market-max-longer-prompts" not in headers


async def test_completion__nobody_sells_at_the_listed_price__the_list_is_fetched_again(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    dearer = {"id": "gpt-4o", "input_usdc_per_mtok": 9, "output_usdc_per_mtok": 99}
    provider.prices, provider.behaviour = [dearer], "too_cheap"
    await asyncio.sleep(FRESH_S)  # else the list that was fetched at the start is new enough

    response = await proxy.chat()

    assert response.headers["retry-after"] == "2"
    services = proxy.front.app.state.services

    def is_new() -> bool:
        terms = services.catalogue.snapshot.models["gpt-4o"].terms
        return terms is not None and terms.price.input_usdc_per_mtok == 9

    await until(is_new, "the list is fetched again")


async def test_completion__upstream_rejects__keeps_the_meaning(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "status_400"

    error = error_of(await proxy.chat())

    assert error["message"].startswith("context too long")
    assert "\n" not in error["message"]
    assert error["param"] == "messages"
    assert error["upstream_code"] == "context_length_exceeded"


async def test_completion__upstream_slow__504(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    provider.behaviour = "slow"
    settings = make_settings(
        upstream_url=provider.url, upstream_timeout_s=0.2, prices_file=write_prices(tmp_path)
    )
    async with run_proxy(settings, engine) as proxy:
        response = await proxy.chat()

        assert response.status_code == 504
        assert proxy.drawn_usdc() == 0


async def test_completion__upstream_down__falls_back_and_fails(
    engine: Engine, tmp_path: Path
) -> None:
    settings = make_settings(prices_file=write_prices(tmp_path))
    async with run_proxy(settings, engine) as proxy:
        listed = (await proxy.client.get("/api/current/models")).json()
        known = await proxy.chat()
        unknown = await proxy.chat(model="gpt-4o")

        assert listed["fallback"] is True
        assert [model["id"] for model in listed["models"]] == [MODEL]
        assert (known.status_code, error_of(known)["code"]) == (502, "upstream_unreachable")
        assert (unknown.status_code, error_of(unknown)["code"]) == (503, "catalogue_unavailable")
        assert proxy.drawn_usdc() == 0


# -------------------------------------------------------------------- clients leave, proxy stops


async def test_completion__client_leaves__is_posted(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    asking = asyncio.create_task(proxy.chat())
    await until(lambda: provider.requests)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking

    provider.release.set()

    await until(lambda: proxy.usage()[0]["state"] == "posted")
    assert proxy.drawn_usdc() == 12


async def test_completion__caller_is_cancelled__is_posted(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "slow"
    transport = httpx.ASGITransport(proxy.front)
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
        headers = {"authorization": f"Bearer {make_key()}"}
        asking = asyncio.create_task(client.post(CHAT, json=make_body(), headers=headers))
        await until(lambda: provider.requests)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    provider.release.set()

    await until(lambda: proxy.usage()[0]["state"] == "posted")
    assert proxy.drawn_usdc() == 12


@pytest.mark.parametrize("released", [True, False])
async def test_completion__proxy_stops__is_posted_or_given_back(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path, released: bool
) -> None:
    provider.behaviour = "slow"
    settings = make_settings(
        upstream_url=provider.url,
        drain_timeout_s=60 if released else 1,
        prices_file=write_prices(tmp_path),
    )
    async with run_proxy(settings, engine) as proxy:
        asking = asyncio.create_task(proxy.chat())
        await until(lambda: provider.requests)
        asking.cancel()
        if released:
            asyncio.get_running_loop().call_later(0.1, provider.release.set)

    [usage] = proxy.usage()
    assert usage["state"] == ("posted" if released else "voided")
    assert proxy.drawn_usdc() == (12 if released else 0)


# ------------------------------------------------------------------------------ the ledger fails


async def test_completion__ledger_fails_to_reserve__nothing_is_asked(
    proxy: RunningProxy, provider: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("disk full")

    monkeypatch.setattr(Reserve, "decide", fail)

    response = await proxy.chat()

    assert response.status_code == 503
    assert error_of(response)["code"] == "ledger_unavailable"
    assert provider.requests == []


async def test_completion__ledger_fails_to_post__answer_is_withheld(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("disk full")

    monkeypatch.setattr(Post, "decide", fail)

    response = await proxy.chat()

    assert response.status_code == 502
    assert error_of(response)["code"] == "settlement_failed"
    assert "Hello" not in response.text
    [usage] = proxy.usage()
    assert usage["state"] == "reserved"
    assert proxy.drawn_usdc() == usage["ceiling_usdc"]


async def test_completion__ledger_fails_once__is_posted(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    decide = Post.decide

    def fail_once(post: Post, books: Books) -> Posted:
        tries.append(1)
        if len(tries) == 1:
            raise LedgerUnavailable("locked")
        return decide(post, books)

    monkeypatch.setattr(Post, "decide", fail_once)

    assert (await proxy.chat()).status_code == 200
    assert len(tries) == 2
    assert proxy.drawn_usdc() == 12


# -------------------------------------------------------------------------------- many at once


async def test_completion__200_at_once__at_most_5_are_admitted(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine
) -> None:
    probe = await proxy.chat()
    ceiling_usdc = int(probe.headers["x-current-reserved-usdc"])
    allowance_usdc = 5 * ceiling_usdc + 12  # the probe's cost is still drawn
    put(engine, make_state(now_s=now_s(), credited_usdc=allowance_usdc, hold_usdc=allowance_usdc))
    provider.behaviour = "slow"

    asking = [asyncio.create_task(proxy.chat()) for _ in range(200)]
    await until(lambda: sum(task.done() for task in asking) == 195)
    provider.release.set()
    answers = await asyncio.gather(*asking)

    assert sum(answer.status_code == 200 for answer in answers) == 5
    codes = {error_of(answer)["code"] for answer in answers if answer.status_code != 200}
    assert codes == {"allowance_spent"}
    assert len(provider.requests) == 6
    charged = sum(int(a.headers["x-current-cost-usdc"]) for a in answers) + 12
    assert proxy.drawn_usdc() == charged == 6 * 12
