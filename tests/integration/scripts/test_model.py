"""The devnet's model answers as the proxy expects of any OpenAI-compatible upstream.

::

    models       the exact id
    completion   text and usage; max_tokens respected; several at a time
    stream       usage in the last chunk
    refusals     prompt past the context: 400, and it goes on serving
    process      taken port: one sentence; SIGTERM in the middle of an answer: ends at once
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from scripts.stack.model import CONTEXT_TOKENS, MODEL_ID
from scripts.stack.processes import ChildDied, Stack
from scripts.stack.run_directory import claim_run_directory
from tests.support.waiting import LIMIT_S

COMMAND = [sys.executable, "-m", "scripts.stack.model", "--port"]
NOTES: Final[list[str]] = []
"""What the stack says of its processes."""
READY = re.compile(r"ready on (http://127\.0\.0\.1:(\d+)/v1)")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root: Path = tmp_path_factory.mktemp("model")
    with (
        claim_run_directory("model", root=root) as directory,
        Stack(directory, say=NOTES.append) as running,
    ):
        running.start("model", [*COMMAND, "0"], ready=READY)
        yield running


@pytest.fixture
def url(stack: Stack) -> str:
    match = stack.child("model").match
    assert match is not None
    return match[1]


def chat(prompt: str, **options: object) -> dict[str, object]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": prompt}], **options}


def post(url: str, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{url}/chat/completions", json=body, timeout=LIMIT_S, trust_env=False)


def test_models__lists_the_one_by_its_exact_id(url: str) -> None:
    answer = httpx.get(f"{url}/models", trust_env=False).json()

    assert [model["id"] for model in answer["data"]] == [MODEL_ID]


def test_completion__max_tokens__bounds_the_usage(url: str) -> None:
    answer = post(url, chat("Tell me about the sea.", max_tokens=7)).json()

    assert answer["model"] == MODEL_ID
    assert answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["usage"]["prompt_tokens"] > 0


async def test_completion__more_than_slots_at_once__all_are_answered(url: str) -> None:
    async with httpx.AsyncClient(timeout=LIMIT_S, trust_env=False) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{url}/chat/completions", json=chat(f"Count to {n}.", max_tokens=4))
                for n in range(12)
            )
        )

    assert [answer.status_code for answer in answers] == [200] * 12
    assert all(answer.json()["usage"]["completion_tokens"] <= 4 for answer in answers)


def test_stream__usage_asked_for__comes_in_the_last_chunk(url: str) -> None:
    body = chat("Say hi.", max_tokens=5, stream=True, stream_options={"include_usage": True})
    events = [line.removeprefix("data: ") for line in post(url, body).text.splitlines() if line]
    chunks: list[dict[str, Any]] = [json.loads(event) for event in events[:-1]]

    assert events[-1] == "[DONE]"
    assert chunks[-1]["choices"] == []
    assert 0 < chunks[-1]["usage"]["completion_tokens"] <= 5


def test_completion__prompt_past_the_context__400_and_it_goes_on(url: str) -> None:
    answer = post(url, chat("word " * (2 * CONTEXT_TOKENS), max_tokens=5))

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"
    assert post(url, chat("Still there?", max_tokens=2)).status_code == 200


def test_process__port_taken__one_sentence(stack: Stack, url: str) -> None:
    port = str(httpx.URL(url).port)

    with pytest.raises(ChildDied, match=f"port {port} is taken; choose another with --port"):
        stack.start("second", [*COMMAND, port], ready=READY)


def test_process__sigterm_in_the_middle_of_an_answer__ends_at_once(stack: Stack) -> None:
    child = stack.start("third", [*COMMAND, "0"], ready=READY)
    assert child.match is not None
    body = chat("Write a very long story.", stream=True)
    with httpx.stream(
        "POST", f"{child.match[1]}/chat/completions", json=body, timeout=LIMIT_S, trust_env=False
    ) as answer:
        lines = answer.iter_lines()
        said = [next(lines)]

        stack.stop("third")

        with suppress(httpx.TransportError):
            said.extend(lines)
    assert "data: [DONE]" not in said, "the answer was cut"
    assert not any("killed" in note for note in NOTES), NOTES
