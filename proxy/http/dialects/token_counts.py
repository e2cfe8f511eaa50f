"""How many tokens a request in Anthropic's dialect probably has: free, and nothing is asked."""

import re
from base64 import b64decode
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope

from proxy.chat.request import parse_translated
from proxy.http.front import TRANSLATIONS, build_errors_of, find_authorization
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.dialects.dialect import MESSAGES
from serving.dialects.encoding import write
from serving.http.answers import Answer
from serving.http.errors import RequestRejected, wrong_type
from serving.http.exceptions import answer_safely
from serving.http.strict_json import parse_json_object
from serving.models.bounds import estimate_prompt_tokens

IMAGE_TOKENS: Final = 1_600
"""What an image is taken to have where its model does not say."""
PAGE_TOKENS: Final = 2_500
"""What a page of a document is taken to have: its text, and its image."""
_PAGE: Final = re.compile(rb"/Type\s*/Page\b")
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

    What would be refused, such as a tool that runs at the provider, is counted all the same.
    Raises ``RequestRejected`` (400) for what is no request.
    """
    try:
        request = parse_translated(raw, MESSAGES)
    except RequestRejected as error:
        if error.code not in _UNSUPPORTED and error.param != "tools":
            raise
        return _estimate_all(parse_json_object(raw))
    return max(1, request.call.estimate_prompt(image_tokens=IMAGE_TOKENS))


def _estimate_all(body: dict[str, Any]) -> int:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "a list")
    said = {name: body.get(name) for name in ("system", "messages", "tools")}
    shown, tokens = _take_out_data(said)
    text = estimate_prompt_tokens(body_bytes=len(write(shown)), messages=len(messages))
    return max(1, text + tokens)


def _take_out_data(value: Any) -> tuple[Any, int]:
    """Return a value without the data of images and documents, and the tokens of those."""
    if isinstance(value, list):
        found = [_take_out_data(one) for one in value]
        return [one for one, _ in found], sum(tokens for _, tokens in found)
    if not isinstance(value, dict):
        return value, 0
    if value.get("type") == "base64" and isinstance(value.get("data"), str):
        kind, data = str(value.get("media_type")), value["data"]
        is_document = not kind.startswith("image/")
        tokens = _count_pages(data) * PAGE_TOKENS if is_document else IMAGE_TOKENS
        return {**value, "data": ""}, tokens
    if value.get("type") == "url" and isinstance(value.get("url"), str):
        return value, IMAGE_TOKENS
    taken = {name: _take_out_data(inner) for name, inner in value.items()}
    return {name: one for name, (one, _) in taken.items()}, sum(n for _, n in taken.values())


def _count_pages(data: str) -> int:
    """Return the pages of a PDF as far as it shows them, at least 1."""
    try:
        return max(1, len(_PAGE.findall(b64decode(data))))
    except ValueError:
        return 1
