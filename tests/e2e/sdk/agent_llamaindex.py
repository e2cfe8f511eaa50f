"""What LlamaIndex does with a base URL and a key. Runs in the environment of llamaindex.lock.

python agent_llamaindex.py BASE_URL KEY MODEL llama-index
"""

import json
import sys

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

QUESTION = "What is the weather in Lisbon?"


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"21 degrees in {city}"


def main(url: str, key: str, model: str, _name: str) -> None:
    llm = OpenAILike(
        model=model,
        api_base=url,
        api_key=key,
        is_chat_model=True,
        is_function_calling_model=True,
        max_tokens=50,
    )
    chat = llm.complete(QUESTION).text
    stream = "".join(piece.delta or "" for piece in llm.stream_complete(QUESTION))
    weather = FunctionTool.from_defaults(get_weather)
    asked = ChatMessage(role=MessageRole.USER, content=QUESTION)
    called = llm.chat_with_tools([weather], user_msg=asked)
    (call,) = llm.get_tool_calls_from_response(called)
    result = ChatMessage(
        role=MessageRole.TOOL,
        content=str(weather(**call.tool_kwargs)),
        additional_kwargs={"tool_call_id": call.tool_id},
    )
    history = [asked, called.message, result]
    final = llm.chat_with_tools([weather], chat_history=history).message.content
    said = {"chat": chat, "stream": stream, "tool": final}
    sys.stdout.write(json.dumps(said) + "\n")


main(*sys.argv[1:])
