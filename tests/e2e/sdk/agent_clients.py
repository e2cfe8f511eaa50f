"""What agents' libraries do with a base URL and a key. Runs in the environment of clients.lock.

    python agent_clients.py BASE_URL KEY MODEL instructor|langchain|llm|openai-agents|pydantic-ai

Prints one JSON object: what came of a question, of a stream, of a tool and of a structured answer;
what a library does not have is left out.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

QUESTION = "What is the weather in Lisbon?"


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    celsius: int


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"21 degrees in {city}"


def ask_instructor(url: str, key: str, model: str) -> dict[str, Any]:
    import instructor
    import openai

    client = instructor.from_openai(openai.OpenAI(base_url=url, api_key=key))
    messages = [{"role": "user", "content": QUESTION}]
    weather = client.chat.completions.create(
        model=model, response_model=Weather, messages=messages, max_tokens=50
    )
    return {"structured": weather.model_dump()}


def ask_langchain(url: str, key: str, model: str) -> dict[str, Any]:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=url, api_key=key, model=model, max_tokens=50, stream_usage=True)
    answer = chat.invoke(QUESTION)
    text, usage = "", None
    for chunk in chat.stream(QUESTION):
        text += str(chunk.content)
        usage = chunk.usage_metadata or usage
    weather = tool(get_weather)
    able = chat.bind_tools([weather])
    asked: Any = HumanMessage(QUESTION)
    called = able.invoke([asked])
    results = [
        ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
        for call in called.tool_calls
    ]
    final = able.invoke([asked, called, *results])
    structured = chat.with_structured_output(Weather).invoke(QUESTION)
    return {
        "chat": answer.content,
        "stream": text,
        "tokens": [usage["input_tokens"], usage["output_tokens"]] if usage else None,
        "tool": final.content,
        "structured": structured.model_dump(),
    }


def ask_llm(url: str, key: str, model: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "extra-openai-models.yaml"
        models.write_text(
            f"- model_id: ours\n  model_name: {model}\n  api_base: {url}\n  api_key_name: ours\n"
        )
        command = [str(Path(sys.executable).parent / "llm"), "-m", "ours", "--key", key]
        env = {**os.environ, "LLM_USER_PATH": folder}

        def run(*options: str) -> str:
            said = subprocess.run(
                [*command, *options, "-o", "max_tokens", "50", QUESTION],
                env=env,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            assert said.returncode == 0, said.stderr
            return said.stdout.removesuffix("\n")

        return {"chat": run("--no-stream"), "stream": run()}


async def ask_openai_agents(url: str, key: str, model: str) -> dict[str, Any]:
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=url, api_key=key)
    own = OpenAIChatCompletionsModel(model=model, openai_client=client)
    settings = ModelSettings(max_tokens=50)
    plain: Any = Agent(name="plain", model=own, model_settings=settings)
    able: Any = Agent(
        name="able", model=own, model_settings=settings, tools=[function_tool(get_weather)]
    )
    strict: Any = Agent(name="strict", model=own, model_settings=settings, output_type=Weather)
    chat = await Runner.run(plain, QUESTION)
    text = ""
    stream = Runner.run_streamed(plain, QUESTION)
    async for event in stream.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            text += event.data.delta
    tool = await Runner.run(able, QUESTION)
    structured = await Runner.run(strict, QUESTION)
    return {
        "chat": chat.final_output,
        "stream": text,
        "tool": tool.final_output,
        "structured": structured.final_output.model_dump(),
    }


async def ask_pydantic_ai(url: str, key: str, model: str) -> dict[str, Any]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    own = OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key=key))
    plain = Agent(own, model_settings={"max_tokens": 50})
    able = Agent(own, tools=[get_weather], model_settings={"max_tokens": 50})
    strict = Agent(own, output_type=Weather, model_settings={"max_tokens": 50})
    chat = await plain.run(QUESTION)
    text = ""
    async with plain.run_stream(QUESTION) as stream:
        async for piece in stream.stream_text(delta=True):
            text += piece
    tool = await able.run(QUESTION)
    structured = await strict.run(QUESTION)
    return {
        "chat": chat.output,
        "stream": text,
        "tool": tool.output,
        "structured": structured.output.model_dump(),
    }


def main(url: str, key: str, model: str, name: str) -> None:
    match name:
        case "instructor":
            said = ask_instructor(url, key, model)
        case "langchain":
            said = ask_langchain(url, key, model)
        case "llm":
            said = ask_llm(url, key, model)
        case "openai-agents":
            said = asyncio.run(ask_openai_agents(url, key, model))
        case _:
            said = asyncio.run(ask_pydantic_ai(url, key, model))
    sys.stdout.write(json.dumps(said) + "\n")


main(*sys.argv[1:])
