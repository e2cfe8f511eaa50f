"""How many tokens a request in Anthropic's dialect probably has. Pure."""

import re
from base64 import b64decode
from typing import Any, Final

from serving.dialects.call import LimitRules
from serving.dialects.encoding import write
from serving.dialects.native_messages import parse_native_messages
from serving.http.errors import RequestRejected, wrong_type
from serving.http.strict_json import parse_json_object
from serving.models.bounds import estimate_prompt_tokens

_NO_LIMITS: Final = LimitRules(default=1, cap=1)
_OWN_FIELDS: Final = frozenset(
    {"fit", "max_cost_usdc", "min_discount_pct", "models", "provider", "routing"}
)
"""Fields of either server's own: no provider reads them."""
IMAGE_TOKENS: Final = 1_600
"""What an image is taken to have where its model does not say."""
PAGE_TOKENS: Final = 2_500
"""What a page of a document is taken to have: its text, and its image."""
_PAGE: Final = re.compile(rb"/Type\s*/Page\b")
_UNSUPPORTED: Final = frozenset(
    {"unsupported_content", "unsupported_tool", "unsupported_parameter"}
)


def estimate_input(raw: bytes) -> int:
    """Return the tokens of a request's prompt, as they are estimated before it is served.

    What would be refused, such as a tool that runs at the provider, is counted all the same.
    Raises ``RequestRejected`` (400) for what is no request.
    """
    body = parse_json_object(raw)
    try:
        call = parse_native_messages(body, _NO_LIMITS, own_fields=_OWN_FIELDS, headers={})
    except RequestRejected as error:
        if error.code not in _UNSUPPORTED and error.param != "tools":
            raise
        return _estimate_all(body)
    return max(1, call.estimate_prompt(image_tokens=IMAGE_TOKENS))


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
