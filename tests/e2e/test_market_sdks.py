"""OpenAI's SDKs, Python and JavaScript, against a market: every endpoint that they know.

Sellers of text and of media stand behind it. Whatever the SDK adds to a request on its own
(encodings, content types, file names) has to pass; what is bought is in the ledger, once.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import PRICES, RunningMarket, make_settings, run_market
from tests.support.media import IMAGE_MODEL, MEDIA_PRICES, SPEECH_MODEL, TRANSCRIPT_MODEL
from tests.support.recordings import make_wav
from tests.support.waiting import LIMIT_S

TEXT: Final = "Hello! I am glad to help."
MESSAGES: Final[Any] = [{"role": "user", "content": "Say hello."}]
MEDIA: Final = (
    (IMAGE_MODEL, "image", "0.04"),
    (SPEECH_MODEL, "1k_characters", "0.015"),
    (TRANSCRIPT_MODEL, "minute", "0.006"),
)
TOLD: Final[dict[str, Any]] = {
    "models": sorted([MODEL, IMAGE_MODEL, SPEECH_MODEL, TRANSCRIPT_MODEL]),
    "chat": [TEXT, 10],
    "chat_stream": TEXT,
    "completion": TEXT,
    "response": TEXT,
    "response_stream": TEXT,
    "embedding": [0.5],
    "image": 2,
    "speech": "ID3 spoken",
    "transcript": "Hello.",
    "unknown_model": {"error": "NotFoundError", "status": 404, "code": "model_not_found"},
    "wrong_key": {"error": "AuthenticationError", "status": 401, "code": "invalid_api_key"},
}
SALES: Final = 9


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    (tmp_path / "prices.toml").write_text(PRICES + MEDIA_PRICES)
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint(text=TEXT) as seller,
        FakeEndpoint() as studio,
        run_market(make_settings(tmp_path), engine) as running,
    ):
        key = await running.get_key()
        await running.list_offer(key, seller.url)
        for model, unit, price in MEDIA:
            terms = {"model": model, "unit": unit, "price_per_unit": price}
            none: Any = {"price_input_per_1m": ..., "price_output_per_1m": ...}
            await running.list_offer(key, studio.url, **terms, **none)
        yield running
    engine.dispose()


async def call_python(client: openai.AsyncOpenAI, what: str, recording: Path) -> Any:
    match what:
        case "models":
            return sorted([model.id async for model in client.models.list()])
        case "chat":
            chat = await client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=50
            )
            assert chat.usage is not None
            return [chat.choices[0].message.content, chat.usage.completion_tokens]
        case "chat_stream":
            chunks = await client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=50, stream=True
            )
            choices = [choice async for chunk in chunks for choice in chunk.choices]
            return "".join(choice.delta.content or "" for choice in choices)
        case "completion":
            text = await client.completions.create(model=MODEL, prompt="Say hello.", max_tokens=50)
            return text.choices[0].text
        case "response":
            response = await client.responses.create(
                model=MODEL, input="Say hello.", max_output_tokens=50
            )
            return response.output_text
        case "response_stream":
            events = await client.responses.create(
                model=MODEL, input="Say hello.", max_output_tokens=50, stream=True
            )
            return "".join([str(getattr(event, "delta", "")) async for event in events])
        case "embedding":
            embeddings = await client.embeddings.create(model=MODEL, input="Hello")
            return embeddings.data[0].embedding
        case "image":
            images = await client.images.generate(
                model=IMAGE_MODEL, prompt="a cat", n=2, size="1024x1024"
            )
            return len(images.data or [])
        case "speech":
            speech = await client.audio.speech.create(
                model=SPEECH_MODEL, voice="alloy", input="Hello"
            )
            return speech.content.decode()
        case "transcript":
            return (
                await client.audio.transcriptions.create(model=TRANSCRIPT_MODEL, file=recording)
            ).text
        case "unknown_model":
            return await client.chat.completions.create(model="nobody-sells-it", messages=MESSAGES)
        case _:
            stranger = client.with_options(api_key="inf_nobody")
            return await stranger.chat.completions.create(model=MODEL, messages=MESSAGES)


async def ask_python(url: str, key: str, recording: Path) -> dict[str, Any]:
    told: dict[str, Any] = {}
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=2) as client:
        for what in TOLD:
            try:
                told[what] = await call_python(client, what, recording)
            except openai.APIStatusError as error:
                facts = {"status": error.status_code, "code": error.code}
                told[what] = {"error": type(error).__name__, **facts}
    return told


async def ask_javascript(url: str, key: str, recording: Path, sdk: Path) -> dict[str, Any]:
    models = {
        "text": MODEL,
        "images": IMAGE_MODEL,
        "speech": SPEECH_MODEL,
        "transcripts": TRANSCRIPT_MODEL,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        str(sdk / "market_buyer.mjs"),
        *(url, key, json.dumps(models), str(recording)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, complained.decode()
    told: dict[str, Any] = json.loads(said)
    return told


@pytest.mark.parametrize("prefix", ["", "/min30"])
@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_sdk__every_endpoint__answered_and_charged_once(
    market: RunningMarket,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    language: str,
    prefix: str,
) -> None:
    recording = tmp_path / "hello.wav"
    recording.write_bytes(make_wav(3))
    key = await market.get_buyer_key()
    url = f"{str(market.client.base_url).rstrip('/')}{prefix}/v1"

    if language == "python":
        told = await ask_python(url, key, recording)
    else:
        sdk = request.getfixturevalue("installed_sdk")
        told = await ask_javascript(url, key, recording, sdk)

    # Lists and embeddings have no mirror: a buyer who wants them asks without the threshold.
    unmirrored = {"models", "embedding"} if prefix else set()
    assert {what: told[what] for what in TOLD if what not in unmirrored} == {
        what: TOLD[what] for what in TOLD if what not in unmirrored
    }
    for what in unmirrored:
        assert told[what]["status"] == 404
    sales = await market.settled_sales()
    assert len(sales) == SALES - len(unmirrored - {"models"})
    assert {sale["state"] for sale in sales} == {"posted"}
