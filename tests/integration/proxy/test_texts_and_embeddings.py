"""Text completions and embeddings over HTTP: one meter, whatever is asked and however it ends.

::

    POST /v1/completions
    ├── whole, several prompts, several choices: what is reserved and charged
    ├── streamed: to its end, no usage, whole answer instead, dies, endless, client leaves
    └── refused: no prompt, parts that are no text, best_of, an embedding's model
    POST /v1/embeddings
    ├── one text, many, tokens, base64; usage by total alone, no usage, usage that cannot be true
    └── refused: streams, nothing to embed, "cheapest", too much for the hold (also with fit)
    both: the provider fails, an Idempotency-Key is of one endpoint, no key, models in order
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import pytest_asyncio

from ledger.database.engine import write
from tests.support.answers import MODEL, TEXT, USAGE, make_answer
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_key, make_settings, now_s, run_proxy
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXTS = "/api/current/v1/completions"
EMBEDDINGS = "/api/current/v1/embeddings"
EMBEDDER = "text-embedding-3-small"
"""The data set has it, with a price of input only: 0.02 USD a million tokens."""
PRICES = f"""
[models."{MODEL}"]
input_usd_per_mtok = "0.20"
output_usd_per_mtok = "0.80"
context_tokens = 2048

[models."dear"]
input_usd_per_mtok = "900000"
output_usd_per_mtok = "0"
context_tokens = 2048
"""
COST_USDC = 12
"""20 prompt tokens at 0.20 and 10 of output at 0.80 USD a million, rounded up."""


@dataclass
class Stand:
    """One proxy for all tests here, and what it charged in this one."""

    proxy: RunningProxy
    provider: FakeEndpoint
    gpt: openai.AsyncOpenAI
    seen: int = 0

    async def post(self, path: str, *, key: str | None = None, **body: Any) -> Any:
        """Ask; the answer may be an error."""
        headers = {"authorization": f"Bearer {make_key()}"}
        if key is not None:
            headers["idempotency-key"] = key
        return await self.proxy.client.post(path, json={"model": MODEL, **body}, headers=headers)

    async def refuse(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask for what is refused: nothing reaches the provider, and nothing is reserved."""
        asked = len(self.provider.requests)
        response = await self.post(path, **body)
        assert response.status_code in (400, 404), response.text
        assert response.headers["x-current-cost-usdc"] == "0"
        assert len(self.provider.requests) == asked
        assert await self.charges() == []
        error: dict[str, Any] = response.json()["error"]
        return error

    async def charges(self) -> list[dict[str, Any]]:
        """Return the usage rows of this test once none is open any more."""
        await until(lambda: all(row["state"] != "reserved" for row in self._rows()))
        return self._rows()

    def _rows(self) -> list[dict[str, Any]]:
        return self.proxy.usage()[self.seen :]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("texts")
    engine = make_ledger(folder / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    async with FakeEndpoint() as provider:
        provider.models = [{"id": name} for name in (MODEL, EMBEDDER, "dear", "unpriced-model")]
        settings = make_settings(
            upstream_url=provider.url, prices_file=prices, max_staleness_s=3_600
        )
        async with run_proxy(settings, engine) as proxy:
            url = f"{proxy.client.base_url}/api/current/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=make_key(), max_retries=0) as gpt:
                yield Stand(proxy, provider, gpt)
    engine.dispose()


@pytest.fixture
def stand(running: Stand) -> Stand:
    provider = running.provider
    provider.behaviour, provider.events, provider.whole, provider.body = "normal", None, None, None
    provider.usage, provider.piece_delay_s = USAGE, 0.0
    provider.requests.clear()
    provider.script.clear()
    provider.release.clear()
    running.seen = len(running.proxy.usage())
    return running


def read_events(raw: str) -> list[dict[str, Any]]:
    datas = [part.removeprefix("data: ") for part in raw.split("\n\n") if part.startswith("data:")]
    return [json.loads(data) for data in datas if data != "[DONE]"]


# --------------------------------------------------------------------------------------- texts


async def test_text__whole__passes_as_it_is_and_is_charged(stand: Stand) -> None:
    response = await stand.post(TEXTS, prompt="Once upon", max_tokens=100, suffix=" the end")

    asked = {"model": MODEL, "prompt": "Once upon", "max_tokens": 100, "suffix": " the end"}
    assert stand.provider.requests == [asked]
    assert response.json() == make_answer("completions", asked, text=TEXT, usage=USAGE)
    assert response.headers["x-current-cost-usdc"] == str(COST_USDC)
    assert response.headers["x-current-max-tokens-applied"] == "100"
    [row] = await stand.charges()
    assert (row["state"], row["cost_usdc"]) == ("posted", COST_USDC)


async def test_text__without_a_limit__gets_the_cap_in_its_own_field(stand: Stand) -> None:
    await stand.post(TEXTS, prompt="Once upon")
    # Of 2,048 tokens of context, less what the prompt is estimated to have.
    assert 1_900 < stand.provider.requests[0]["max_tokens"] < 2_048


async def test_text__prompts_and_choices__multiply_what_is_reserved(stand: Stand) -> None:
    await stand.post(TEXTS, prompt="a", max_tokens=1_000)
    await stand.post(TEXTS, prompt=["a", "b", "c"], n=2, max_tokens=1_000)
    one, six = [row["ceiling_usdc"] for row in await stand.charges()]
    assert 6 * 800 <= six <= 6 * one
    assert one >= 800


async def test_text__sdk__reads_whole_and_streamed(stand: Stand) -> None:
    whole = await stand.gpt.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=50)
    stream = await stand.gpt.completions.create(
        model=MODEL,
        prompt="Go",
        max_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    assert whole.choices[0].text == TEXT
    assert "".join(one.choices[0].text for one in chunks if one.choices) == TEXT
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 20
    assert [row["cost_usdc"] for row in await stand.charges()] == [COST_USDC, COST_USDC]


async def test_text__stream_without_asking_for_usage__the_last_choice_says_nothing(
    stand: Stand,
) -> None:
    response = await stand.post(TEXTS, prompt="Go", max_tokens=50, stream=True)
    events = read_events(response.text)
    assert events[-1]["choices"] == [{"index": 0, "text": "", "finish_reason": None}]
    assert events[-1]["usage"]["cost"] == COST_USDC
    assert response.text.endswith("data: [DONE]\n\n")


async def test_text__stream_without_a_report__counted_here(stand: Stand) -> None:
    stand.provider.behaviour = "stream_no_usage"
    response = await stand.post(TEXTS, prompt="Go on", max_tokens=50, stream=True)
    [row] = await stand.charges()
    assert read_events(response.text)[-1]["usage"]["cost"] == row["cost_usdc"] > 0
    assert row["completion_tokens"] <= len(TEXT)


async def test_text__upstream_answers_whole_to_a_stream__told_as_one(stand: Stand) -> None:
    answer = make_answer("completions", {}, text=TEXT, usage=USAGE)
    stand.provider.whole = json.dumps(answer).encode()
    response = await stand.post(TEXTS, prompt="Go", max_tokens=50, stream=True)
    events = read_events(response.text)
    assert "".join(one["choices"][0]["text"] for one in events) == TEXT
    assert {one["object"] for one in events} == {"text_completion"}
    assert [row["cost_usdc"] for row in await stand.charges()] == [COST_USDC]


async def test_text__stream_dies__the_delivered_part_is_charged(stand: Stand) -> None:
    stand.provider.behaviour, stand.provider.piece_delay_s = "stream_dies", 0.02
    response = await stand.post(TEXTS, prompt="Go", max_tokens=50, stream=True)
    error = read_events(response.text)[-1]["error"]
    [row] = await stand.charges()
    assert error["code"] == "upstream_disconnected"
    assert error["cost_usdc"] == row["cost_usdc"] > 0
    assert "[DONE]" not in response.text


async def test_text__stream_dies_at_once__nothing_is_charged(stand: Stand) -> None:
    stand.provider.behaviour = "stream_dies_at_once"
    response = await stand.post(TEXTS, prompt="Go", max_tokens=50, stream=True)
    assert read_events(response.text)[-1]["error"]["message"].endswith("You are not charged.")
    assert [row["state"] for row in await stand.charges()] == ["voided"]


async def test_text__stream_without_end__cut_at_what_was_reserved(stand: Stand) -> None:
    stand.provider.behaviour = "stream_endless"
    response = await stand.post(TEXTS, prompt="Go", max_tokens=20, stream=True)
    [row] = await stand.charges()
    assert read_events(response.text)[-1]["error"]["code"] == "ceiling_reached"
    assert 0 < row["cost_usdc"] <= row["ceiling_usdc"]


async def test_text__client_leaves__upstream_is_read_on_and_charged(stand: Stand) -> None:
    stand.provider.behaviour = "slow"
    headers = {"authorization": f"Bearer {make_key()}"}
    body = {"model": MODEL, "prompt": "Go", "max_tokens": 50, "stream": True}
    client = stand.proxy.client
    async with client.stream("POST", TEXTS, json=body, headers=headers) as response:
        await anext(response.aiter_lines())
    stand.provider.release.set()
    assert [row["cost_usdc"] for row in await stand.charges()] == [COST_USDC]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [{"type": "text", "text": "a"}]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [[1, "b"]]}, "prompt"),
        ({"prompt": ["a"] * 2_049}, "prompt"),
        ({"prompt": "a", "best_of": 4}, "best_of"),
        ({"prompt": "a", "n": 129}, "n"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "max_completion_tokens": 5, "max_length": 9}, "max_length"),
        ({"prompt": "a", "model": EMBEDDER}, "model"),
        ({"prompt": "a", "model": "no-such-model"}, "model"),
        ({"prompt": "a", "fit": 1}, "fit"),
    ],
)
async def test_text__nonsense__refused_by_name(
    stand: Stand, body: dict[str, Any], param: str
) -> None:
    assert (await stand.refuse(TEXTS, **body))["param"] == param


# ---------------------------------------------------------------------------------- embeddings


async def test_embedding__one_text__is_charged_for_its_prompt_alone(stand: Stand) -> None:
    stand.provider.usage = {"prompt_tokens": 20, "total_tokens": 20}
    response = await stand.post(EMBEDDINGS, input="Hello.")

    assert stand.provider.requests == [{"model": MODEL, "input": "Hello."}]
    assert response.json()["data"] == [{"embedding": [0.5]}]
    assert response.headers["x-current-cost-usdc"] == "4"
    assert response.headers["x-current-max-tokens-applied"] == "0"
    [row] = await stand.charges()
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usdc"]) == (20, 0, 4)
    assert row["ceiling_usdc"] < 100


async def test_embedding__model_with_a_price_of_input_alone__served(stand: Stand) -> None:
    stand.provider.usage = {"prompt_tokens": 20, "total_tokens": 20}
    response = await stand.post(EMBEDDINGS, model=EMBEDDER, input=["Hello.", "Bye."])
    assert response.status_code == 200
    # 20 tokens at 0.02 USD a million, rounded up.
    assert [row["cost_usdc"] for row in await stand.charges()] == [1]
    listed = (await stand.proxy.client.get("/api/current/models")).json()["models"]
    prices = {one["id"]: one["input_usdc_per_mtok"] for one in listed}
    assert prices[EMBEDDER] == 20_000


async def test_embedding__sdk__reads_floats_from_base64(stand: Stand) -> None:
    stand.provider.usage = {"prompt_tokens": 20, "total_tokens": 20}
    answer = await stand.gpt.embeddings.create(model=MODEL, input=[[1, 2], [3]])
    assert answer.data[0].embedding == [0.5]
    assert stand.provider.requests[0]["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("usage", "cost_usdc"),
    [
        ({"total_tokens": 20}, 4),
        # 16 bytes of text are not a million tokens: the prompt's bound is charged, not more.
        ({"prompt_tokens": 10**6, "total_tokens": 10**6}, None),
        (None, None),
        ({"prompt_tokens": -5, "total_tokens": -5}, None),
    ],
)
async def test_embedding__odd_usage__charged_within_what_was_reserved(
    stand: Stand, usage: Any, cost_usdc: int | None
) -> None:
    stand.provider.usage = usage
    response = await stand.post(EMBEDDINGS, input="Hello.")
    [row] = await stand.charges()
    assert 0 < row["cost_usdc"] <= row["ceiling_usdc"]
    assert cost_usdc in (None, row["cost_usdc"])
    told = response.json()["usage"]
    assert told.get("prompt_tokens", told["total_tokens"]) == row["prompt_tokens"]
    assert "completion_tokens" not in told


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2_049}, "input"),
        ({"input": "a", "stream": True}, "stream"),
        ({"input": "a", "model": "cheapest"}, "model"),
        ({"input": "a", "model": "unpriced-model"}, "model"),
        ({"input": "a", "max_cost_usdc": 0}, "max_cost_usdc"),
    ],
)
async def test_embedding__nonsense__refused_by_name(
    stand: Stand, body: dict[str, Any], param: str
) -> None:
    assert (await stand.refuse(EMBEDDINGS, **body))["param"] == param


@pytest.mark.parametrize("fit", [False, True])
async def test_embedding__more_than_the_hold_has__refused_also_with_fit(
    stand: Stand, fit: bool
) -> None:
    response = await stand.post(EMBEDDINGS, model="dear", input="a" * 900, fit=fit)
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    assert stand.provider.requests == []
    assert await stand.charges() == []


# ---------------------------------------------------------------------------------------- both


@pytest.mark.parametrize(("path", "body"), [(TEXTS, {"prompt": "a"}), (EMBEDDINGS, {"input": "a"})])
@pytest.mark.parametrize(
    ("behaviour", "status"),
    [("status_500", 502), ("not_a_completion", 502), ("disconnect", 502), ("status_400", 400)],
)
async def test_provider__fails__given_back(
    stand: Stand, path: str, body: dict[str, Any], behaviour: str, status: int
) -> None:
    stand.provider.behaviour = behaviour
    response = await stand.post(path, **body)
    assert response.status_code == status
    assert [row["state"] for row in await stand.charges()] == ["voided"]


async def test_idempotency_key__is_of_one_endpoint(stand: Stand) -> None:
    body = {"prompt": "a", "input": "a", "messages": [{"role": "user", "content": "a"}]}
    first = await stand.post(TEXTS, key="once", **body)
    again = await stand.post(TEXTS, key="once", **body)
    other = await stand.post(EMBEDDINGS, key="once", **body)

    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    # One key names one request: with another one it is refused, not answered by the first.
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(await stand.charges()) == 1


async def test_models__the_first_fails__the_next_embeds(stand: Stand) -> None:
    stand.provider.script.extend(["status_500", "normal"])
    response = await stand.post(EMBEDDINGS, models=[EMBEDDER], input="a")
    assert response.headers["x-current-model"] == EMBEDDER
    assert sorted(row["state"] for row in await stand.charges()) == ["posted", "voided"]


@pytest.mark.parametrize("path", [TEXTS, EMBEDDINGS])
async def test_key__missing__401_in_openais_shape(stand: Stand, path: str) -> None:
    response = await stand.proxy.client.post(path, json={"model": MODEL})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "missing_api_key"


@pytest.mark.parametrize("path", [TEXTS, EMBEDDINGS])
async def test_method__another__405(stand: Stand, path: str) -> None:
    response = await stand.proxy.client.get(path)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
