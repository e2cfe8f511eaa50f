"""opencode, an agent at the command line, as its users have it: a base URL and a key in its config.

It runs without a terminal. Beside the question it asks for a title of the conversation, with the
same session's name; each of its requests is a stream, and is charged once.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.install import npm_stage, prepare
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT
from tests.e2e.test_agents import Server, run_market, run_proxy
from tests.support.answers import MODEL, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.waiting import LIMIT_S, until_it

pytestmark = pytest.mark.slow

FOLDER: Final = ROOT / "tests" / "e2e" / "opencode"
PROGRAM: Final = FOLDER / "node_modules" / "opencode-linux-x64-baseline" / "bin" / "opencode"
"""For Linux on x64, older processors too; other platforms have packages of their own."""
LIMITS: Final = {"context": 200_000, "output": 200}
OFFLINE: Final = {
    # It would look for news, for its list of models and for tools, where there is no network.
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
}


@pytest.fixture(params=["proxy", "market"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    run = run_proxy if request.param == "proxy" else run_market
    async with FakeEndpoint() as model, run(engine, tmp_path, model.url) as server:
        yield server
    engine.dispose()


async def test_opencode__base_url_and_key__answers_and_each_request_is_charged_once(
    server: Server, tmp_path: Path
) -> None:
    events = await ask_opencode("Say hello.", server, tmp_path)

    texts = [event["part"]["text"] for event in events if event["type"] == "text"]
    (finished,) = (event["part"] for event in events if event["type"] == "step_finish")
    assert texts == [TEXT]
    assert (finished["reason"], finished["tokens"]["total"]) == ("stop", 30)
    assert (finished["tokens"]["input"], finished["tokens"]["output"]) == (20, 10)

    async def are_charged() -> bool:
        # The title is no part of the answer: it may come later.
        return len(await server.costs_usdc()) == 2

    await until_it(are_charged)
    first, second = await server.costs_usdc()
    assert first == second > 0, "the same tokens cost the same"


async def ask_opencode(question: str, server: Server, folder: Path) -> list[dict[str, Any]]:
    """Return what opencode tells of a conversation. Skips where it cannot be had."""
    try:
        prepare([npm_stage(FOLDER)])
    except BenchError as error:
        pytest.skip(str(error))
    home = folder / "home"
    home.mkdir()
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": server.url, "apiKey": server.key},
        "models": {MODEL: {"limit": LIMITS}},
    }
    name = f"current/{MODEL}"
    config = {"model": name, "small_model": name, "provider": {"current": provider}}
    (home / "opencode.json").write_text(json.dumps({**config, "autoupdate": False}))
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "run", "--format", "json", "--pure", question),
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **OFFLINE},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), 2 * LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complained.decode()
    return [json.loads(line) for line in said.splitlines()]
