"""How many tokens a request in Anthropic's dialect probably has: free, and nothing is asked."""

from typing import Any, Final

import orjson
from starlette.types import Receive, Scope

from proxy.chat.request import parse_translated
from proxy.http.front import TRANSLATIONS, build_errors_of, find_authorization
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.dialects.dialect import MESSAGES
from serving.http.answers import Answer
from serving.http.errors import RequestRejected, wrong_type
from serving.http.exceptions import answer_safely
from serving.http.strict_json import parse_json_object
from serving.models.bounds import estimate_prompt_tokens

IMAGE_TOKENS: Final = 1_600
"""What an image is taken to have where its model does not say."""
_UNSUPPORTED: Final = frozenset({"unsupported_content", "unsupported_tool"})


async def count_tokens(
    scope: Scope, receive: Receive, services: Services, request_id: str
) -> Answer:
    """Answer with the number of tokens. Raises ``ClientGone`` only."""

    async def serve() -> Answer:
        claims = authenticate(find_authorization(scope, MESSAGES), services.known_keys)
        services.limits.take_request((claims.token_id, claims.key_id))
        is_proven = await services.completions.proven.check(claims.token_id)
        raw = await services.limits.read_body(
            scope, receive, services, claims.token_id, is_proven=is_proven
        )
        counted = orjson.dumps({"input_tokens": estimate_input(raw)})
        headers = {"content-type": "application/json", "request-id": request_id}
        return Answer(200, headers, counted)

    return await answer_safely(
        serve,
        TRANSLATIONS,
        request_id=request_id,
        observe=lambda _: None,
        build=build_errors_of(MESSAGES, request_id),
    )


def estimate_input(raw: bytes) -> int:
    """Return the tokens of a request's prompt, as they are estimated before it is served.

    What would be refused, such as a tool that runs at the provider, is counted by its bytes.
    Raises ``RequestRejected`` (400) for what is no request.
    """
    try:
        request = parse_translated(raw, MESSAGES)
    except RequestRejected as error:
        if error.code not in _UNSUPPORTED:
            raise
        return _estimate_bytes(parse_json_object(raw))
    return max(1, request.call.estimate_prompt(image_tokens=IMAGE_TOKENS))


def _estimate_bytes(body: dict[str, Any]) -> int:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "a list")
    said = {name: body.get(name) for name in ("system", "messages", "tools")}
    return estimate_prompt_tokens(body_bytes=len(orjson.dumps(said)), messages=len(messages))
