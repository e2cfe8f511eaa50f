"""Calls through LiteLLM's SDK, as a buyer's program makes them. Runs in LiteLLM's own environment.

One JSON object a line on stdin, ``{"url", "key", "what", "request"}``; what came of it on stdout.
One process makes all calls: to import LiteLLM takes seconds.
"""

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch the map from the network

import litellm  # type: ignore[import-not-found]

litellm.suppress_debug_info = True


def call(url: str, key: str, what: str, request: dict[str, Any]) -> dict[str, Any]:
    if what == "models":
        # It asks for the host's own /v1/models, whatever the path of the base.
        found = litellm.get_valid_models(
            check_provider_endpoint=True, custom_llm_provider="openai", api_base=url, api_key=key
        )
        return {"ids": [name.removeprefix("openai/") for name in found]}
    told = {**request, "model": f"openai/{request['model']}", "api_base": url, "api_key": key}
    if what == "chat":
        completion = litellm.completion(**told)
        message = completion.choices[0].message
        tool = message.tool_calls[0].function.model_dump() if message.tool_calls else None
        usage = completion.usage.model_dump(exclude_none=True)
        return {"text": message.content, "tool": tool, "usage": usage}
    text, last = "", None
    for chunk in litellm.completion(**told, stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        last = getattr(chunk, "usage", None) or last
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "cost")
    return {"text": text, "usage": {name: getattr(last, name, None) for name in names}}


def main() -> None:
    for line in sys.stdin:
        try:
            answer = call(**json.loads(line))
        except Exception as error:
            # Our code and param are lost on the way; the message is there.
            answer = {
                "error": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "message": str(error),
            }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
